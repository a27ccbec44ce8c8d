"""The part of TensorRT's Python API that building an engine needs, as types that both flavors satisfy.

A test compares every member with the installed library. Networks, parsers and profiles pass through as `Any`.
"""

from __future__ import annotations

from typing import Any, Protocol

__all__ = ["BuilderModule", "TrtBuilder", "TrtBuilderConfig"]


class TrtBuilderConfig(Protocol):
    """`IBuilderConfig`: the settings of a build."""

    num_compute_capabilities: int

    def set_compute_capability(self, compute_capability: Any, index: int) -> bool:
        """Add a GPU to build for; `tensorrt_rtx` only. False when the library does not know it."""
        ...

    def set_flag(self, flag: Any) -> None:
        """Turn a builder flag on."""
        ...

    def clear_flag(self, flag: Any) -> None:
        """Turn a builder flag off."""
        ...

    def get_flag(self, flag: Any) -> bool:
        """Whether a builder flag is on."""
        ...

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        """Limit the memory of a kind, in bytes."""
        ...

    def add_optimization_profile(self, profile: Any) -> int:
        """Index of the added profile; -1 when the profile is not valid."""
        ...


class TrtBuilder(Protocol):
    """`Builder`: makes the objects of a build, then the engine."""

    def create_network(self, flags: int) -> Any:
        """An empty network; flags is a bit mask of `NetworkDefinitionCreationFlag`."""
        ...

    def create_builder_config(self) -> TrtBuilderConfig:
        """The library's default settings."""
        ...

    def create_optimization_profile(self) -> Any:
        """An empty profile."""
        ...

    def build_serialized_network(self, network: Any, config: TrtBuilderConfig) -> Any:
        """The engine, an object with the buffer protocol, or None with the reason in the log."""
        ...


class BuilderModule(Protocol):
    """The module `tensorrt` or `tensorrt_rtx`, as far as building an engine needs it."""

    NetworkDefinitionCreationFlag: Any
    MemoryPoolType: Any
    BuilderFlag: Any
    ComputeCapability: Any
    OnnxParser: Any

    def Builder(self, logger: Any) -> TrtBuilder:  # noqa: N802 - the library's name
        """Make a builder that logs to a logger."""
        ...
