"""DiffWave's official parameters, validated, and what can be computed from them."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

from msgspec import Meta

from voirs_vocoder.reference_models.config import (
    Betas,
    Count,
    ModelConfig,
    SampleCount,
    SamplingRateHz,
    derived_convention,
    require,
)
from voirs_vocoder.runtime.mel.convention import MelConvention

__all__ = ["MEL_REACH_SAMPLES", "DiffWaveConfig", "diffwave_mel_convention"]

UPSAMPLE = 16
"""Stride of each of the two transposed convolutions that stretch the mel: model.py of lmnt-com/diffwave at 0594106."""

_UPSAMPLE_KERNEL = 32
# A frame is audible from here before its first sample: the first transposed convolution reaches its padding at its
# output rate, the second its own.
MEL_REACH_SAMPLES = (_UPSAMPLE_KERNEL - UPSAMPLE) // 2 * UPSAMPLE + (_UPSAMPLE_KERNEL - UPSAMPLE) // 2

# (residual_layers, residual_channels, dilation_cycle_length) of the published sizes.
_VARIANTS = {(30, 64, 10): "base", (30, 128, 10): "large"}


class DiffWaveConfig(ModelConfig, frozen=True, kw_only=True):
    """A DiffWave and the mel spectrogram that it was trained on.

    Field names are those of `params.py` in github.com/lmnt-com/diffwave at 0594106.

    Attributes:
        sample_rate: Sampling rate in Hz.
        n_mels: Number of mel bands.
        n_fft: FFT size and window length of the mel spectrogram, in samples.
        hop_samples: Audio samples between mel frames.
        residual_layers: Number of residual layers.
        residual_channels: Channels of each residual layer.
        dilation_cycle_length: Number of layers after which the dilations 1, 2, 4, ... start again at 1.
        noise_schedule: Betas of the training schedule.
        inference_noise_schedule: Betas of the published fast sampling.
        unconditional: Whether the network was trained without a mel; must be false.
    """

    title: ClassVar[str] = "DiffWave"
    ignored: ClassVar[tuple[str, ...]] = (
        "batch_size",
        "learning_rate",
        "max_grad_norm",
        "crop_mel_frames",
        "audio_len",
    )

    sample_rate: SamplingRateHz
    n_mels: Count
    n_fft: SampleCount
    hop_samples: SampleCount
    residual_layers: Annotated[int, Meta(ge=1, le=128)]
    residual_channels: Count
    dilation_cycle_length: Annotated[int, Meta(ge=1, le=16)]
    noise_schedule: Betas
    inference_noise_schedule: Betas
    unconditional: bool | None = False

    def __post_init__(self) -> None:
        """Check the rules between keys."""
        require(
            not self.unconditional,
            "'unconditional' must be false, since a vocoder needs a network that is conditioned on a mel",
            self.unconditional,
        )
        require(
            self.hop_samples == UPSAMPLE**2,
            f"hop_samples must be {UPSAMPLE**2}, as the network upsamples by it",
            self.hop_samples,
        )

    def dilation(self, layer: int) -> int:
        """Dilation of the convolution of a layer, counted from 0."""
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
        """`context_samples` in whole mel frames, rounded up."""
        return math.ceil(self.context_samples / self.hop_samples)

    def mel_convention(self) -> MelConvention:
        """The mel spectrogram that the network was trained on; see `diffwave_mel_convention`."""
        return diffwave_mel_convention(self.sample_rate, self.n_fft, self.hop_samples, self.n_mels)


def diffwave_mel_convention(sample_rate: int, n_fft: int, hop_length: int, n_mels: int) -> MelConvention:
    """The mel spectrogram of lmnt-com's DiffWave.

    Source: `preprocess.transform` of github.com/lmnt-com/diffwave at 0594106.

    Args:
        sample_rate: Sampling rate in Hz; the mel filters reach up to half of it.
        n_fft: FFT size and window length in samples.
        hop_length: Audio samples between mel frames.
        n_mels: Number of mel bands.

    Raises:
        ModelConfigError: The parameters do not make a mel convention.
    """
    return derived_convention(
        "lmnt-diffwave-22k",
        f"lmnt-diffwave-{sample_rate}hz-{n_mels}x{hop_length}-n{n_fft}",
        sample_rate=sample_rate,
        n_fft=n_fft,
        win_length=n_fft,
        hop_length=hop_length,
        n_mels=n_mels,
        f_max_hz=sample_rate / 2.0,
    )
