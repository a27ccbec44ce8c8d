"""Reads an ONNX graph piece by piece and keeps its large weights beside it, so that a model is in memory once.

ONNX Runtime otherwise holds a large model three times while it loads: the file, the parsed graph, and its own weights.
The fields are those of onnx.proto (ONNX 1.23), the encoding is that of protocol buffers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.errors import ArtifactError

__all__ = ["WEIGHTS_LOCATION", "SplitGraph", "split_graph"]

WEIGHTS_LOCATION = "py.typed"
"""File name that the skeleton states for its weights. That file is empty, so nothing can be read there by mistake."""

_SPLIT_FROM_BYTES = 1 << 16
_MAX_VARINT_BYTES = 10
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
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
        skeleton: ONNX model whose large float32 weights are replaced by references to `WEIGHTS_LOCATION`.
        weights: Large weights by name.
        sha256: SHA-256 of everything that was read, in lower-case hex.
    """

    skeleton: bytes
    weights: dict[str, NDArray[np.float32]]
    sha256: str


def split_graph(file: BinaryIO, size_bytes: int) -> SplitGraph:
    """Read a graph.

    Args:
        file: File of an ONNX model, at its beginning.
        size_bytes: Length of the file, in bytes.

    Raises:
        ArtifactError: The file is no ONNX model, or is shorter than `size_bytes`.
    """
    reader = _Reader(file)
    weights: dict[str, NDArray[np.float32]] = {}
    model: list[bytes] = []
    for number, kind, head, length in _fields(reader, size_bytes):
        if (number, kind) == (_MODEL_GRAPH, _BYTES):
            graph = b"".join(_graph(reader, length, weights))
            model.append(_bytes_field(_MODEL_GRAPH, graph))
        else:
            model.append(head + reader.read(length))
    return SplitGraph(b"".join(model), weights, reader.sha256)


def _graph(reader: _Reader, size_bytes: int, weights: dict[str, NDArray[np.float32]]) -> Iterator[bytes]:
    for number, kind, head, length in _fields(reader, size_bytes):
        if (number, kind) == (_GRAPH_INITIALIZER, _BYTES) and length >= _SPLIT_FROM_BYTES:
            yield _bytes_field(_GRAPH_INITIALIZER, _initializer(reader, length, weights))
        else:
            yield head + reader.read(length)


def _initializer(reader: _Reader, size_bytes: int, weights: dict[str, NDArray[np.float32]]) -> bytes:
    """A tensor's skeleton; raw float32 values go to `weights` if dims, type and name come before them, as usual."""
    kept: list[bytes] = []
    dims: list[int] = []
    data_type, name = 0, ""
    for number, kind, head, length in _fields(reader, size_bytes):
        if (number, kind) == (_TENSOR_RAW_DATA, _BYTES) and data_type == _FLOAT and name:
            values = reader.floats(length)
            if values.size != int(np.prod(dims, dtype=object)):
                raise ArtifactError(f"weight {name!r} has {values.size} numbers for the shape {dims}")
            weights[name] = values.reshape(dims)
            location = _bytes_field(_ENTRY_KEY, b"location")
            location += _bytes_field(_ENTRY_VALUE, WEIGHTS_LOCATION.encode())
            kept.append(_bytes_field(_TENSOR_EXTERNAL_DATA, location))
            kept.append(_varint(_TENSOR_DATA_LOCATION << 3 | _VARINT) + _varint(_EXTERNAL))
            continue
        content = reader.read(length)
        if (number, kind) == (_TENSOR_DIMS, _VARINT):
            dims.append(_varint_value(head))
        elif (number, kind) == (_TENSOR_DIMS, _BYTES):
            dims.extend(_packed(content))
        elif (number, kind) == (_TENSOR_DATA_TYPE, _VARINT):
            data_type = _varint_value(head)
        elif (number, kind) == (_TENSOR_NAME, _BYTES):
            name = content.decode("utf-8", "replace")
        kept.append(head + content)
    return b"".join(kept)


class _Reader:
    """A file read once, from its beginning, hashed as it is read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.position = 0

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
        length = {_FIXED64: 8, _FIXED32: 4}.get(kind, 0)
        if kind in (_VARINT, _BYTES):
            value, text = _read_varint(reader)
            head += text
            length = value if kind == _BYTES else 0
        elif not length:
            raise ArtifactError(f"not an ONNX model: a field of kind {kind}")
        if reader.position + length > end:
            raise ArtifactError("not an ONNX model: a field is longer than what it lies in")
        yield number, kind, head, length


def _read_varint(reader: _Reader) -> tuple[int, bytes]:
    read = b""
    while len(read) < _MAX_VARINT_BYTES:
        read += reader.read(1)
        if read[-1] < 0x80:
            return _from_varint(read), read
    raise ArtifactError("not an ONNX model: a number that does not end")


def _from_varint(data: bytes) -> int:
    return sum((byte & 0x7F) << 7 * place for place, byte in enumerate(data))


def _varint_value(head: bytes) -> int:
    """The number that a varint field's head ends with; the tag before it may take several bytes."""
    return next(_packed(head[_tag_bytes(head) :]))


def _tag_bytes(head: bytes) -> int:
    return next(place for place, byte in enumerate(head, 1) if byte < 0x80)


def _packed(content: bytes) -> Iterator[int]:
    start = 0
    for place, byte in enumerate(content, 1):
        if byte < 0x80:
            yield _from_varint(content[start:place])
            start = place


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _bytes_field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(content)) + content
