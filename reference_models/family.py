"""The contract between a vocoder family and the rest of the toolchain.

A family contributes a `load`, its `graphs`, and nothing else: export, FP16, INT8, engines, validation and
packaging see `GraphSpec`s and never ask which family they serve.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from torch import nn

from voirs_vocoder.reference_models.errors import ReferenceModelError
from voirs_vocoder.runtime.artifact.manifest import (
    FORMAT_VERSION,
    Diffusion,
    Manifest,
    Source,
    TensorInfo,
)
from voirs_vocoder.runtime.mel.convention import MelConvention

__all__ = [
    "LOG_MELS_OF_SPEECH",
    "Driver",
    "Family",
    "GraphSpec",
    "ModelDescription",
    "NormalizingFamily",
    "TensorSpec",
    "VocoderModule",
    "load_model",
    "manifest_of",
    "mel_to_audio_graph",
    "require_normalizing",
]

Driver = Literal["direct", "flow", "diffusion"]

LOG_MELS_OF_SPEECH = (-5.0, 2.0)
"""Approximate mean and standard deviation of mels of speech, as natural logarithms."""


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a graph.

    Attributes:
        name: Name in the artifact contract, such as `mel` or `audio`.
        shape: One entry per axis: an int is static, a string names a dynamic axis, or a multiple of one
            such as `frames*256`.
        dtype: Element type at the boundary.
        example_mean: Mean of the random values that the graph is tried with where there are no real ones.
        example_std: Standard deviation of these random values.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: Literal["float32", "int64"] = "float32"
    example_mean: float = 0.0
    example_std: float = 1.0

    @property
    def dynamic_axes(self) -> dict[int, str]:
        """Axis index to name, for the axes whose size is only known at run time."""
        return {axis: size for axis, size in enumerate(self.shape) if isinstance(size, str)}

    @property
    def info(self) -> TensorInfo:
        """Record of the tensor in a manifest."""
        return TensorInfo(name=self.name, dtype=self.dtype, shape=self.shape)


@dataclass(frozen=True)
class GraphSpec:
    """One graph that a family wants in its artifact.

    Attributes:
        role: `offline`, `stream`, `conditioner`, `step`, `sampler` or `batch`.
        module: Called with the inputs in order; returns the outputs in order.
        inputs: Inputs of the graph, in order.
        outputs: Outputs of the graph, in order.
        context_frames: Mel frames before a frame that its audio depends on, computed from the configuration.
        look_ahead_frames: Mel frames after a frame that its audio depends on, computed from the configuration.
        keep_float: Name of a precision to the nodes that do not take part in it, as shell-style patterns. A node that
            owns a weight bears the name of its module (`conv_pre`, `resblocks.3.convs1.0`); any other is named after
            its operator and numbered (`Tanh.0`, `LeakyRelu.4`). A precision that is not named keeps none.
        steady_parts: Convolutions, as patterns of their nodes, whose sums must not depend on the length of the input:
            they are split into parts named `NODE.part.0` and so on, whose sum fits one block of a CPU kernel.
        precisions: Names of the reduced precisions in which the graph may be made; None for every one.
        details: Further facts for people, which the manifest keeps with the graph.
    """

    role: str
    module: nn.Module
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    context_frames: int
    look_ahead_frames: int
    keep_float: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    steady_parts: tuple[str, ...] = ()
    precisions: tuple[str, ...] | None = None
    details: Mapping[str, int | str] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelDescription:
    """What an artifact states about a model besides its graphs.

    Attributes:
        driver: Name of the runtime's driver that turns the graphs into audio.
        variant: Name of the published variant (`v1`), or `custom`.
        look_ahead_samples: Audio samples of future that one output sample depends on.
        mel: Convention of the mels that the model was trained on.
        config: Model configuration as read, which the manifest keeps.
        diffusion: How a diffusion model was trained and is sampled by default; None for other models.
    """

    driver: Driver
    variant: str
    look_ahead_samples: int
    mel: MelConvention
    config: Mapping[str, object]
    diffusion: Diffusion | None = None

    @property
    def sample_rate(self) -> int:
        """Sampling rate of the audio, in Hz."""
        return self.mel.sample_rate

    @property
    def hop_length(self) -> int:
        """Audio samples per mel frame."""
        return self.mel.hop_length


class VocoderModule(nn.Module):
    """A model that can describe itself.

    Attributes:
        description: What an artifact of the model states about it.
        checkpoint_sha256: SHA-256 of the file that the weights came from, in lower-case hex; None for a model made in
            memory.
        layout: Name of the trainer's layout that the weights were read in, for people; None for a model made in memory.
        normalizes: Whether statistics that the trainer normalizes mels by were to be taken into the network.
    """

    description: ModelDescription
    checkpoint_sha256: str | None = None
    layout: str | None = None
    normalizes: bool = True


@runtime_checkable
class NormalizingFamily(Protocol):
    """A family some of whose trainers normalize mels by statistics of their training set."""

    def load_unnormalized(self, checkpoint: Path, config: Path | None) -> VocoderModule:
        """Load a model that takes mels as they are; see `Family.load`."""
        ...


class Family(Protocol):
    """A model family, such as HiFi-GAN."""

    def load(self, checkpoint: Path, config: Path | None) -> VocoderModule:
        """Read a checkpoint without executing any code in it.

        Args:
            checkpoint: A file in one of the family's published formats, or a folder or archive that holds it.
            config: The configuration as published; None looks for it beside the checkpoint.

        Returns:
            The model in evaluation mode, on the CPU, in FP32, free of weight norm.

        Raises:
            CheckpointError: The file is unsafe, broken or does not fit the configuration.
            ModelConfigError: The configuration is malformed.
        """
        ...

    def graphs(self, module: VocoderModule) -> list[GraphSpec]:
        """The graphs that an artifact of this model holds."""
        ...


def mel_to_audio_graph(
    module: VocoderModule,
    *,
    context_frames: int,
    look_ahead_frames: int,
    keep_float: Mapping[str, tuple[str, ...]],
    steady_parts: tuple[str, ...] = (),
    details: Mapping[str, int | str] | None = None,
    examples: tuple[float, float] = LOG_MELS_OF_SPEECH,
) -> GraphSpec:
    """The one graph of a model that turns a mel into audio in one pass.

    Args:
        module: Model, called with a mel [batch, n_mels, frames]; returns audio [batch, 1, frames * hop_length].
        context_frames: Mel frames before a frame that its audio depends on.
        look_ahead_frames: Mel frames after a frame that its audio depends on.
        keep_float: Name of a precision to patterns of the nodes that do not take part in it; see `GraphSpec`.
        steady_parts: Convolutions whose sums must not depend on the length of the input; see `GraphSpec`.
        details: Further facts for people, which the manifest keeps with the graph; None for none.
        examples: Mean and standard deviation of the random mels that the graph is tried with.
    """
    mel = TensorSpec(
        "mel",
        ("batch", module.description.mel.n_mels, "frames"),
        example_mean=examples[0],
        example_std=examples[1],
    )
    return GraphSpec(
        role="offline",
        module=module,
        inputs=(mel,),
        outputs=(TensorSpec("audio", ("batch", 1, f"frames*{module.description.hop_length}")),),
        context_frames=context_frames,
        look_ahead_frames=look_ahead_frames,
        keep_float=keep_float,
        steady_parts=steady_parts,
        details=details or {},
    )


def load_model(
    family: Family, checkpoint: Path, config: Path | None, *, normalize: bool = True
) -> VocoderModule:
    """Load a model, by default as its trainer ran it.

    Args:
        family: Family of the model.
        checkpoint: A file in one of the family's published formats, or a folder or archive that holds it.
        config: The configuration as published; None looks for it beside the checkpoint.
        normalize: Whether a network that its trainer feeds with normalized mels normalizes them itself, by the
            statistics beside the weights; False takes the mels as they are, and needs no statistics.

    Raises:
        CheckpointError: The file is unsafe, broken or does not fit the configuration.
        ModelConfigError: The configuration is malformed.
        ReferenceModelError: `normalize` is False, and no trainer of the family normalizes mels.
    """
    if normalize:
        return family.load(checkpoint, config)
    return require_normalizing(family).load_unnormalized(checkpoint, config)


def require_normalizing(family: Family) -> NormalizingFamily:
    """The family, some of whose trainers normalize mels.

    Raises:
        ReferenceModelError: No trainer of the family normalizes mels.
    """
    if not isinstance(family, NormalizingFamily):
        raise ReferenceModelError(
            "only a network that is fed with normalized mels can do without, and no trainer of this family feeds one "
            "so; leave normalize=False out"
        )
    return family


def manifest_of(family: str, module: VocoderModule, specs: Sequence[GraphSpec]) -> Manifest:
    """The manifest of a model, without graphs, license, calibration and tools.

    Args:
        family: Name of the model's family.
        module: Model that the artifact is of.
        specs: Graphs of the model, which decide its context and look-ahead.
    """
    description = module.description
    windowed = [spec for spec in specs if spec.role != "sampler"]
    return Manifest(
        format_version=FORMAT_VERSION,
        family=family,
        driver=description.driver,
        variant=description.variant,
        sample_rate=description.sample_rate,
        hop_length=description.hop_length,
        mel=description.mel,
        context_frames=max(spec.context_frames for spec in windowed),
        look_ahead_frames=max(spec.look_ahead_frames for spec in windowed),
        look_ahead_samples=description.look_ahead_samples,
        source=Source(
            checkpoint_sha256=module.checkpoint_sha256,
            config=dict(description.config),
            layout=module.layout,
            normalize=module.normalizes,
        ),
        licence=None,
        diffusion=description.diffusion,
        graphs=(),
        tools={},
    )
