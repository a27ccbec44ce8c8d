"""The part of TensorRT's Python API that running an engine needs, as types that both flavors satisfy.

A test compares every member with the installed library. What each one does is NVIDIA's documentation; stated here is
what callers in this project rely on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

__all__ = ["TrtContext", "TrtEngine", "TrtModule", "TrtRuntime", "TrtRuntimeConfig"]


class TrtContext(Protocol):
    """`IExecutionContext`: the state of one execution. A method that returns a bool returns False on failure."""

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        """Choose the profile that the next executions use."""
        ...

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        """Set the shape of an input."""
        ...

    def get_tensor_shape(self, name: str) -> Iterable[int]:
        """Shape of an output once every input has a shape; -1 where the size is not known before running."""
        ...

    def set_tensor_address(self, name: str, memory: int) -> bool:
        """Set the address in device memory of an input or output."""
        ...

    def execute_async_v3(self, stream_handle: int) -> bool:
        """Enqueue the execution on a CUDA stream."""
        ...


class TrtRuntimeConfig(Protocol):
    """`IRuntimeConfig` of TensorRT for RTX: how a context allocates memory, and whether it records CUDA graphs."""

    cuda_graph_strategy: Any

    def set_execution_context_allocation_strategy(self, strategy: Any) -> None:
        """Choose when the context allocates, a member of `ExecutionContextAllocationStrategy`."""
        ...


class TrtEngine(Protocol):
    """`ICudaEngine`: a deserialized engine."""

    num_optimization_profiles: int
    num_io_tensors: int

    def get_tensor_name(self, index: int) -> str:
        """Name of an input or output; index counts both."""
        ...

    def get_tensor_dtype(self, name: str) -> Any:
        """Element type of an input or output, a member of `DataType`."""
        ...

    def create_runtime_config(self) -> TrtRuntimeConfig:
        """A configuration of contexts, in TensorRT for RTX."""
        ...

    def create_execution_context(self, settings: Any) -> TrtContext | None:
        """A context, or None when its memory cannot be allocated; given an allocation strategy or a configuration."""
        ...


class TrtRuntime(Protocol):
    """`Runtime`: makes engines from bytes."""

    engine_host_code_allowed: bool

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> TrtEngine | None:
        """The engine, or None with the reason in the log."""
        ...


class TrtModule(Protocol):
    """The module `tensorrt` or `tensorrt_rtx`, as far as running an engine needs it."""

    DataType: Any
    ExecutionContextAllocationStrategy: Any

    def Runtime(self, logger: Any) -> TrtRuntime:  # noqa: N802 - the library's name
        """Make a runtime that logs to a logger."""
        ...
