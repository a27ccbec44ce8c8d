"""The official HiFi-GAN configuration, validated, and what can be computed from it."""

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

__all__ = ["HifiGanConfig"]

# (resblock, upsample_rates, upsample_kernel_sizes, upsample_initial_channel) of the published variants,
# github.com/jik876/hifi-gan at 4769534, config_v1.json to config_v3.json.
_VARIANTS: dict[tuple[str, tuple[int, ...], tuple[int, ...], int], str] = {
    ("1", (8, 8, 2, 2), (16, 16, 4, 4), 512): "v1",
    ("1", (8, 8, 2, 2), (16, 16, 4, 4), 128): "v2",
    ("2", (8, 8, 4), (16, 16, 8), 256): "v3",
}
_CONV_PRE_KERNEL = _CONV_POST_KERNEL = 7
_MAX_KERNEL = 255
_MAX_LENGTH = 16


@dataclass(frozen=True)
class HifiGanConfig:
    """A HiFi-GAN generator and the mel spectrogram that it was trained on.

    Field names are those of the official JSON files; keys that only training needs are ignored.

    Attributes:
        resblock: `"1"` (three pairs of convolutions) or `"2"` (single convolutions).
        upsample_rates: Stride of each transposed convolution; their product is the hop length.
        upsample_kernel_sizes: Their kernel sizes.
        upsample_initial_channel: Channels after the first convolution, halved by every upsampling.
        resblock_kernel_sizes: One per parallel branch, odd.
        resblock_dilation_sizes: The dilations of each branch.
        num_mels: Mel bands.
        n_fft: FFT size of the mel spectrogram.
        hop_size: Samples between mel frames.
        win_size: Window length of the mel spectrogram, in samples.
        sampling_rate: In Hz.
        fmin: Lower edge of the mel filters, in Hz.
        fmax: Upper edge, in Hz; None means half the sampling rate.
        source: The JSON object as read.
    """

    resblock: str
    upsample_rates: tuple[int, ...]
    upsample_kernel_sizes: tuple[int, ...]
    upsample_initial_channel: int
    resblock_kernel_sizes: tuple[int, ...]
    resblock_dilation_sizes: tuple[tuple[int, ...], ...]
    num_mels: int
    n_fft: int
    hop_size: int
    win_size: int
    sampling_rate: int
    fmin: float
    fmax: float | None
    source: Mapping[str, object] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check everything that the network and the runtime rely on."""
        stages = len(self.upsample_rates)
        require(self.resblock in ("1", "2"), "resblock must be '1' or '2'", self.resblock)
        require(stages >= 1, "upsample_rates must name at least one stage", self.upsample_rates)
        require(
            len(self.upsample_kernel_sizes) == stages,
            "upsample_kernel_sizes must have one entry per upsample rate",
            self.upsample_kernel_sizes,
        )
        for rate, kernel in zip(self.upsample_rates, self.upsample_kernel_sizes, strict=True):
            require(rate >= 1, "upsample_rates must be at least 1", rate)
            # Otherwise a frame would not become exactly `rate` frames: padding is (kernel - rate) / 2.
            require(
                kernel >= rate and (kernel - rate) % 2 == 0,
                f"an upsample kernel of rate {rate} must exceed it by an even number",
                kernel,
            )
        require(
            math.prod(self.upsample_rates) == self.hop_size,
            f"the product of upsample_rates {list(self.upsample_rates)} must be hop_size",
            self.hop_size,
        )
        require(
            self.upsample_initial_channel >= 1 and self.upsample_initial_channel % 2**stages == 0,
            f"upsample_initial_channel must be divisible by 2**{stages}",
            self.upsample_initial_channel,
        )
        require(len(self.resblock_kernel_sizes) >= 1, "resblock_kernel_sizes must not be empty", [])
        require(
            len(self.resblock_dilation_sizes) == len(self.resblock_kernel_sizes),
            "resblock_dilation_sizes must have one entry per resblock kernel",
            self.resblock_dilation_sizes,
        )
        for kernel in self.resblock_kernel_sizes:
            require(kernel >= 1 and kernel % 2 == 1, "resblock_kernel_sizes must be odd", kernel)
        expected = 3 if self.resblock == "1" else 2
        for dilations in self.resblock_dilation_sizes:
            require(
                len(dilations) == expected and min(dilations) >= 1,
                f"resblock {self.resblock!r} takes {expected} dilations per branch, each at least 1",
                dilations,
            )
        for name in ("num_mels", "n_fft", "win_size", "sampling_rate"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1", getattr(self, name))
        require(self.win_size <= self.n_fft, f"win_size must be at most n_fft {self.n_fft}", self.win_size)
        top = self.sampling_rate / 2 if self.fmax is None else self.fmax
        require(
            0 <= self.fmin < top <= self.sampling_rate / 2, "0 <= fmin < fmax <= nyquist", [self.fmin, top]
        )

    @classmethod
    def from_json(cls, path: Path) -> HifiGanConfig:
        """Read an official configuration file.

        Raises:
            ModelConfigError: It cannot be read, is not JSON, lacks a key, or does not make sense.
        """
        return config_from_json(path, cls.from_mapping)

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> HifiGanConfig:
        """Build from the keys of an official JSON file.

        Raises:
            ModelConfigError: A key is missing, of the wrong type, or does not make sense.
        """
        keys = ConfigValues(values, "HiFi-GAN")
        return cls(
            resblock=str(keys.get("resblock", (str, int))),
            upsample_rates=keys.integers("upsample_rates", _MAX_KERNEL, _MAX_LENGTH),
            upsample_kernel_sizes=keys.integers("upsample_kernel_sizes", _MAX_KERNEL, _MAX_LENGTH),
            upsample_initial_channel=keys.integer("upsample_initial_channel"),
            resblock_kernel_sizes=keys.integers("resblock_kernel_sizes", _MAX_KERNEL, _MAX_LENGTH),
            resblock_dilation_sizes=tuple(
                ConfigValues({"resblock_dilation_sizes": row}, "HiFi-GAN").integers(
                    "resblock_dilation_sizes", _MAX_KERNEL, _MAX_LENGTH
                )
                for row in keys.list("resblock_dilation_sizes", _MAX_LENGTH)
            ),
            num_mels=keys.integer("num_mels"),
            n_fft=keys.integer("n_fft", MAX_SIZE << 4),
            hop_size=keys.integer("hop_size", MAX_SIZE << 4),
            win_size=keys.integer("win_size", MAX_SIZE << 4),
            sampling_rate=keys.integer("sampling_rate", MAX_SAMPLING_RATE),
            fmin=keys.frequency_hz("fmin"),
            fmax=keys.optional_frequency_hz("fmax"),
            source=dict(values),
        )

    @property
    def variant(self) -> str:
        """`v1`, `v2`, `v3`, or `custom`."""
        key = (
            self.resblock,
            self.upsample_rates,
            self.upsample_kernel_sizes,
            self.upsample_initial_channel,
        )
        return _VARIANTS.get(key, "custom")

    @property
    def look_ahead_samples(self) -> int:
        """Future audio samples that an output sample depends on, before rounding to frames.

        Every layer reaches (kernel - 1) * dilation / 2 steps ahead at its own rate, a transposed convolution its
        padding at its output rate, parallel branches as far as the longest. The network is symmetric, so the past
        is the same.
        """
        samples_per_step = self.hop_size
        reach = (_CONV_PRE_KERNEL - 1) // 2 * samples_per_step
        for rate, kernel in zip(self.upsample_rates, self.upsample_kernel_sizes, strict=True):
            samples_per_step //= rate
            reach += ((kernel - rate) // 2 + self._branch_reach()) * samples_per_step
        return reach + (_CONV_POST_KERNEL - 1) // 2

    @property
    def look_ahead_frames(self) -> int:
        """`look_ahead_samples` in whole mel frames; also the context needed before a frame."""
        return math.ceil(self.look_ahead_samples / self.hop_size)

    def _branch_reach(self) -> int:
        # Resblock 1 follows every dilated convolution by one of dilation 1.
        plain = 1 if self.resblock == "1" else 0
        return max(
            (kernel - 1) // 2 * sum(dilation + plain for dilation in dilations)
            for kernel, dilations in zip(
                self.resblock_kernel_sizes, self.resblock_dilation_sizes, strict=True
            )
        )

    def mel_convention(self) -> dict[str, object]:
        """The mel spectrogram of the official code, as keyword arguments of `MelConvention`.

        Source: `meldataset.mel_spectrogram`, github.com/jik876/hifi-gan at 4769534.
        """
        published = (80, 1024, 256, 1024, 22050, 0.0, 8000.0)
        f_max_hz = self.sampling_rate / 2 if self.fmax is None else self.fmax
        own = (
            self.num_mels,
            self.n_fft,
            self.hop_size,
            self.win_size,
            self.sampling_rate,
            self.fmin,
            f_max_hz,
        )
        custom = (
            f"hifigan-{self.sampling_rate}hz-{self.num_mels}x{self.hop_size}-n{self.n_fft}w{self.win_size}"
        )
        return {
            "id": "hifigan-22k" if own == published else f"{custom}-f{self.fmin:g}-{f_max_hz:g}",
            "sample_rate": self.sampling_rate,
            "n_fft": self.n_fft,
            "win_length": self.win_size,
            "hop_length": self.hop_size,
            "n_mels": self.num_mels,
            "f_min_hz": self.fmin,
            "f_max_hz": f_max_hz,
            "framing": "hop-aligned",
            "magnitude_epsilon": 1e-9,
            "mel_scale": "slaney",
            "mel_norm": "slaney",
            "compression": "ln",
            "floor": 1e-5,
        }
