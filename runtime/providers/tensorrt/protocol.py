"""The part of TensorRT's Python API that the runner uses, as types that both of its flavours satisfy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

__all__ = ["TrtContext", "TrtEngine", "TrtModule", "TrtRuntime"]


class TrtContext(Protocol):
    """`IExecutionContext`: the state of one execution. Methods that return a bool return False on failure."""

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        """Choose the profile."""
        ...

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        """Say how large an input is."""
        ...

    def get_tensor_shape(self, name: str) -> Iterable[int]:
        """An output's shape once every input has one; -1 where it is not known."""
        ...

    def set_tensor_address(self, name: str, memory: int) -> bool:
        """Say where in device memory a tensor lies."""
        ...

    def execute_async_v3(self, stream_handle: int) -> bool:
        """Put the execution on a stream."""
        ...


class TrtEngine(Protocol):
    """`ICudaEngine`: a deserialized engine."""

    @property
    def num_optimization_profiles(self) -> int:
        """How many profiles it was built for."""
        ...

    @property
    def num_io_tensors(self) -> int:
        """How many inputs and outputs it has."""
        ...

    def get_tensor_name(self, index: int) -> str:
        """Name of an input or output."""
        ...

    def create_execution_context(self, strategy: Any) -> TrtContext | None:
        """A context, or None when its memory cannot be had."""
        ...


class TrtRuntime(Protocol):
    """`Runtime`: what turns bytes into an engine."""

    engine_host_code_allowed: bool

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> TrtEngine | None:
        """The engine, or None with the reason in the log."""
        ...


class TrtModule(Protocol):
    """The module `tensorrt` or `tensorrt_rtx`, as far as the runner needs it."""

    ExecutionContextAllocationStrategy: Any

    def Runtime(self, logger: Any) -> TrtRuntime:  # noqa: N802 - the library's name
        """Make a runtime."""
        ...
