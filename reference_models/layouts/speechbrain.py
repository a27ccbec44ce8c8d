"""HiFi-GANs of SpeechBrain: generator.ckpt and hyperparams.yaml, whose tags are never run."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from voirs_vocoder.reference_models.config import (
    Count,
    FrequencyHz,
    ModelConfig,
    SampleCount,
    SamplingRateHz,
    require,
    trainer_convention,
)
from voirs_vocoder.reference_models.layouts.hifigan_keys import hifigan_keys
from voirs_vocoder.reference_models.layouts.layout import ReadModel, Seen, parsed, renamed
from voirs_vocoder.runtime.mel.convention import MelConvention

__all__ = ["SpeechBrainHifiGanLayout"]

_WRAPPED = ".conv."


class _Keys(ModelConfig, frozen=True, kw_only=True):
    """Keys of hyperparams.yaml that describe the generator and its mel; the file holds those of a training as well."""

    title: ClassVar[str] = "HiFi-GAN of SpeechBrain"
    ignored: ClassVar[tuple[str, ...]] = ("*",)

    in_channels: Count
    out_channels: Literal[1] = 1
    resblock_type: str | int
    resblock_dilation_sizes: tuple[tuple[Count, ...], ...]
    resblock_kernel_sizes: tuple[Count, ...]
    upsample_kernel_sizes: tuple[Count, ...]
    upsample_initial_channel: Count
    upsample_factors: tuple[Count, ...]
    conv_post_bias: bool = True
    cond_channels: int = 0
    sample_rate: SamplingRateHz
    hop_length: SampleCount
    n_fft: SampleCount
    win_length: SampleCount
    n_mel_channels: Count
    mel_fmin: FrequencyHz = 0.0
    mel_fmax: FrequencyHz | None = None
    norm: Literal["slaney"] | None = "slaney"
    mel_scale: Literal["slaney", "htk"] = "slaney"
    power: Literal[1, 2] = 1
    mel_normalized: bool = False
    dynamic_range_compression: bool = True

    def __post_init__(self) -> None:
        """Refuse what the family cannot honor."""
        require(str(self.resblock_type) in ("1", "2"), "resblock_type must be '1' or '2'", self.resblock_type)
        require(
            self.cond_channels == 0,
            "a vocoder takes no condition: cond_channels must be 0",
            self.cond_channels,
        )
        require(
            self.dynamic_range_compression,
            "dynamic_range_compression must be true: linear mels are not known",
            False,
        )

    def convention(self) -> MelConvention:
        """The mel spectrogram that the network was trained on.

        Source: `mel_spectogram` (its spelling) of speechbrain 1.1.2, lobes/models/HifiGAN.py, and torchaudio.
        """
        ranged: dict[str, Any] = {"window_energy_normalized": True} if self.mel_normalized else {}
        return trainer_convention(
            "speechbrain-16k",
            "speechbrain",
            sample_rate=self.sample_rate,
            n_fft=self.n_fft,
            win_length=self.win_length,
            hop_length=self.hop_length,
            n_mels=self.n_mel_channels,
            f_min_hz=self.mel_fmin,
            f_max_hz=self.mel_fmax or self.sample_rate / 2,
            mel_scale=self.mel_scale,
            mel_norm=self.norm or "none",
            spectrum="magnitude" if self.power == 1 else "power",
            **ranged,
        )


class SpeechBrainHifiGanLayout:
    """Every convolution is wrapped, hence named `.conv.`, and pads by reflection."""

    name = "HiFi-GAN of SpeechBrain"
    family = "hifigan"

    def recognizes(self, seen: Seen) -> bool:
        """Whether the convolutions of a generator are wrapped."""
        return seen.has(r"conv_pre\.conv\..*") and seen.has(r"ups\.0\.conv\..*")

    def read(self, seen: Seen) -> ReadModel:
        """Take the wrapping off the names."""
        config, where = seen.package.config(), seen.package.config_name
        keys = parsed(_Keys, config, seen)
        require(
            keys.in_channels == keys.n_mel_channels,
            f"{where}: in_channels must be n_mel_channels {keys.n_mel_channels}, since a vocoder takes a mel",
            keys.in_channels,
        )
        return ReadModel(
            layout=self.name,
            family=self.family,
            config=hifigan_keys(
                keys.convention(),
                resblock=str(keys.resblock_type),
                rates=keys.upsample_factors,
                kernels=keys.upsample_kernel_sizes,
                channels=keys.upsample_initial_channel,
                branch_kernels=keys.resblock_kernel_sizes,
                branch_dilations=keys.resblock_dilation_sizes,
                bias="all" if keys.conv_post_bias else "not-last",
                padding="reflect",
            ),
            published=config,
            config_name=where,
            checkpoint=renamed(seen.weights("generator"), lambda name: name.replace(_WRAPPED, ".", 1)),
        )
