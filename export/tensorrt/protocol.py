"""The part of TensorRT's Python API that the builder uses, as types that both of its flavours satisfy."""

from __future__ import annotations

from typing import Any, Protocol

__all__ = [
    "BuilderModule",
    "TrtBuilder",
    "TrtBuilderConfig",
    "TrtNetwork",
    "TrtParser",
    "TrtParserError",
    "TrtProfile",
    "TrtTensor",
]


class TrtTensor(Protocol):
    """`ITensor`: an input of a network."""

    @property
    def name(self) -> str:
        """As in the graph."""
        ...

    @property
    def is_shape_tensor(self) -> bool:
        """Whether its values, not only its shape, are needed to compute shapes."""
        ...


class TrtNetwork(Protocol):
    """`INetworkDefinition`."""

    name: str

    @property
    def num_inputs(self) -> int:
        """How many inputs it has."""
        ...

    def get_input(self, index: int) -> TrtTensor:
        """One of them."""
        ...


class TrtParserError(Protocol):
    """`ParserError`."""

    def desc(self) -> str:
        """What was wrong."""
        ...

    def node_name(self) -> str:
        """Where."""
        ...

    def node_operator(self) -> str:
        """The ONNX operator there."""
        ...


class TrtParser(Protocol):
    """`OnnxParser`: fills the network that it was made for."""

    @property
    def num_errors(self) -> int:
        """How many errors the last parse met."""
        ...

    def get_error(self, index: int) -> TrtParserError:
        """One of them."""
        ...

    def parse(self, model: bytes) -> bool:
        """False when there were errors."""
        ...


class TrtProfile(Protocol):
    """`IOptimizationProfile`."""

    def set_shape(
        self,
        input: str,  # noqa: A002 - the library's name
        min: tuple[int, ...],  # noqa: A002
        opt: tuple[int, ...],
        max: tuple[int, ...],  # noqa: A002
    ) -> None:
        """An input's smallest, best and largest shape."""
        ...


class TrtBuilderConfig(Protocol):
    """`IBuilderConfig`."""

    num_compute_capabilities: int

    def set_compute_capability(self, compute_capability: Any, index: int) -> bool:
        """A GPU to build for; `tensorrt_rtx` only."""
        ...

    def set_flag(self, flag: Any) -> None:
        """Turn a builder flag on."""
        ...

    def clear_flag(self, flag: Any) -> None:
        """Turn it off."""
        ...

    def get_flag(self, flag: Any) -> bool:
        """Whether it is on."""
        ...

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        """Most memory of a kind, in bytes."""
        ...

    def add_optimization_profile(self, profile: TrtProfile) -> int:
        """Index of the profile; -1 when it is not valid."""
        ...


class TrtBuilder(Protocol):
    """`Builder`."""

    def create_network(self, flags: int) -> TrtNetwork:
        """An empty network; flags is a bit mask of `NetworkDefinitionCreationFlag`."""
        ...

    def create_builder_config(self) -> TrtBuilderConfig:
        """The settings of a build."""
        ...

    def create_optimization_profile(self) -> TrtProfile:
        """An empty profile."""
        ...

    def build_serialized_network(self, network: TrtNetwork, config: TrtBuilderConfig) -> Any:
        """The engine, an object with the buffer protocol, or None with the reason in the log."""
        ...


class BuilderModule(Protocol):
    """The module `tensorrt` or `tensorrt_rtx`, as far as the builder needs it."""

    NetworkDefinitionCreationFlag: Any
    MemoryPoolType: Any
    BuilderFlag: Any
    ComputeCapability: Any

    def Builder(self, logger: Any) -> TrtBuilder:  # noqa: N802 - the library's name
        """Make a builder."""
        ...

    def OnnxParser(self, network: TrtNetwork, logger: Any) -> TrtParser:  # noqa: N802
        """Make a parser for a network."""
        ...
