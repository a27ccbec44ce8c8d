"""HiFi-GANs of SpeechBrain: generator.ckpt and hyperparams.yaml, whose tags are never run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import msgspec

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


class _GeneratorKeys(ModelConfig, frozen=True, kw_only=True):
    """Arguments of HifiganGenerator, with its defaults.

    Attributes:
        in_channels: Number of mel bands.
        out_channels: Channels of the audio.
        resblock_type: `1` for pairs of convolutions, `2` for single ones.
        resblock_dilation_sizes: Dilations of each parallel branch.
        resblock_kernel_sizes: Kernel size of each parallel branch.
        upsample_kernel_sizes: Kernel size of each transposed convolution.
        upsample_initial_channel: Channels after the first convolution.
        upsample_factors: Stride of each transposed convolution.
        conv_post_bias: Whether the last convolution has a bias.
        cond_channels: Channels of a condition; must be 0.
    """

    title: ClassVar[str] = "HifiganGenerator of SpeechBrain"
    # Extra frames at both ends, which the library's own `inference` adds around the network.
    ignored: ClassVar[tuple[str, ...]] = ("inference_padding",)

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

    def __post_init__(self) -> None:
        """Refuse conditions."""
        require(str(self.resblock_type) in ("1", "2"), "resblock_type must be '1' or '2'", self.resblock_type)
        require(
            self.cond_channels == 0,
            "a vocoder takes no condition: cond_channels must be 0",
            self.cond_channels,
        )


class _MelKeys(ModelConfig, frozen=True, kw_only=True):
    """Keys of hyperparams.yaml that describe the mel, with the values of the recipes; its other names are free."""

    title: ClassVar[str] = "HiFi-GAN of SpeechBrain"
    ignored: ClassVar[tuple[str, ...]] = ("*",)

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
        """Refuse linear mels."""
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
        network = _network(config, seen)
        mel = parsed(_MelKeys, config, seen)
        require(
            network.in_channels == mel.n_mel_channels,
            f"{where}: in_channels must be n_mel_channels {mel.n_mel_channels}, since a vocoder takes a mel",
            network.in_channels,
        )
        return ReadModel(
            layout=self.name,
            family=self.family,
            config=hifigan_keys(
                mel.convention(),
                resblock=str(network.resblock_type),
                rates=network.upsample_factors,
                kernels=network.upsample_kernel_sizes,
                channels=network.upsample_initial_channel,
                branch_kernels=network.resblock_kernel_sizes,
                branch_dilations=network.resblock_dilation_sizes,
                bias="all" if network.conv_post_bias else "not-last",
                padding="reflect",
            ),
            published=config,
            config_name=where,
            checkpoint=renamed(seen.weights("generator"), lambda name: name.replace(_WRAPPED, ".", 1)),
        )


def _network(config: Mapping[str, object], seen: Seen) -> _GeneratorKeys:
    """The arguments of the generator: those of its own section, and the names that recipes give them."""
    names = [field.name for field in msgspec.structs.fields(_GeneratorKeys)]
    outside = {key: config[key] for key in names if key in config}
    own = config.get("generator")
    if not isinstance(own, Mapping):
        return parsed(_GeneratorKeys, outside, seen)
    network = parsed(_GeneratorKeys, own, seen, "generator")
    named = parsed(_GeneratorKeys, {**own, **outside}, seen)
    for key in outside:
        # Recipes refer to one place; where the two differ, either may be the one that was trained.
        require(
            getattr(named, key) == getattr(network, key),
            f"{seen.package.config_name}: {key} must be generator.{key}, {getattr(network, key)}",
            getattr(named, key),
        )
    return network
