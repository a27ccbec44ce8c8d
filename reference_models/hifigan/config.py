"""The official HiFi-GAN configuration, validated, and what can be computed from it."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from voirs_vocoder.reference_models.config import derived_convention, require, require_mel
from voirs_vocoder.reference_models.hifigan.generator import GeneratorConfig
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

_Crop = Annotated[int, Meta(ge=0, le=255)]
_Crops = Annotated[tuple[tuple[_Crop, _Crop], ...], Meta(min_length=1, max_length=16)]


class HifiGanConfig(GeneratorConfig, frozen=True, kw_only=True):
    """A HiFi-GAN generator and the mel spectrogram that it was trained on.

    The official keys that HiFi-GAN and BigVGAN share are those of `GeneratorConfig`.

    Attributes:
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

    leaky_relu_slope: Annotated[float, Meta(ge=0, lt=1)] = 0.1
    bias: Literal["all", "not-last", "none"] = "all"
    padding: Literal["zero", "edge", "reflect"] = "zero"
    causal: bool = False
    upsample_crops: _Crops | None = None
    normalized_input: bool = False
    mel: MelConvention | None = None

    def __post_init__(self) -> None:
        """Check the rules between keys."""
        super().__post_init__()
        require_mel(self, "num_mels", "hop_size", "sampling_rate")

    def _check_upsampling(self) -> None:
        """Check that every stage makes exactly `rate` steps of one, or more where its crops state it."""
        crops = self.upsample_crops
        if self.causal:
            require(self.padding == "zero", "a causal network pads by zeros", self.padding)
            require(crops is None, "upsample_crops are for a network that is not causal", True)
            for rate, kernel in self._stages():
                require(kernel == 2 * rate, f"a causal upsample kernel must be twice its rate {rate}", kernel)
        elif crops is None:
            super()._check_upsampling()
        else:
            require(
                len(crops) == len(self.upsample_rates),
                "upsample_crops must have one pair per upsample rate",
                len(crops),
            )
            for (rate, kernel), (left, right) in zip(self._stages(), crops, strict=True):
                # torch takes the difference of the two as `output_padding`, which must be less than the stride.
                require(
                    left + right <= kernel - rate and 0 <= left - right < rate,
                    f"a kernel of {kernel} at rate {rate} can lose {kernel - rate} samples, of which the left end "
                    f"loses as many as the right one or up to {rate - 1} more",
                    [left, right],
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
        for stage, (rate, kernel) in enumerate(self._stages()):
            own = 0 if self.causal else kernel - rate - sum(self.crops(stage))
            excess = excess * rate + own
        return excess

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
        if self.causal:
            # What a symmetric convolution reaches to both sides, a causal one reaches to the left.
            return self._reach_samples([kernel - rate for rate, kernel in self._stages()], sides=2)
        return self._reach_samples(
            [kernel - rate - self.crops(stage)[0] for stage, (rate, kernel) in enumerate(self._stages())]
        )

    @property
    def look_ahead_frames(self) -> int:
        """`look_ahead_samples` in whole mel frames, rounded up."""
        return math.ceil(self.look_ahead_samples / self.hop_size)

    @property
    def context_frames(self) -> int:
        """`context_samples` in whole mel frames, rounded up."""
        return math.ceil(self.context_samples / self.hop_size)

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
