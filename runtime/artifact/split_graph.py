"""Reads an ONNX graph piece by piece and keeps its large weights beside it, so that a model is in memory once.

ONNX Runtime otherwise holds a large model three times while it loads: the file, the parsed graph, and its own weights.
The fields are those of onnx.proto (ONNX 1.23).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.artifact.graph_rules import MAX_RANK, GraphRules, require_onnx_format
from voirs_vocoder.runtime.artifact.wire import (
    BYTES,
    FIXED32,
    FIXED64,
    MAX_VARINT_BYTES,
    VARINT,
    bytes_field,
    decoded_varint,
    packed_varints,
    varint_field,
)
from voirs_vocoder.runtime.errors import ArtifactError

__all__ = ["WEIGHTS_LOCATION", "SplitGraph", "split_graph"]

WEIGHTS_LOCATION = "py.typed"
"""File name that the skeleton states for its weights. That file is empty, so nothing can be read there by mistake."""

_SPLIT_FROM_BYTES = 1 << 16
# While it optimizes a graph, ONNX Runtime reorders kernels of 2-D convolutions, which must lie in the graph for that.
_CONV_2D_RANK = 4
_HEAD_BYTES = 8
_FLOAT = 1
_EXTERNAL = 1
# Field numbers.
_MODEL_GRAPH, _GRAPH_INITIALIZER = 7, 5
_TENSOR_DIMS, _TENSOR_DATA_TYPE, _TENSOR_NAME, _TENSOR_RAW_DATA = 1, 2, 8, 9
_TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION = 13, 14
_ENTRY_KEY, _ENTRY_VALUE = 1, 2


@dataclass(frozen=True, eq=False)
class SplitGraph:
    """A graph in two parts.

    Attributes:
        skeleton: ONNX model whose large float32 weights are replaced by references to `WEIGHTS_LOCATION`; those of four
            axes, kernels of 2-D convolutions, are not.
        weights: Large weights by name.
        rules: Rules that the whole graph was checked by, with what they found.
        sha256: SHA-256 of everything that was read, in lower-case hex.
    """

    skeleton: bytes
    weights: dict[str, NDArray[np.float32]]
    rules: GraphRules
    sha256: str


def split_graph(file: BinaryIO, size_bytes: int) -> SplitGraph:
    """Read a graph, and check it as `check_graph` does.

    Args:
        file: File of an ONNX model, at its beginning.
        size_bytes: Length of the file, in bytes.

    Raises:
        ArtifactError: The file is no ONNX model, is shorter than `size_bytes`, or contains something that a graph must
            not contain.
    """
    reader = _Reader(file)
    rules = GraphRules()
    weights: dict[str, NDArray[np.float32]] = {}
    model: list[bytes] = []
    for number, kind, head, length in _fields(reader, size_bytes):
        if (number, kind) == (_MODEL_GRAPH, BYTES):
            graph = b"".join(_graph(reader, length, weights, rules))
            model.append(bytes_field(_MODEL_GRAPH, graph))
        else:
            content = reader.read(length)
            rules.model_field(content, number, kind, *_place(kind, head, length))
            model.append(head + content)
    require_onnx_format(reader.head)
    rules.sizes.check()
    return SplitGraph(b"".join(model), weights, rules, reader.sha256)


def _graph(
    reader: _Reader, size_bytes: int, weights: dict[str, NDArray[np.float32]], rules: GraphRules
) -> Iterator[bytes]:
    for number, kind, head, length in _fields(reader, size_bytes):
        if (number, kind) == (_GRAPH_INITIALIZER, BYTES) and length >= _SPLIT_FROM_BYTES:
            yield bytes_field(_GRAPH_INITIALIZER, _initializer(reader, length, weights, rules))
        else:
            content = reader.read(length)
            rules.graph_field(content, number, kind, *_place(kind, head, length))
            yield head + content


def _initializer(
    reader: _Reader, size_bytes: int, weights: dict[str, NDArray[np.float32]], rules: GraphRules
) -> bytes:
    """A tensor's skeleton; raw float32 values go to `weights` if dims, type and name come before them, as usual.

    Values of tensors with four axes stay.
    """
    rules.count_tensor()
    kept: list[bytes] = []
    dims: list[int] = []
    data_type, name, is_split = 0, "", False
    for number, kind, head, length in _fields(reader, size_bytes):
        splittable = data_type == _FLOAT and name and len(dims) != _CONV_2D_RANK
        if (number, kind) == (_TENSOR_RAW_DATA, BYTES) and splittable:
            if is_split or name in weights:
                raise ArtifactError(f"weight {name!r} is there twice; export the artifact again")
            weights[name] = _shaped(name, reader.floats(length), dims)
            location = bytes_field(_ENTRY_KEY, b"location")
            location += bytes_field(_ENTRY_VALUE, WEIGHTS_LOCATION.encode())
            kept.append(bytes_field(_TENSOR_EXTERNAL_DATA, location))
            kept.append(varint_field(_TENSOR_DATA_LOCATION, _EXTERNAL))
            is_split = True
            continue
        content = reader.read(length)
        first, last = _place(kind, head, length)
        rules.tensor_field(content, number, kind, first, last)
        if (number, kind) == (_TENSOR_DIMS, VARINT):
            dims.append(first)
        elif (number, kind) == (_TENSOR_DIMS, BYTES):
            dims.extend(packed_varints(content, 0, length))
        elif (number, kind) == (_TENSOR_DATA_TYPE, VARINT):
            data_type = first
        elif (number, kind) == (_TENSOR_NAME, BYTES):
            name = content.decode("utf-8", "replace")
        if len(dims) > MAX_RANK or (is_split and number in (_TENSOR_DIMS, _TENSOR_DATA_TYPE, _TENSOR_NAME)):
            raise ArtifactError(f"weight {name!r} has no shape of at most {MAX_RANK} axes before its values")
        kept.append(head + content)
    return b"".join(kept)


def _shaped(name: str, values: NDArray[np.float32], dims: list[int]) -> NDArray[np.float32]:
    if values.size != math.prod(dims):
        raise ArtifactError(f"weight {name!r} has {values.size} numbers for the shape {dims}")
    return values.reshape(dims)


def _place(kind: int, head: bytes, length: int) -> tuple[int, int]:
    """What `wire.fields` would yield for a field whose content was read by itself."""
    if kind != VARINT:
        return 0, length
    _, tag_end = decoded_varint(head, 0, len(head))
    return decoded_varint(head, tag_end, len(head))


class _Reader:
    """A file read once, from its beginning, hashed as it is read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.position = 0
        self.head = b""

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def read(self, count: int) -> bytes:
        data = self._file.read(count)
        self._account(memoryview(data), count)
        return data

    def floats(self, count: int) -> NDArray[np.float32]:
        values = np.empty(count // 4, np.float32)
        view = memoryview(values.view(np.uint8).data)
        if len(view) != count:
            raise ArtifactError(f"float32 weights have a multiple of 4 bytes, got {count}")
        self._account(view[: self._file.readinto(view) or 0], count)  # type: ignore[attr-defined]
        return values

    def _account(self, data: memoryview, wanted: int) -> None:
        if len(data) != wanted:
            raise ArtifactError("an ONNX model ended early")
        if len(self.head) < _HEAD_BYTES:
            self.head += bytes(data[:_HEAD_BYTES])
        self._hash.update(data)
        self.position += wanted


def _fields(reader: _Reader, size_bytes: int) -> Iterator[tuple[int, int, bytes, int]]:
    """Fields of a message: number, kind, the bytes up to the content, and the length of the content that follows.

    The content of a varint is part of its head. The caller must read the content before the next field is taken.
    """
    end = reader.position + size_bytes
    while reader.position < end:
        tag, head = _read_varint(reader)
        number, kind = tag >> 3, tag & 7
        length = {FIXED64: 8, FIXED32: 4}.get(kind, 0)
        if kind in (VARINT, BYTES):
            value, text = _read_varint(reader)
            head += text
            length = value if kind == BYTES else 0
        elif not length:
            raise ArtifactError(f"not an ONNX model: a field of kind {kind}")
        if reader.position + length > end:
            raise ArtifactError("not an ONNX model: a field is longer than what it lies in")
        yield number, kind, head, length


def _read_varint(reader: _Reader) -> tuple[int, bytes]:
    read = b""
    while len(read) < MAX_VARINT_BYTES:
        read += reader.read(1)
        if read[-1] < 0x80:
            return decoded_varint(read, 0, len(read))[0], read
    raise ArtifactError("not an ONNX model: a number that does not end")
