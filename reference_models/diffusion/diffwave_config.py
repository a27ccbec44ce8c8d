"""DiffWave's official parameters, validated, and what can be computed from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from voirs_vocoder.reference_models.config_values import (
    MAX_SAMPLING_RATE,
    MAX_SIZE,
    ConfigValues,
    config_from_json,
    require,
)
from voirs_vocoder.reference_models.errors import ModelConfigError

__all__ = ["MEL_REACH_SAMPLES", "DiffWaveConfig", "diffusion_betas", "diffwave_mel_convention"]

UPSAMPLE = 16
"""Stride of each of the two transposed convolutions that stretch the mel: model.py of lmnt-com/diffwave at 0594106."""

_UPSAMPLE_KERNEL = 32
# A frame is heard from here before its first sample: the first transposed convolution reaches its padding at its output
# rate, the second its own.
MEL_REACH_SAMPLES = (_UPSAMPLE_KERNEL - UPSAMPLE) // 2 * UPSAMPLE + (_UPSAMPLE_KERNEL - UPSAMPLE) // 2

_MAX_LAYERS = 128
_MAX_CYCLE = 16
_MAX_STEPS = 1000
# (residual_layers, residual_channels, dilation_cycle_length) of the published sizes.
_VARIANTS = {(30, 64, 10): "base", (30, 128, 10): "large"}


@dataclass(frozen=True)
class DiffWaveConfig:
    """A DiffWave and the mel spectrogram that it was trained on.

    Field names are those of `params.py` in github.com/lmnt-com/diffwave at 0594106; keys that only training needs are
    ignored.

    Attributes:
        sample_rate: In Hz.
        n_mels: Mel bands.
        n_fft: FFT size and window length of the mel spectrogram.
        hop_samples: Samples between mel frames.
        residual_layers: Layers of the network.
        residual_channels: Their channels.
        dilation_cycle_length: Layers after which the dilations 1, 2, 4, ... begin anew.
        noise_schedule: Betas of training.
        inference_noise_schedule: Betas of the published fast sampling.
        source: The parameters as read.
    """

    sample_rate: int
    n_mels: int
    n_fft: int
    hop_samples: int
    residual_layers: int
    residual_channels: int
    dilation_cycle_length: int
    noise_schedule: tuple[float, ...]
    inference_noise_schedule: tuple[float, ...]
    source: Mapping[str, object] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check everything that the network and the runtime rely on."""
        for name in (
            "sample_rate",
            "n_mels",
            "n_fft",
            "residual_layers",
            "residual_channels",
            "dilation_cycle_length",
        ):
            require(getattr(self, name) >= 1, f"{name} must be at least 1", getattr(self, name))
        require(
            self.hop_samples == UPSAMPLE**2,
            f"hop_samples must be {UPSAMPLE**2}, as the network upsamples by it",
            self.hop_samples,
        )
        require(
            self.dilation_cycle_length <= _MAX_CYCLE,
            f"dilation_cycle_length must be at most {_MAX_CYCLE}",
            self.dilation_cycle_length,
        )

    @classmethod
    def from_json(cls, path: Path) -> DiffWaveConfig:
        """Read the parameters as JSON.

        Raises:
            ModelConfigError: They cannot be read, are not JSON, lack a key, or do not make sense.
        """
        return config_from_json(path, cls.from_mapping)

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> DiffWaveConfig:
        """Build from the keys of the official parameters.

        Raises:
            ModelConfigError: A key is missing, of the wrong type, or does not make sense.
        """
        keys = ConfigValues(values, "DiffWave")
        if values.get("unconditional"):
            raise ModelConfigError(
                "'unconditional' must be false: a vocoder is told a mel, this network was trained without one"
            )
        return cls(
            sample_rate=keys.integer("sample_rate", MAX_SAMPLING_RATE),
            n_mels=keys.integer("n_mels"),
            n_fft=keys.integer("n_fft", MAX_SIZE << 4),
            hop_samples=keys.integer("hop_samples", MAX_SIZE << 4),
            residual_layers=keys.integer("residual_layers", _MAX_LAYERS),
            residual_channels=keys.integer("residual_channels"),
            dilation_cycle_length=keys.integer("dilation_cycle_length", _MAX_CYCLE),
            noise_schedule=diffusion_betas(keys, "noise_schedule"),
            inference_noise_schedule=diffusion_betas(keys, "inference_noise_schedule"),
            source=dict(values),
        )

    def dilation(self, layer: int) -> int:
        """Of a layer's convolution."""
        return 1 << layer % self.dilation_cycle_length

    @property
    def variant(self) -> str:
        """`base`, `large` or `custom`."""
        own = (self.residual_layers, self.residual_channels, self.dilation_cycle_length)
        return _VARIANTS.get(own, "custom")

    @property
    def context_samples(self) -> int:
        """Samples on each side that one evaluation of the network reads: every layer has a kernel of three."""
        return sum(self.dilation(layer) for layer in range(self.residual_layers))

    @property
    def context_frames(self) -> int:
        """The same in whole mel frames."""
        return math.ceil(self.context_samples / self.hop_samples)

    def mel_convention(self) -> dict[str, object]:
        """See `diffwave_mel_convention`."""
        return diffwave_mel_convention(self.sample_rate, self.n_fft, self.hop_samples, self.n_mels)


def diffusion_betas(keys: ConfigValues, key: str) -> tuple[float, ...]:
    """Variances of a noise schedule.

    Raises:
        ModelConfigError: There are none or too many, or one is not strictly between 0 and 1.
    """
    betas = keys.numbers(key, _MAX_STEPS)
    require(len(betas) >= 1, f"{key} must have at least one step", len(betas))
    for beta in betas:
        require(0.0 < beta < 1.0, f"{key}: variances must lie strictly between 0 and 1", beta)
    return betas


def diffwave_mel_convention(sample_rate: int, n_fft: int, hop_length: int, n_mels: int) -> dict[str, object]:
    """The mel spectrogram of the official code, as keyword arguments of `MelConvention`.

    Source: `preprocess.transform` of github.com/lmnt-com/diffwave at 0594106.
    """
    published = (sample_rate, n_fft, hop_length, n_mels) == (22050, 1024, 256, 80)
    return {
        "id": "lmnt-diffwave-22k"
        if published
        else f"lmnt-diffwave-{sample_rate}hz-{n_mels}x{hop_length}-n{n_fft}",
        "sample_rate": sample_rate,
        "n_fft": n_fft,
        "win_length": n_fft,
        "hop_length": hop_length,
        "n_mels": n_mels,
        "f_min_hz": 20.0,
        "f_max_hz": sample_rate / 2.0,
        "framing": "centered",
        "window_energy_normalized": True,
        "mel_scale": "htk",
        "mel_norm": "none",
        "compression": "db-unit",
        "floor": 1e-5,
    }
