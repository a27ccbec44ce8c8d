"""HiFi-GANs of transformers: SpeechT5HifiGan, also of AudioLDM and MusicLDM, and FastSpeech2ConformerHifiGan."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

from voirs_vocoder.reference_models.config import (
    Count,
    ModelConfig,
    SamplingRateHz,
    require,
    trainer_convention,
)
from voirs_vocoder.reference_models.errors import CheckpointError
from voirs_vocoder.reference_models.layouts.hifigan_keys import hifigan_keys
from voirs_vocoder.reference_models.layouts.layout import ReadModel, Seen, parsed, renamed
from voirs_vocoder.runtime.mel.convention import MelConvention

__all__ = ["FastSpeech2ConformerHifiGanLayout", "SpeechT5HifiGanLayout"]

# transformers 5.24.0, SpeechT5HifiGanConfig and FastSpeech2ConformerHifiGanConfig; every published SpeechT5HifiGan has
# `hifigan`, the name of its older releases.
_SPEECHT5_TYPES = ("speecht5_hifigan", "hifigan")
_CONFORMER_TYPES = ("fastspeech2_conformer_hifigan", "fastspeech2_conformer_with_hifigan")
_CONFORMER_RATE_HZ = 22050
_STATISTICS = ("mean", "scale")


class _Keys(ModelConfig, frozen=True, kw_only=True):
    """Keys that both classes have; a key that is missing takes the default of SpeechT5HifiGan.

    Attributes:
        model_in_dim: Number of mel bands.
        sampling_rate: Sampling rate in Hz; None where the class does not state it.
        upsample_initial_channel: Channels after the first convolution.
        upsample_rates: Stride of each transposed convolution.
        upsample_kernel_sizes: Kernel size of each transposed convolution.
        resblock_kernel_sizes: Kernel size of each parallel branch.
        resblock_dilation_sizes: Dilations of each parallel branch.
        leaky_relu_slope: Slope before the transposed convolutions and in the residual blocks.
        normalize_before: Whether the mel is normalized by the buffers `mean` and `scale`.
    """

    title: ClassVar[str] = "SpeechT5HifiGan"
    ignored: ClassVar[tuple[str, ...]] = (
        "architectures",
        "model_type",
        "dtype",
        "torch_dtype",
        "initializer_range",
        "transformers_version",
        "_*",
    )

    model_in_dim: Count = 80
    sampling_rate: SamplingRateHz | None = 16000
    upsample_initial_channel: Count = 512
    upsample_rates: tuple[Count, ...] = (4, 4, 4, 4)
    upsample_kernel_sizes: tuple[Count, ...] = (8, 8, 8, 8)
    resblock_kernel_sizes: tuple[Count, ...] = (3, 7, 11)
    resblock_dilation_sizes: tuple[tuple[Count, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    leaky_relu_slope: float = 0.1
    normalize_before: bool = True

    @property
    def hop_length(self) -> int:
        """Audio samples per mel frame."""
        return math.prod(self.upsample_rates)


class _ConformerKeys(_Keys, frozen=True, kw_only=True):
    """Keys of FastSpeech2ConformerHifiGan, with its defaults.

    Attributes:
        sampling_rate: Sampling rate in Hz; None, as in every published file, stands for 22050.
        upsample_rates: Stride of each transposed convolution.
        upsample_kernel_sizes: Kernel size of each transposed convolution.
    """

    title: ClassVar[str] = "FastSpeech2ConformerHifiGan"

    sampling_rate: SamplingRateHz | None = None
    upsample_rates: tuple[Count, ...] = (8, 8, 2, 2)
    upsample_kernel_sizes: tuple[Count, ...] = (16, 16, 4, 4)


class SpeechT5HifiGanLayout:
    """A folder of `save_pretrained`, or its weights with config.json beside them."""

    name = "SpeechT5HifiGan of transformers"
    family = "hifigan"

    def recognizes(self, seen: Seen) -> bool:
        """Whether architecture or type are named, and the names are those of the class."""
        named = seen.config.get("model_type") in _SPEECHT5_TYPES or seen.config.get("architectures") == [
            "SpeechT5HifiGan"
        ]
        return named and seen.has(r"upsampler\.0\.bias")

    def read(self, seen: Seen) -> ReadModel:
        """Rename `upsampler`, and keep the statistics as the network's own."""
        keys = parsed(_Keys, seen.package.config(), seen)
        require(
            keys.sampling_rate is not None,
            f"{seen.package.config_name}: sampling_rate must be a number of Hz",
            keys.sampling_rate,
        )
        return _model(self.name, seen, keys, _speecht5_mel(keys))


class FastSpeech2ConformerHifiGanLayout:
    """The vocoder alone, or within FastSpeech2ConformerWithHifiGan."""

    name = "FastSpeech2ConformerHifiGan of transformers"
    family = "hifigan"

    def recognizes(self, seen: Seen) -> bool:
        """Whether the type is named, and the names are those of the class."""
        return seen.config.get("model_type") in _CONFORMER_TYPES and seen.has(r"upsampler\.0\.bias")

    def read(self, seen: Seen) -> ReadModel:
        """Take the vocoder's section of the configuration and of the weights where there is one."""
        config: Mapping[str, object] = seen.package.config()
        if isinstance(inner := config.get("vocoder_config"), Mapping):
            config = inner
        keys = parsed(_ConformerKeys, config, seen)
        mel = trainer_convention(
            "parallel-wavegan-22k",
            "espnet",
            sample_rate=keys.sampling_rate or _CONFORMER_RATE_HZ,
            n_mels=keys.model_in_dim,
            hop_length=keys.hop_length,
        )
        return _model(self.name, seen, keys, mel)


def _speecht5_mel(keys: _Keys) -> MelConvention:
    # AudioLDM, AudioLDM 2 and MusicLDM took over the class for a vocoder of another mel, which no key states.
    audioldm = not keys.normalize_before and (keys.model_in_dim, keys.hop_length) == (64, 160)
    return trainer_convention(
        "audioldm-16k" if audioldm else "speecht5-16k",
        "audioldm" if audioldm else "speecht5",
        sample_rate=keys.sampling_rate,
        n_mels=keys.model_in_dim,
        hop_length=keys.hop_length,
    )


def _model(layout: str, seen: Seen, keys: _Keys, mel: MelConvention) -> ReadModel:
    weights = seen.weights("vocoder")
    if keys.normalize_before:
        missing = [name for name in _STATISTICS if name not in weights.tensors]
        if missing:
            raise CheckpointError(
                f"{weights.path}: a network that normalizes its mel (normalize_before) must hold mean and scale, "
                f"{' and '.join(missing)} missing; get the whole checkpoint"
            )
    # The class pads by half of what a kernel exceeds its rate, rounded down: where that is odd, one sample more leaves
    # the layer than the rate asks for, and the audio is cut at its end.
    excesses = [
        kernel - rate for rate, kernel in zip(keys.upsample_rates, keys.upsample_kernel_sizes, strict=False)
    ]
    even = all(excess % 2 == 0 for excess in excesses)

    def own(name: str) -> str | None:
        if name in _STATISTICS:
            return name if keys.normalize_before else None
        return name.replace("upsampler.", "ups.", 1) if name.startswith("upsampler.") else name

    return ReadModel(
        layout=layout,
        family="hifigan",
        config=hifigan_keys(
            mel,
            resblock="1",
            rates=keys.upsample_rates,
            kernels=keys.upsample_kernel_sizes,
            channels=keys.upsample_initial_channel,
            branch_kernels=keys.resblock_kernel_sizes,
            branch_dilations=keys.resblock_dilation_sizes,
            leaky_relu_slope=keys.leaky_relu_slope,
            normalized_input=keys.normalize_before,
            upsample_crops=None if even else [[excess // 2, excess // 2] for excess in excesses],
        ),
        published=seen.package.config(),
        config_name=seen.package.config_name,
        checkpoint=renamed(weights, own),
    )
