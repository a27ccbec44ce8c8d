"""Models of NVIDIA: HiFi-GANs of NeMo in .nemo archives; HiFi-GANs and WaveGlows of DeepLearningExamples."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import ClassVar, Literal

from voirs_vocoder.reference_models.checkpoints.reading import Checkpoint
from voirs_vocoder.reference_models.config import (
    Count,
    FrequencyHz,
    ModelConfig,
    SampleCount,
    SamplingRateHz,
    require,
    trainer_convention,
)
from voirs_vocoder.reference_models.errors import CheckpointError
from voirs_vocoder.reference_models.layouts.hifigan_keys import hifigan_keys
from voirs_vocoder.reference_models.layouts.layout import ReadModel, Seen, parsed, renamed, section
from voirs_vocoder.runtime.mel.convention import CONVENTIONS, MelConvention

__all__ = ["DeepLearningExamplesLayout", "DeepLearningExamplesWaveGlowLayout", "NemoLayout"]

_NESTED = re.compile(r"resblocks\.(\d+)\.(\d+)\.(convs.*)")
# Floor of FilterbankFeatures where `log_zero_guard_value` is not a number: torch's float32 in nemo_toolkit 3.0.0.
_GUARDS = {"tiny": 1.1754943508222875e-38, "eps": 1.1920928955078125e-07}
_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})")
# Commit 0fd4de5 of github.com/NVIDIA/NeMo.
_ZEROS_SINCE = (2, 5)
# Added to squared magnitudes where gradients are to pass through, `CONSTANT` there.
_GRADIENT_GUARD = 1e-5
# Classes that the two sections are arguments of; NeMo has others with other keys and defaults.
_CLASSES = {"generator": "hifigan_modules.Generator", "preprocessor": "features.FilterbankFeatures"}


class _GeneratorKeys(ModelConfig, frozen=True, kw_only=True):
    """Section `generator` of model_config.yaml: the network.

    Attributes:
        resblock: The integer 1 for pairs of convolutions; anything else stands for single ones, as in the code.
        upsample_rates: Stride of each transposed convolution.
        upsample_kernel_sizes: Kernel size of each transposed convolution.
        upsample_initial_channel: Channels after the first convolution.
        resblock_kernel_sizes: Kernel size of each parallel branch.
        resblock_dilation_sizes: Dilations of each parallel branch.
        initial_input_size: Number of mel bands.
    """

    title: ClassVar[str] = "HiFi-GAN of NeMo"
    ignored: ClassVar[tuple[str, ...]] = ("_target_", "apply_weight_init_conv_pre")

    resblock: int | str
    upsample_rates: tuple[Count, ...]
    upsample_kernel_sizes: tuple[Count, ...]
    upsample_initial_channel: Count
    resblock_kernel_sizes: tuple[Count, ...]
    resblock_dilation_sizes: tuple[tuple[Count, ...], ...]
    initial_input_size: Count = 80


class _PreprocessorKeys(ModelConfig, frozen=True, kw_only=True):
    """Section `preprocessor` of model_config.yaml: FilterbankFeatures, with its defaults in nemo_toolkit 3.0.0.

    Some defaults are those of speech recognition, which no mel convention states; a published vocoder states its own.
    """

    title: ClassVar[str] = "FilterbankFeatures of NeMo"
    # Padding of batches, and noise that evaluation leaves out.
    ignored: ClassVar[tuple[str, ...]] = (
        "_target_",
        "dither",
        "pad_to",
        "pad_value",
        "max_duration",
        "nb_*",
        "rng",
    )

    sample_rate: SamplingRateHz = 16000
    n_window_size: SampleCount = 320
    n_window_stride: SampleCount = 160
    window: Literal["hann"] = "hann"
    normalize: str | None = "per_feature"
    n_fft: SampleCount | None = None
    preemph: float | None = 0.97
    nfilt: Count = 64
    lowfreq: FrequencyHz = 0.0
    highfreq: FrequencyHz | None = None
    log: bool = True
    log_zero_guard_type: Literal["add", "clamp"] = "add"
    log_zero_guard_value: float | str = 2**-24
    frame_splicing: Literal[1] = 1
    exact_pad: bool = False
    mag_power: float = 2.0
    use_grads: bool = False
    mel_norm: Literal["slaney"] | None = "slaney"

    def __post_init__(self) -> None:
        """Refuse what no mel convention states."""
        require(
            self.normalize in (None, "NA"),
            "normalize must be null, since no mel convention normalizes an utterance",
            self.normalize,
        )
        require(not self.preemph, "preemph must be null, since no mel convention filters audio", self.preemph)
        require(self.log, "log must be true, since linear mels are not known", self.log)
        require(self.mag_power in (1.0, 2.0), "mag_power must be 1 or 2", self.mag_power)
        guard = self.log_zero_guard_value
        require(
            guard in _GUARDS if isinstance(guard, str) else guard > 0,
            "log_zero_guard_value must be tiny, eps or above 0",
            guard,
        )

    def convention(self, padding: Literal["reflect", "zero"]) -> MelConvention:
        """The mel spectrogram that the network was trained on; nemo_toolkit 3.0.0, FilterbankFeatures.

        Args:
            padding: What the recording is padded by at both ends, which depends on the version alone.
        """
        guard = self.log_zero_guard_value
        return trainer_convention(
            "nemo-22k",
            "nemo",
            sample_rate=self.sample_rate,
            n_fft=self.n_fft or 1 << (self.n_window_size - 1).bit_length(),
            win_length=self.n_window_size,
            hop_length=self.n_window_stride,
            n_mels=self.nfilt,
            f_min_hz=self.lowfreq,
            f_max_hz=self.highfreq or self.sample_rate / 2,
            framing="hop-aligned" if self.exact_pad else "centered",
            padding=padding,
            magnitude_epsilon=_GRADIENT_GUARD if self.use_grads else 0.0,
            spectrum="magnitude" if self.mag_power == 1.0 else "power",
            mel_norm=self.mel_norm or "none",
            floor=_GUARDS[guard] if isinstance(guard, str) else guard,
            floor_mode=self.log_zero_guard_type,
        )


class NemoLayout:
    """A .nemo archive, or its two files extracted."""

    name = "HiFi-GAN of NeMo"
    family = "hifigan"

    def recognizes(self, seen: Seen) -> bool:
        """Whether the configuration names HifiGanModel, or its generator."""
        generator = seen.config.get("generator")
        target = generator.get("_target_", "") if isinstance(generator, dict) else ""
        return str(seen.config.get("target", "")).endswith("HifiGanModel") or str(target).endswith(
            "hifigan_modules.Generator"
        )

    def read(self, seen: Seen) -> ReadModel:
        """Take the generator from the weights, which also hold discriminators and buffers of the preprocessor."""
        config, where = seen.package.config(), seen.package.config_name
        for key, name in _CLASSES.items():
            target = section(config, key, where).get("_target_", name)
            require(
                str(target).endswith(name),
                f"{where}: {key}._target_ must be {name}, since other classes compute something else",
                target,
            )
        network = parsed(_GeneratorKeys, section(config, "generator", where), seen, "generator")
        preprocessor = parsed(_PreprocessorKeys, section(config, "preprocessor", where), seen, "preprocessor")
        mel = preprocessor.convention(_padding(config.get("nemo_version"), where))
        require(
            mel.n_mels == network.initial_input_size,
            f"generator.initial_input_size must be preprocessor.nfilt, {mel.n_mels}",
            network.initial_input_size,
        )
        return ReadModel(
            layout=self.name,
            family=self.family,
            config=hifigan_keys(
                mel,
                # The code compares with the integer: the text "1" makes single convolutions.
                resblock="1" if network.resblock == 1 else "2",
                rates=network.upsample_rates,
                kernels=network.upsample_kernel_sizes,
                channels=network.upsample_initial_channel,
                branch_kernels=network.resblock_kernel_sizes,
                branch_dilations=network.resblock_dilation_sizes,
            ),
            published=config,
            config_name=where,
            checkpoint=_flat(seen.weights("state_dict", "generator"), len(network.resblock_kernel_sizes)),
        )


def _padding(version: object, where: str) -> Literal["reflect", "zero"]:
    """What FilterbankFeatures pads recordings by: zeros from 2.5.0 on, reflection in every release before.

    Args:
        version: Version of NeMo that the model was made with; None in files of releases that did not write it.
        where: Name of the configuration's file, for errors.

    Raises:
        ModelConfigError: The version is no version.
    """
    if version is None:
        return "reflect"
    found = _VERSION.match(str(version))
    require(found is not None, f"{where}: nemo_version must begin with two numbers", version)
    return "zero" if found is not None and (int(found[1]), int(found[2])) >= _ZEROS_SINCE else "reflect"


class DeepLearningExamplesLayout:
    """A checkpoint with blocks that are numbered by stage and branch, and a configuration in the official keys."""

    name = "HiFi-GAN of NVIDIA DeepLearningExamples"
    family = "hifigan"

    def recognizes(self, seen: Seen) -> bool:
        """Whether the configuration is the official one, and the blocks are numbered by stage and branch."""
        return "upsample_rates" in seen.config and seen.has(r"resblocks\.0\.0\.convs1?\.0\.bias")

    def read(self, seen: Seen) -> ReadModel:
        """Number the blocks as the official code does."""
        config, where = seen.package.config(), seen.package.config_name
        branches = config.get("resblock_kernel_sizes")
        require(isinstance(branches, Sequence), "resblock_kernel_sizes must be a list", branches)
        return ReadModel(
            layout=self.name,
            family=self.family,
            config=config,
            published=config,
            config_name=where,
            checkpoint=_flat(
                seen.weights("generator"), len(branches) if isinstance(branches, Sequence) else 0
            ),
        )


class DeepLearningExamplesWaveGlowLayout:
    """A checkpoint of DeepLearningExamples or torch.hub, which brings the network's configuration along."""

    name = "WaveGlow of NVIDIA DeepLearningExamples"
    family = "waveglow"

    def recognizes(self, seen: Seen) -> bool:
        """Whether the checkpoint holds a configuration of a WaveGlow, and none lies beside it."""
        return seen.package.config_problem is not None and "WN_config" in seen.embedded

    def read(self, seen: Seen) -> ReadModel:
        """Take the network from the checkpoint; its mels are those of Tacotron 2, which nothing states."""
        mel = CONVENTIONS["tacotron2-22k"]
        config = {
            "waveglow_config": dict(seen.embedded),
            "data_config": {
                "sampling_rate": mel.sample_rate,
                "filter_length": mel.n_fft,
                "hop_length": mel.hop_length,
                "win_length": mel.win_length,
                "mel_fmin": mel.f_min_hz,
                "mel_fmax": mel.f_max_hz,
            },
        }
        return ReadModel(
            layout=self.name,
            family=self.family,
            config=config,
            published=config,
            config_name=f"{seen.package.path}: config",
            checkpoint=seen.weights("state_dict", "model"),
        )


def _flat(weights: Checkpoint, branches: int) -> Checkpoint:
    """Blocks numbered through, weights of two axes beside the channels squeezed: those of an NHWC convolution."""

    def own(name: str) -> str:
        match = _NESTED.fullmatch(name)
        if match is None:
            return name
        stage, branch = int(match[1]), int(match[2])
        if branch >= branches:
            raise CheckpointError(
                f"{weights.path}: a stage has {branches} branches by its configuration, the weights have {name!r}; "
                "give the configuration of this checkpoint"
            )
        return f"resblocks.{stage * branches + branch}.{match[3]}"

    flat = renamed(weights, own)
    tensors = {
        name: tensor.squeeze(-1) if tensor.ndim == 4 and tensor.shape[-1] == 1 else tensor
        for name, tensor in flat.tensors.items()
    }
    return dataclasses.replace(flat, tensors=tensors)
