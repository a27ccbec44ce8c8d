"""What the configurations of HiFi-GAN and of generators built like it share: the official keys, and their rules."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from voirs_vocoder.reference_models.config import (
    Count,
    FrequencyHz,
    ModelConfig,
    SampleCount,
    SamplingRateHz,
    require,
)

__all__ = ["GeneratorConfig"]

# Five times those of the largest published HiFi-GAN; making more takes seconds before any weight is compared.
_MAX_BLOCKS = 64
_CONV_PRE_KERNEL = _CONV_POST_KERNEL = 7

_Sizes = Annotated[tuple[Annotated[int, Meta(ge=1, le=255)], ...], Meta(min_length=1, max_length=16)]


class GeneratorConfig(ModelConfig, frozen=True, kw_only=True):
    """A generator of transposed convolutions, each followed by parallel residual blocks, and its mel spectrogram.

    Field names are those of the official JSON files of github.com/jik876/hifi-gan at 4769534.

    Attributes:
        resblock: `"1"` (pairs of convolutions) or `"2"` (single convolutions).
        upsample_rates: Stride of each transposed convolution; the product of all strides is the hop length.
        upsample_kernel_sizes: Kernel size of each transposed convolution.
        upsample_initial_channel: Channels after the first convolution, halved by every upsampling.
        resblock_kernel_sizes: Kernel size of each parallel branch, odd.
        resblock_dilation_sizes: Dilations of each parallel branch.
        num_mels: Number of mel bands.
        n_fft: FFT size of the mel spectrogram, in samples.
        hop_size: Audio samples between mel frames.
        win_size: Window length of the mel spectrogram, in samples.
        sampling_rate: Sampling rate in Hz.
        fmin: Lower edge of the mel filters, in Hz.
        fmax: Upper edge of the mel filters, in Hz; None means half the sampling rate.
    """

    resblock: str | int
    upsample_rates: _Sizes
    upsample_kernel_sizes: _Sizes
    upsample_initial_channel: Count
    resblock_kernel_sizes: _Sizes
    resblock_dilation_sizes: Annotated[tuple[_Sizes, ...], Meta(max_length=16)]
    num_mels: Count
    n_fft: SampleCount
    hop_size: SampleCount
    win_size: SampleCount
    sampling_rate: SamplingRateHz
    fmin: FrequencyHz
    fmax: FrequencyHz | None = None

    def __post_init__(self) -> None:
        """Check the rules between keys."""
        # Some published files have a number here.
        msgspec.structs.force_setattr(self, "resblock", str(self.resblock))
        stages = len(self.upsample_rates)
        require(self.resblock in ("1", "2"), "resblock must be '1' or '2'", self.resblock)
        require(
            len(self.upsample_kernel_sizes) == stages,
            "upsample_kernel_sizes must have one entry per upsample rate",
            self.upsample_kernel_sizes,
        )
        self._check_upsampling()
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
            len(self.resblock_dilation_sizes) == len(self.resblock_kernel_sizes),
            "resblock_dilation_sizes must have one entry per resblock kernel",
            self.resblock_dilation_sizes,
        )
        require(
            stages * len(self.resblock_kernel_sizes) <= _MAX_BLOCKS,
            f"upsample_rates times resblock_kernel_sizes must be at most {_MAX_BLOCKS} residual blocks",
            stages * len(self.resblock_kernel_sizes),
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

    def _stages(self) -> Iterator[tuple[int, int]]:
        """Rate and kernel size of each transposed convolution."""
        return zip(self.upsample_rates, self.upsample_kernel_sizes, strict=True)

    def _check_upsampling(self) -> None:
        """Check that every stage makes exactly `rate` steps of one, with equal cuts at both ends."""
        for rate, kernel in self._stages():
            require(
                kernel >= rate and (kernel - rate) % 2 == 0,
                f"an upsample kernel of rate {rate} must exceed it by an even number",
                kernel,
            )

    def _reach_samples(self, upsampling: Sequence[int], *, sides: int = 1) -> int:
        """Reach of the whole network to one side, in audio samples.

        Args:
            upsampling: Reach of each transposed convolution, in steps of its output.
            sides: 1 where convolutions reach equally far to both sides, 2 where they reach to this side alone.
        """
        samples_per_step = self.hop_size
        reach = sides * ((_CONV_PRE_KERNEL - 1) // 2) * samples_per_step
        for rate, own in zip(self.upsample_rates, upsampling, strict=True):
            samples_per_step //= rate
            reach += (own + sides * self._branch_reach()) * samples_per_step
        return reach + sides * ((_CONV_POST_KERNEL - 1) // 2)

    def _branch_reach(self) -> int:
        """Steps that the longest branch reaches to each side."""
        branches = zip(self.resblock_kernel_sizes, self.resblock_dilation_sizes, strict=True)
        return max(self._reach_of(kernel, dilations) for kernel, dilations in branches)

    def _reach_of(self, kernel: int, dilations: Sequence[int]) -> int:
        """Steps that one branch reaches to each side."""
        # Resblock 1 follows every dilated convolution by one of dilation 1.
        plain = 1 if self.resblock == "1" else 0
        return (kernel - 1) // 2 * sum(dilation + plain for dilation in dilations)
