"""Inputs and outputs as a graph's file declares them, against those that the manifest states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from voirs_vocoder.runtime.artifact.manifest import GraphEntry
from voirs_vocoder.runtime.artifact.records import TensorInfo
from voirs_vocoder.runtime.artifact.wire import BYTES, VARINT, fields
from voirs_vocoder.runtime.errors import ArtifactError

__all__ = ["DeclaredTensor", "declared_tensor", "require_declared"]

_MAX_SHOWN_BYTES = 40
_MAX_SHOWN_NAMES = 8
_VALUE_NAME, _VALUE_TYPE = 1, 2
_TYPE_TENSOR, _TENSOR_TYPE_ELEMENT, _TENSOR_TYPE_SHAPE = 1, 1, 2
_SHAPE_AXIS, _AXIS_SIZE = 1, 1
_ELEMENT_TYPES = {1: "float32", 6: "int32", 7: "int64", 9: "bool", 10: "float16", 11: "float64"}


@dataclass(frozen=True)
class DeclaredTensor:
    """An input or output as a graph declares it.

    Attributes:
        name: Name of the tensor.
        dtype: Element type, such as `float32`, or `type 13` for one that has no name here.
        shape: Size of each axis, None for a dynamic one; None as a whole where the graph declares no shape.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None


def declared_tensor(data: bytes, start: int, stop: int) -> DeclaredTensor:
    """Read an input or output of a graph.

    Args:
        data: Bytes that contain the message.
        start: Place of the message's first byte.
        stop: Place behind the message's last byte.

    Raises:
        ArtifactError: The message is damaged.
    """
    name, dtype = "", "no tensor"
    shape: tuple[int | None, ...] | None = None
    for number, kind, first, last in fields(data, start, stop):
        if (number, kind) == (_VALUE_NAME, BYTES):
            name = data[first:last].decode("utf-8", "replace")
        elif (number, kind) == (_VALUE_TYPE, BYTES):
            for inner, inner_kind, inner_first, inner_last in fields(data, first, last):
                if (inner, inner_kind) == (_TYPE_TENSOR, BYTES):
                    dtype, shape = _tensor_type(data, inner_first, inner_last)
    return DeclaredTensor(name, dtype, shape)


def require_declared(
    inputs: Sequence[DeclaredTensor], outputs: Sequence[DeclaredTensor], entry: GraphEntry
) -> None:
    """Compare the inputs and outputs that a graph declares with those that the manifest states.

    Args:
        inputs: Inputs that the graph declares, in its order.
        outputs: Outputs that the graph declares, in its order.
        entry: Manifest entry of the graph.

    Raises:
        ArtifactError: A name, an element type, a number of axes or a fixed size differs.
    """
    for what, declared, stated in (
        ("inputs", inputs, entry.inputs),
        ("outputs", outputs, entry.outputs),
    ):
        if [tensor.name for tensor in declared] != [tensor.name for tensor in stated]:
            raise ArtifactError(
                f"{entry.file.path}: a graph must have the {what} that the manifest states, {_names(stated)}, got "
                f"{_names(declared)}; export the artifact again"
            )
        for there, here in zip(declared, stated, strict=True):
            if there.dtype != here.dtype or not _agree(there.shape, here.shape):
                raise ArtifactError(
                    f"{entry.file.path}: {here.name} must be {here.dtype} {list(here.shape)} as the manifest states, "
                    f"the graph declares {there.dtype} {there.shape}; export the artifact again"
                )


def _names(tensors: Sequence[DeclaredTensor | TensorInfo]) -> str:
    return ", ".join(repr(tensor.name[:_MAX_SHOWN_BYTES]) for tensor in tensors[:_MAX_SHOWN_NAMES]) or "none"


def _agree(declared: tuple[int | None, ...] | None, stated: tuple[int | str, ...]) -> bool:
    """Whether ranks and sizes agree, as far as both sides state them as numbers."""
    return declared is None or (
        len(declared) == len(stated)
        and all(
            there is None or isinstance(here, str) or there == here
            for there, here in zip(declared, stated, strict=True)
        )
    )


def _tensor_type(data: bytes, start: int, stop: int) -> tuple[str, tuple[int | None, ...] | None]:
    dtype = "no type"
    shape: tuple[int | None, ...] | None = None
    for number, kind, first, last in fields(data, start, stop):
        if (number, kind) == (_TENSOR_TYPE_ELEMENT, VARINT):
            dtype = _ELEMENT_TYPES.get(first, f"type {first}")
        elif (number, kind) == (_TENSOR_TYPE_SHAPE, BYTES):
            axes = [
                _axis(data, axis_first, axis_last)
                for inner, inner_kind, axis_first, axis_last in fields(data, first, last)
                if (inner, inner_kind) == (_SHAPE_AXIS, BYTES)
            ]
            shape = tuple(axes)
    return dtype, shape


def _axis(data: bytes, start: int, stop: int) -> int | None:
    size = None
    for number, kind, value, _ in fields(data, start, stop):
        size = value if (number, kind) == (_AXIS_SIZE, VARINT) else None
    return size
