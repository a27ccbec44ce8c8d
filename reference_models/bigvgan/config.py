"""The official BigVGAN configuration, validated, and what can be computed from it."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from voirs_vocoder.reference_models.config import (
    Count,
    FrequencyHz,
    ModelConfig,
    SampleCount,
    SamplingRateHz,
    require,
    trainer_convention,
)
from voirs_vocoder.reference_models.hifigan.config import TRAINING_KEYS
from voirs_vocoder.runtime.mel.convention import MelConvention

__all__ = ["ACTIVATION_REACH", "BigVganConfig"]

ACTIVATION_REACH = 5
"""Steps before and after its own that an activation reads: 3 of the filter that doubles the rate, and 5 / 2 of the one
that halves it."""

# Losses and discriminators of train.py at github.com/NVIDIA/BigVGAN, 2.4.1; the volume is that of training audio.
_TRAINING_KEYS = (
    *TRAINING_KEYS,
    "lambda_melloss",
    "use_multiscale_melloss",
    "use_cqtd_instead_of_mrd",
    "cqtd_*",
    "mpd_reshapes",
    "resolutions",
    "use_spectral_norm",
    "freeze_step",
    "normalize_volume",
    "use_cuda_kernel",
)
# (upsample_rates, upsample_initial_channel, activation) of the published variants, configs/*.json.
_VARIANTS: dict[tuple[tuple[int, ...], int, str], str] = {
    ((8, 8, 2, 2), 512, "snakebeta"): "base",
    ((4, 4, 2, 2, 2, 2), 1536, "snakebeta"): "256x",
    ((8, 4, 2, 2, 2, 2), 1536, "snakebeta"): "512x",
}
_MAX_BLOCKS = 64
_CONV_PRE_KERNEL = _CONV_POST_KERNEL = 7

_Sizes = Annotated[tuple[Annotated[int, Meta(ge=1, le=255)], ...], Meta(min_length=1, max_length=16)]


class BigVganConfig(ModelConfig, frozen=True, kw_only=True):
    """A BigVGAN generator and the mel spectrogram that it was trained on.

    Field names are those of the official JSON files.

    Attributes:
        resblock: `"1"` (pairs of convolutions) or `"2"` (single convolutions).
        upsample_rates: Stride of each transposed convolution; the product of all strides is the hop length.
        upsample_kernel_sizes: Kernel size of each transposed convolution.
        upsample_initial_channel: Channels after the first convolution, halved by every upsampling.
        resblock_kernel_sizes: Kernel size of each parallel branch, odd.
        resblock_dilation_sizes: Dilations of each parallel branch.
        activation: `snake`, one parameter per channel, or `snakebeta`, which has another one for the magnitude.
        snake_logscale: Whether the parameters of activations are natural logarithms.
        use_tanh_at_final: Whether tanh limits the audio to [-1, 1]; False clips it.
        use_bias_at_final: Whether the last convolution has a bias.
        num_mels: Number of mel bands.
        n_fft: FFT size of the mel spectrogram, in samples.
        hop_size: Audio samples between mel frames.
        win_size: Window length of the mel spectrogram, in samples.
        sampling_rate: Sampling rate in Hz.
        fmin: Lower edge of the mel filters, in Hz.
        fmax: Upper edge of the mel filters, in Hz; None means half the sampling rate.
    """

    title: ClassVar[str] = "BigVGAN"
    ignored: ClassVar[tuple[str, ...]] = _TRAINING_KEYS

    resblock: str | int
    upsample_rates: _Sizes
    upsample_kernel_sizes: _Sizes
    upsample_initial_channel: Count
    resblock_kernel_sizes: _Sizes
    resblock_dilation_sizes: Annotated[tuple[_Sizes, ...], Meta(max_length=16)]
    activation: Literal["snake", "snakebeta"]
    snake_logscale: bool
    num_mels: Count
    n_fft: SampleCount
    hop_size: SampleCount
    win_size: SampleCount
    sampling_rate: SamplingRateHz
    fmin: FrequencyHz
    fmax: FrequencyHz | None = None
    use_tanh_at_final: bool = True
    use_bias_at_final: bool = True

    def __post_init__(self) -> None:
        """Check the rules between keys."""
        # Some published files have a number here.
        msgspec.structs.force_setattr(self, "resblock", str(self.resblock))
        require(self.resblock in ("1", "2"), "resblock must be '1' or '2'", self.resblock)
        stages, branches = len(self.upsample_rates), len(self.resblock_kernel_sizes)
        for key, wanted, what in (
            ("upsample_kernel_sizes", stages, "upsample rate"),
            ("resblock_dilation_sizes", branches, "resblock kernel"),
        ):
            sizes = getattr(self, key)
            require(len(sizes) == wanted, f"{key} must have one entry per {what}", sizes)
        for rate, kernel in zip(self.upsample_rates, self.upsample_kernel_sizes, strict=True):
            # Otherwise a frame would not become exactly `rate` frames.
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
            self.upsample_initial_channel % 2**stages == 0,
            f"upsample_initial_channel must be divisible by 2**{stages}",
            self.upsample_initial_channel,
        )
        require(
            stages * branches <= _MAX_BLOCKS,
            f"upsample_rates times resblock_kernel_sizes must be at most {_MAX_BLOCKS} residual blocks",
            stages * branches,
        )
        for kernel in self.resblock_kernel_sizes:
            require(kernel % 2 == 1, "resblock_kernel_sizes must be odd", kernel)
        require(self.win_size <= self.n_fft, f"win_size must be at most n_fft {self.n_fft}", self.win_size)
        nyquist_hz = self.sampling_rate / 2
        require(
            self.fmin < self.f_max_hz <= nyquist_hz,
            f"0 <= fmin < fmax <= nyquist {nyquist_hz:g} Hz",
            [self.fmin, self.f_max_hz],
        )

    @property
    def f_max_hz(self) -> float:
        """Upper edge of the mel filters, in Hz."""
        return self.sampling_rate / 2 if self.fmax is None else self.fmax

    @property
    def variant(self) -> str:
        """`base`, `256x`, `512x`, or `custom`."""
        key = (self.upsample_rates, self.upsample_initial_channel, self.activation)
        return _VARIANTS.get(key, "custom")

    @property
    def look_ahead_samples(self) -> int:
        """Audio samples to either side of an output sample that it depends on, before rounding to frames.

        Every layer reaches equally far to both sides at its own rate, parallel branches as far as the longest.
        """
        samples_per_step = self.hop_size
        reach = (_CONV_PRE_KERNEL - 1) // 2 * samples_per_step
        for rate, kernel in zip(self.upsample_rates, self.upsample_kernel_sizes, strict=True):
            samples_per_step //= rate
            reach += ((kernel - rate) // 2 + self._branch_reach()) * samples_per_step
        return reach + ACTIVATION_REACH + (_CONV_POST_KERNEL - 1) // 2

    @property
    def look_ahead_frames(self) -> int:
        """`look_ahead_samples` in whole mel frames, rounded up; the context before a frame is as long."""
        return math.ceil(self.look_ahead_samples / self.hop_size)

    def _branch_reach(self) -> int:
        # Resblock 1 follows every dilated convolution by one of dilation 1. Each has an activation before it.
        plain, activations = (1, 2) if self.resblock == "1" else (0, 1)
        return max(
            (kernel - 1) // 2 * sum(dilation + plain for dilation in dilations)
            + activations * len(dilations) * ACTIVATION_REACH
            for kernel, dilations in zip(
                self.resblock_kernel_sizes, self.resblock_dilation_sizes, strict=True
            )
        )

    def mel_convention(self) -> MelConvention:
        """The mel spectrogram that the network was trained on.

        Source: `meldataset.mel_spectrogram`, github.com/NVIDIA/BigVGAN, 2.4.1.
        """
        return trainer_convention(
            "bigvgan-24k-100band",
            "bigvgan",
            sample_rate=self.sampling_rate,
            n_fft=self.n_fft,
            win_length=self.win_size,
            hop_length=self.hop_size,
            n_mels=self.num_mels,
            f_min_hz=self.fmin,
            f_max_hz=self.f_max_hz,
        )
