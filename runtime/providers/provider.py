"""What a provider is: the library and the device that run graphs, described by one object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from voirs_vocoder.runtime.artifact.manifest import GraphEntry, Precision, Target
from voirs_vocoder.runtime.artifact.reading import Artifact
from voirs_vocoder.runtime.config import SessionConfig
from voirs_vocoder.runtime.errors import ProviderError
from voirs_vocoder.runtime.machine import read_processor
from voirs_vocoder.runtime.providers.session import Session

__all__ = ["BF16", "INT8", "ArtifactOpener", "GraphOpener", "Provider"]

INT8: Precision = "int8"
"""The precision whose graphs compute most convolutions in integers, and the rest in floats."""

BF16: Precision = "bf16"
"""The precision whose graphs run on CPUs with BF16 instructions only, on providers with `Provider.has_bf16`."""

GraphOpener = Callable[[bytes, GraphEntry, SessionConfig], Session]
"""From an ONNX model's bytes, its manifest entry and the session's configuration to a session that runs it."""

ArtifactOpener = Callable[[Artifact, GraphEntry, SessionConfig], Session]
"""From an artifact, the manifest entry of one of its graphs and the session's configuration to a session."""


@dataclass(frozen=True, kw_only=True)
class Provider:
    """A library on a device that runs graphs or engines.

    Attributes:
        name: The name that selects the provider, such as `cuda`.
        on_gpu: True when graphs run on a GPU.
        problem: Returns why the provider cannot run on this machine, with the remedy, in one line; None when it can.
        backend: Returns name and version of the library, such as `onnxruntime 1.31.1`; None when it is not installed.
        open_graph: Loads an ONNX model that was read and verified, and raises ProviderError when the provider cannot
            run it. None for a provider that runs engines, which are built before.
        open_artifact: Loads a graph or an engine of an artifact, for a provider that needs more than the graph's bytes;
            it raises ProviderError or ArtifactError. None reads the graph's file and calls `open_graph`.
        int8_target: Target of the quantized graphs that the provider computes in integers; None when it would compute
            them in floats.
        auto_rank: Place among the providers that `auto` tries, the lowest first; None when `auto` never tries it.
        widens_to_fp32: True when the provider converts graphs of fewer than 32 bits to FP32 when it loads them, so
            that their output and speed are those of the FP32 graph.
        prepares_shapes: True when the provider prepares every new shape of inputs before it runs it, which takes longer
            than the run; inputs then run in buckets (`SessionConfig.buckets`).
        builds_engines: True when loading a graph builds an engine, which takes minutes; measurements leave it out.
        reopens_after_fork: True when graphs can be loaded again in a fork of a process that ran some; False where the
            library or its device does not survive a fork.
        has_bf16: True when the provider runs BF16 graphs on a CPU that has BF16 instructions.
        has_bf16_floats: True when the provider can round to BF16 what an INT8 graph leaves in floats
            (`SessionConfig.bf16_floats`), on a CPU that has BF16 instructions.
        has_tf32: True when the provider can compute FP32 graphs in TF32 (`SessionConfig.tf32`).
        runs_in_parallel: True when one session runs several inputs at the same time (`SessionConfig.parallel_runs`).
    """

    name: str
    on_gpu: bool
    problem: Callable[[], str | None]
    backend: Callable[[], str | None]
    open_graph: GraphOpener | None = None
    open_artifact: ArtifactOpener | None = None
    int8_target: Target | None = None
    auto_rank: int | None = None
    widens_to_fp32: bool = False
    prepares_shapes: bool = False
    builds_engines: bool = False
    has_bf16: bool = False
    has_bf16_floats: bool = False
    has_tf32: bool = False
    runs_in_parallel: bool = False
    reopens_after_fork: bool = False

    def __post_init__(self) -> None:
        """Check that the provider can open something.

        Raises:
            ProviderError: Both openers are missing.
        """
        if self.open_graph is None and self.open_artifact is None:
            raise ProviderError(
                f"provider {self.name!r} must have open_graph or open_artifact, got neither; set one of them"
            )

    def open(self, artifact: Artifact, entry: GraphEntry, config: SessionConfig) -> Session:
        """Load a graph of an artifact, or the engine that was built from it.

        Args:
            artifact: The opened artifact.
            entry: Manifest entry of the graph.
            config: Threads, device and memory of the session.

        Returns:
            A session, ready to run.

        Raises:
            ProviderError: The provider cannot run on this machine, or it cannot run the graph.
            ArtifactError: The file is missing or damaged.
        """
        problem = self.bf16_problem() if entry.precision == BF16 else None
        if problem is not None:
            raise ProviderError(problem)
        if self.open_artifact is not None:
            return self.open_artifact(artifact, entry, config)
        assert self.open_graph is not None  # noqa: S101 - __post_init__ made sure
        return self.open_graph(artifact.read_graph(entry), entry, config)

    def bf16_problem(self) -> str | None:
        """Why the provider runs no BF16 graphs on this machine, with the remedy, in one line; None when it does."""
        if not self.has_bf16:
            return (
                f"BF16 graphs must run on a provider that computes in BF16, got {self.name!r}; use provider "
                "'openvino', or precision fp32"
            )
        processor = read_processor()
        if not processor.bf16_instructions:
            return (
                f"BF16 graphs must run on a CPU with BF16 instructions (avx512_bf16 or amx_bf16), got "
                f"{processor.name}, which has none; use precision fp32 or int8"
            )
        return None

    @property
    def rounds_floats_to_bf16(self) -> bool:
        """Whether `SessionConfig.bf16_floats` is possible on this machine."""
        return self.has_bf16_floats and self.bf16_problem() is None

    @property
    def measurable(self) -> bool:
        """Whether the provider loads graphs, and loads them within seconds."""
        return self.open_graph is not None and not self.builds_engines

    def computes(self, precision: Precision, target: Target | None) -> bool:
        """Whether the provider computes graphs of a precision in that precision.

        Args:
            precision: Precision of the graph.
            target: Target of a graph that is made for one kind of provider; None for a graph that runs everywhere.
        """
        if target is not None:
            return target == self.int8_target
        if precision == BF16:
            return self.bf16_problem() is None
        return precision == "fp32" or not self.widens_to_fp32
