"""Mutations of seeds: bits, ranges, splices, integers of a format, numbers in text, and tokens of a dictionary."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

__all__ = ["Random", "mutated", "random_of"]

Random = np.random.Generator
_Choice = TypeVar("_Choice")

_MAX_OPERATIONS = 6
_MAX_GROWTH_BYTES = 1 << 16
_INTEGERS = (0, 1, 2, 3, 7, 8, 64, 127, 128, 255, 256, 1000, 65535, 65536, 1 << 20, (1 << 31) - 1, 1 << 31)
_WIDE_INTEGERS = ((1 << 32) - 1, 1 << 32, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_STRING = re.compile(rb'"[^"\n]{0,200}"')
_NUMBERS_IN_TEXT = (
    *(
        b"0",
        b"-1",
        b"1",
        b"2",
        b"255",
        b"65536",
        b"2147483648",
        b"9223372036854775807",
        b"18446744073709551616",
    ),
    *(
        b"0.0",
        b"-0.0",
        b"1e-300",
        b"1e308",
        b"1e999",
        b"NaN",
        b"Infinity",
        b"nan",
        b"inf",
        b"null",
        b"true",
        b'"1"',
    ),
    *(b"[]", b"{}", b"1000000000", b"1.5", b"9" * 400, b"9" * 5000),
)
_STRINGS_IN_TEXT = (
    *(
        b'""',
        b'"../x"',
        b'"/etc/passwd"',
        b'"a\\u0000b"',
        b'"\\ud800"',
        b'"\x1b[31m"',
        b'"cpu"',
        b'"fp32"',
        b'"mel"',
    ),
    *(b'"audio"', b'"' + b"x" * 3000 + b'"', b"null", b"7", b"[]", b'"\xff"'),
)


def random_of(target: str, number: int) -> Random:
    """The source of randomness of one case, which is the same on every machine."""
    return np.random.default_rng([zlib.crc32(target.encode()), number])


def mutated(random: Random, seeds: Sequence[bytes], tokens: Sequence[bytes]) -> bytes:
    """A mutated seed.

    Args:
        random: Source of randomness.
        seeds: Well-formed inputs, at least one.
        tokens: Words of the format, which are inserted and written over others.
    """
    data = bytearray(_one(random, seeds))
    most_bytes = len(data) + _MAX_GROWTH_BYTES
    for _ in range(1 + int(random.integers(_MAX_OPERATIONS) * random.random())):
        _one(random, _OPERATIONS)(random, data, seeds, tokens)
    return bytes(data[:most_bytes])


_Operation = Callable[[Random, bytearray, Sequence[bytes], Sequence[bytes]], None]


def _one(random: Random, choices: Sequence[_Choice]) -> _Choice:
    return choices[int(random.integers(len(choices)))]


def _place(random: Random, data: bytearray) -> int:
    """A position, half of the time among the first 64 bytes, where headers lie."""
    end = len(data) + 1
    return int(random.integers(min(end, 64) if random.random() < 0.5 else end))


def _range(random: Random, data: bytearray) -> slice:
    start = _place(random, data)
    return slice(start, start + int(random.geometric(0.05)))


def _flip(random: Random, data: bytearray, *_: object) -> None:
    for _time in range(int(random.geometric(0.5))):
        if data:
            data[_place(random, data) % len(data)] ^= 1 << int(random.integers(8))


def _set(random: Random, data: bytearray, *_: object) -> None:
    if data:
        data[_place(random, data) % len(data)] = _one(
            random, (0, 1, 0x7F, 0x80, 0xFF, int(random.integers(256)))
        )


def _truncate(random: Random, data: bytearray, *_: object) -> None:
    del data[int(random.integers(len(data) + 1)) :]


def _delete(random: Random, data: bytearray, *_: object) -> None:
    del data[_range(random, data)]


def _repeat(random: Random, data: bytearray, *_: object) -> None:
    part = _range(random, data)
    data[part.start : part.start] = data[part] * _one(random, (1, 1, 2, 16, 200))


def _splice(random: Random, data: bytearray, seeds: Sequence[bytes], _: Sequence[bytes]) -> None:
    other = bytearray(_one(random, seeds))
    part = _range(random, other)
    if random.random() < 0.3:
        part = slice(part.start, len(other))
    start = _place(random, data)
    data[start : start + len(other[part]) * int(random.integers(2))] = other[part]


def _token(random: Random, data: bytearray, _: Sequence[bytes], tokens: Sequence[bytes]) -> None:
    if tokens:
        token, start = _one(random, tokens), _place(random, data)
        data[start : start + len(token) * int(random.integers(2))] = token


def _integer(random: Random, data: bytearray, *_: object) -> None:
    """Write a telling value over a field of 1, 2, 4 or 8 bytes, in either order of bytes."""
    width = int(_one(random, (1, 2, 4, 8)))
    value = int(_one(random, (*_INTEGERS, *_WIDE_INTEGERS, len(data))))
    start = _place(random, data)
    data[start : start + width] = (value % (1 << 8 * width)).to_bytes(width, _one(random, ("little", "big")))


def _nudge(random: Random, data: bytearray, *_: object) -> None:
    """Change a 32-bit field by a little."""
    start = _place(random, data)
    if start + 4 <= len(data):
        order = _one(random, ("<I", ">I"))
        (value,) = struct.unpack_from(order, data, start)
        struct.pack_into(order, data, start, (value + int(random.integers(-9, 10))) % (1 << 32))


def _within(pattern: re.Pattern[bytes], values: Sequence[bytes]) -> _Operation:
    def operation(random: Random, data: bytearray, *_: object) -> None:
        found = list(pattern.finditer(bytes(data)))
        if found:
            start, end = _one(random, found).span()
            data[start:end] = _one(random, values)

    return operation


_number, _string = _within(_NUMBER, _NUMBERS_IN_TEXT), _within(_STRING, _STRINGS_IN_TEXT)

_OPERATIONS: tuple[_Operation, ...] = (
    *(_flip, _set, _truncate, _delete, _repeat, _splice, _token, _token, _integer, _integer, _nudge),
    *(_number, _number, _number, _string, _string),
)
