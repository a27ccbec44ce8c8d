"""The encoding of protocol buffers, as far as reading an ONNX model needs it: fields by number, kind and place."""

from __future__ import annotations

from collections.abc import Iterator

from voirs_vocoder.runtime.errors import ArtifactError

__all__ = [
    "BYTES",
    "FIXED32",
    "FIXED64",
    "MAX_VARINT_BYTES",
    "VARINT",
    "bytes_field",
    "decoded_varint",
    "encoded_varint",
    "fields",
    "packed_varints",
    "varint_field",
]

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Kinds of a field's content."""

MAX_VARINT_BYTES = 10
"""Most bytes of a number; one of 64 bits needs ten."""

_FIXED_BYTES = {FIXED64: 8, FIXED32: 4}


def fields(data: bytes, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, int, int, int]]:
    """Read the fields of a message, without reading their contents.

    Args:
        data: Bytes that contain the message.
        start: Place of the message's first byte.
        stop: Place behind the message's last byte; None for the end of `data`.

    Yields:
        Number and kind of each field, and two integers. For the kind `VARINT` the first is the value, which lies in
        [0, 2**64), and the second is the place behind it. For the other kinds they are the places of the content's
        first byte and behind its last byte.

    Raises:
        ArtifactError: The bytes are no message of a whole number of fields.
    """
    place = start
    stop = len(data) if stop is None else stop
    while place < stop:
        tag = data[place]
        place += 1
        if tag >= 0x80:
            tag, place = decoded_varint(data, place - 1, stop)
        kind = tag & 7
        if kind in (BYTES, VARINT):
            if place >= stop:
                raise ArtifactError("not an ONNX model: a field ends before its content")
            value = data[place]
            place += 1
            if value >= 0x80:
                value, place = decoded_varint(data, place - 1, stop)
            if kind == VARINT:
                yield tag >> 3, kind, value, place
                continue
        elif kind in _FIXED_BYTES:
            value = _FIXED_BYTES[kind]
        else:
            raise ArtifactError(f"not an ONNX model: a field of kind {kind}")
        end = place + value
        if end > stop:
            raise ArtifactError("not an ONNX model: a field is longer than what it lies in")
        yield tag >> 3, kind, place, end
        place = end


def decoded_varint(data: bytes, start: int, stop: int) -> tuple[int, int]:
    """Decode a number.

    Args:
        data: Bytes that contain the number.
        start: Place of the number's first byte.
        stop: Place behind the last byte that may be read.

    Returns:
        The number, in [0, 2**64), and the place behind it.

    Raises:
        ArtifactError: The number does not end before `stop`, or has more than 64 bits.
    """
    value = 0
    for count in range(min(MAX_VARINT_BYTES, stop - start)):
        byte = data[start + count]
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            if value >= 1 << 64:
                break
            return value, start + count + 1
    raise ArtifactError("not an ONNX model: a number that does not end")


def packed_varints(data: bytes, start: int, stop: int) -> Iterator[int]:
    """Decode numbers that follow each other.

    Args:
        data: Bytes that contain the numbers.
        start: Place of the first number.
        stop: Place behind the last number.

    Raises:
        ArtifactError: A number does not end before `stop`, or has more than 64 bits.
    """
    while start < stop:
        value, start = decoded_varint(data, start, stop)
        yield value


def encoded_varint(value: int) -> bytes:
    """Encode a number that is not negative."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def varint_field(number: int, value: int) -> bytes:
    """Encode a field that holds a number that is not negative."""
    return encoded_varint(number << 3 | VARINT) + encoded_varint(value)


def bytes_field(number: int, content: bytes) -> bytes:
    """Encode a field that holds bytes, such as a text or another message."""
    return encoded_varint(number << 3 | BYTES) + encoded_varint(len(content)) + content
