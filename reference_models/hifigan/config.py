"""The official HiFi-GAN configuration, validated, and what can be computed from it."""

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
    derived_convention,
    require,
)
from voirs_vocoder.runtime.mel.convention import MelConvention

__all__ = ["TRAINING_KEYS", "HifiGanConfig"]

TRAINING_KEYS = (
    "num_gpus",
    "batch_size",
    "learning_rate",
    "adam_*",
    "lr_decay",
    "seed",
    "segment_size",
    "num_freq",
    "fmax_for_loss",
    "num_workers",
    "dist_config",
    "*_interval",
    "training_epochs",
    "clip_grad_norm",
    "discriminator_*",
    "_comment*",
)
"""Keys of the official JSON files and of their forks that only training reads, as shell-style patterns."""

# (resblock, upsample_rates, upsample_kernel_sizes, upsample_initial_channel) of the published variants,
# github.com/jik876/hifi-gan at 4769534, config_v1.json to config_v3.json.
_VARIANTS: dict[tuple[str | int, tuple[int, ...], tuple[int, ...], int], str] = {
    ("1", (8, 8, 2, 2), (16, 16, 4, 4), 512): "v1",
    ("1", (8, 8, 2, 2), (16, 16, 4, 4), 128): "v2",
    ("2", (8, 8, 4), (16, 16, 8), 256): "v3",
}
# Five times those of the largest published model; making more takes seconds before any weight is compared.
_MAX_BLOCKS = 64
_CONV_PRE_KERNEL = _CONV_POST_KERNEL = 7

_Crop = Annotated[int, Meta(ge=0, le=255)]
_Crops = Annotated[tuple[tuple[_Crop, _Crop], ...], Meta(min_length=1, max_length=16)]
_Sizes = Annotated[tuple[Annotated[int, Meta(ge=1, le=255)], ...], Meta(min_length=1, max_length=16)]


class HifiGanConfig(ModelConfig, frozen=True, kw_only=True):
    """A HiFi-GAN generator and the mel spectrogram that it was trained on.

    Field names are those of the official JSON files.

    Attributes:
        resblock: `"1"` (three pairs of convolutions) or `"2"` (single convolutions).
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
        leaky_relu_slope: Slope of the activations before transposed convolutions and in residual blocks.
        bias: Which layers have a bias: `all`, all but the last convolution (`not-last`), or `none`.
        padding: What convolutions see beyond both ends: `zero`, the last value again (`edge`), or the mirrored signal
            (`reflect`).
        causal: Whether nothing depends on the future: convolutions are padded by zeros at the left alone, transposed
            ones repeat their first input at the left. The padding must be `zero`, `upsample_crops` None.
        upsample_crops: Samples that the full output of each transposed convolution loses at its left and right end,
            one pair per stage; None means half of what a kernel exceeds its rate at both ends, which must be whole.
        normalized_input: Whether the mel is normalized first, by the weights `mean` and `scale`, one number per band.
        mel: Convention of the mel that the network was trained on; None follows from the other keys.
    """

    title: ClassVar[str] = "HiFi-GAN"
    ignored: ClassVar[tuple[str, ...]] = TRAINING_KEYS

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
    leaky_relu_slope: Annotated[float, Meta(ge=0, lt=1)] = 0.1
    bias: Literal["all", "not-last", "none"] = "all"
    padding: Literal["zero", "edge", "reflect"] = "zero"
    causal: bool = False
    upsample_crops: _Crops | None = None
    normalized_input: bool = False
    mel: MelConvention | None = None

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
        if self.mel is not None:
            own = (self.num_mels, self.hop_size, self.sampling_rate)
            require(
                (self.mel.n_mels, self.mel.hop_length, self.mel.sample_rate) == own,
                f"the mel convention must have num_mels, hop_size and sampling_rate {list(own)}",
                self.mel.id,
            )

    def _check_upsampling(self) -> None:
        """Check that every stage makes exactly `rate` steps of one, or more where its crops state it."""
        if self.causal:
            require(self.padding == "zero", "a causal network pads by zeros", self.padding)
            require(self.upsample_crops is None, "upsample_crops are for a network that is not causal", True)
        crops = self.upsample_crops
        if crops is not None:
            require(
                len(crops) == len(self.upsample_rates),
                "upsample_crops must have one pair per upsample rate",
                len(crops),
            )
        for stage, (rate, kernel) in enumerate(
            zip(self.upsample_rates, self.upsample_kernel_sizes, strict=True)
        ):
            if crops is not None:
                left, right = crops[stage]
                # torch takes the difference of the two as `output_padding`, which must be less than the stride.
                require(
                    left + right <= kernel - rate and 0 <= left - right < rate,
                    f"a kernel of {kernel} at rate {rate} can lose {kernel - rate} samples, of which the left end "
                    f"loses as many as the right one or up to {rate - 1} more",
                    [left, right],
                )
            elif self.causal:
                require(kernel == 2 * rate, f"a causal upsample kernel must be twice its rate {rate}", kernel)
            else:
                # Otherwise a frame would not become exactly `rate` frames: padding is (kernel - rate) / 2.
                require(
                    kernel >= rate and (kernel - rate) % 2 == 0,
                    f"an upsample kernel of rate {rate} must exceed it by an even number",
                    kernel,
                )

    def crops(self, stage: int) -> tuple[int, int]:
        """Samples that the full output of a stage's transposed convolution loses at its left and right end."""
        if self.upsample_crops is not None:
            return self.upsample_crops[stage]
        rate, kernel = self.upsample_rates[stage], self.upsample_kernel_sizes[stage]
        return (rate, rate) if self.causal else ((kernel - rate) // 2, (kernel - rate) // 2)

    @property
    def excess_samples(self) -> int:
        """Samples after the last frame's own that the network makes, and that are cut off."""
        excess = 0
        for stage, (rate, kernel) in enumerate(
            zip(self.upsample_rates, self.upsample_kernel_sizes, strict=True)
        ):
            own = 0 if self.causal else kernel - rate - sum(self.crops(stage))
            excess = excess * rate + own
        return excess

    @property
    def f_max_hz(self) -> float:
        """Upper edge of the mel filters, in Hz."""
        return self.sampling_rate / 2 if self.fmax is None else self.fmax

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

        Every layer reaches (kernel - 1) * dilation / 2 steps ahead at its own rate, a transposed convolution what its
        output loses at the left, parallel branches as far as the longest. A causal network reaches nowhere.
        """
        if self.causal:
            return 0
        return self._reach_samples([self.crops(stage)[0] for stage in range(len(self.upsample_rates))])

    @property
    def context_samples(self) -> int:
        """Past audio samples that an output sample depends on, before rounding to frames."""
        stages = zip(self.upsample_rates, self.upsample_kernel_sizes, strict=True)
        if self.causal:
            return self._reach_samples([kernel - rate for rate, kernel in stages])
        return self._reach_samples(
            [kernel - rate - self.crops(stage)[0] for stage, (rate, kernel) in enumerate(stages)]
        )

    @property
    def look_ahead_frames(self) -> int:
        """`look_ahead_samples` in whole mel frames, rounded up."""
        return math.ceil(self.look_ahead_samples / self.hop_size)

    @property
    def context_frames(self) -> int:
        """`context_samples` in whole mel frames, rounded up."""
        return math.ceil(self.context_samples / self.hop_size)

    def _reach_samples(self, upsampling: list[int]) -> int:
        """Reach of the whole network to one side, given that of each transposed convolution at its output rate."""
        # What a symmetric convolution reaches to both sides, a causal one reaches to the left.
        sides = 2 if self.causal else 1
        samples_per_step = self.hop_size
        reach = sides * ((_CONV_PRE_KERNEL - 1) // 2) * samples_per_step
        for rate, own in zip(self.upsample_rates, upsampling, strict=True):
            samples_per_step //= rate
            reach += (own + sides * self._branch_reach()) * samples_per_step
        return reach + sides * ((_CONV_POST_KERNEL - 1) // 2)

    def _branch_reach(self) -> int:
        # Resblock 1 follows every dilated convolution by one of dilation 1.
        plain = 1 if self.resblock == "1" else 0
        return max(
            (kernel - 1) // 2 * sum(dilation + plain for dilation in dilations)
            for kernel, dilations in zip(
                self.resblock_kernel_sizes, self.resblock_dilation_sizes, strict=True
            )
        )

    def mel_convention(self) -> MelConvention:
        """The mel spectrogram that the network was trained on; `mel` where it is given.

        Source: `meldataset.mel_spectrogram`, github.com/jik876/hifi-gan at 4769534.
        """
        if self.mel is not None:
            return self.mel
        geometry = f"{self.num_mels}x{self.hop_size}-n{self.n_fft}w{self.win_size}"
        return derived_convention(
            "hifigan-22k",
            f"hifigan-{self.sampling_rate}hz-{geometry}-f{self.fmin:g}-{self.f_max_hz:g}",
            sample_rate=self.sampling_rate,
            n_fft=self.n_fft,
            win_length=self.win_size,
            hop_length=self.hop_size,
            n_mels=self.num_mels,
            f_min_hz=self.fmin,
            f_max_hz=self.f_max_hz,
        )
