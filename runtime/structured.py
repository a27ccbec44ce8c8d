"""JSON and TOML of unknown origin, parsed within bounds of depth and numbers; every problem is an `InputError`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from voirs_vocoder.runtime.errors import InputError

__all__ = ["decode_json", "json_value", "toml_table"]

Decoded = TypeVar("Decoded")

_MAX_DEPTH = 64
_MAX_KEY_PARTS = 8
_MAX_KEYS = 20_000
_MAX_JSON_INTEGER_BITS = 64
_MAX_TOML_INTEGER_BITS = 4096
_MAX_REASON = 160

# Strings and comments of TOML. Each alternative also ends at the end of the text, so that no part is scanned twice.
_TOML_TEXT = re.compile(
    r'"""(?:[^\\"]++|\\.|"(?!""))*+(?:"{3,5}|\Z|\\\Z)'
    r"|'''(?:[^']++|'(?!''))*+(?:'{3,5}|\Z)"
    r'|"(?:[^"\\\n]++|\\.)*+"?'
    r"|'[^'\n]*+'?"
    r"|\#[^\n]*+",
    re.DOTALL,
)
_JSON_TEXT = re.compile(r'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_TOML_KEY = re.compile(r"[\w-]++(?:[ \t]*+\.[ \t]*+[\w-]++)*+")
# Keys with a value, and headers of tables; also lines of an array that begin with another one.
_TOML_ENTRY = re.compile(r"=|^[ \t]*+\[", re.MULTILINE)
_BRACKET = re.compile(r"[\[\]{}]")


def json_value(data: bytes) -> object:
    """Parse JSON.

    Args:
        data: JSON in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    Returns:
        The value, of dicts, lists, strings, numbers, bools and None.

    Raises:
        InputError: The data is no JSON, has a key twice in an object, has an integer of more than 64 bits, or is nested
            deeper than 64 levels.
    """
    try:
        text = data.decode(json.detect_encoding(data), "surrogatepass")
        _require_shallow(_JSON_TEXT.sub('""', text))
        value: object = json.loads(text.removeprefix("\ufeff"), object_pairs_hook=_object)
        _require_plain(value, _MAX_JSON_INTEGER_BITS)
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON: {_reason(error)}") from error
    return value


def decode_json(data: bytes, kind: type[Decoded]) -> Decoded:
    """Parse JSON into a type.

    Args:
        data: JSON in UTF-8.
        kind: Type of the value, such as a subclass of `msgspec.Struct`.

    Raises:
        InputError: The data is no JSON, has a key twice in an object, is nested deeper than 64 levels, or is not of
            that type.
    """
    try:
        value = msgspec.json.decode(data, type=kind)
        # A second reader of the same file must not find another value under the same key.
        json.loads(data, object_pairs_hook=_object)
        return value
    except (ValueError, RecursionError) as error:
        raise InputError(_reason(error)) from error


def toml_table(data: bytes) -> dict[str, Any]:
    """Parse TOML.

    Args:
        data: TOML in UTF-8.

    Returns:
        The table.

    Raises:
        InputError: The data is no TOML, has more than 20,000 keys and tables, a key of more than 8 dotted parts, or an
            integer of more than 4096 bits, or is nested deeper than 64 levels.
    """
    import tomllib

    try:
        text = data.decode("utf-8")
        # The text of strings counts for nothing here, but a quoted part of a key is a part.
        bare = _TOML_TEXT.sub(lambda found: "" if found[0].startswith("#") else "q", text)
        _require_shallow(bare)
        entries = sum(1 for _ in _TOML_ENTRY.finditer(bare))
        if entries > _MAX_KEYS:
            raise InputError(f"a file has at most {_MAX_KEYS} keys and tables, got {entries}")
        for key in _TOML_KEY.finditer(bare):
            # tomllib takes time and memory with the square of the number of parts.
            if key[0].count(".") >= _MAX_KEY_PARTS:
                raise InputError(f"a key has at most {_MAX_KEY_PARTS} dotted parts, got more; write tables")
        table = tomllib.loads(text)
        _require_plain(table, _MAX_TOML_INTEGER_BITS)
    except (ValueError, RecursionError) as error:
        raise InputError(f"not TOML: {_reason(error)}") from error
    return table


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice[:_MAX_REASON]!r} appears twice in an object")
    return values


def _require_shallow(text: str) -> None:
    depth = 0
    for bracket in _BRACKET.finditer(text):
        depth += 1 if bracket[0] in "[{" else -1
        if depth > _MAX_DEPTH:
            raise ValueError(f"values are nested deeper than {_MAX_DEPTH} levels")


def _require_plain(value: object, integer_bits: int) -> None:
    pending: list[Iterable[object]] = [(value,)]
    while pending:
        for each in pending.pop():
            if isinstance(each, int) and not -(1 << integer_bits - 1) <= each < 1 << integer_bits:
                raise InputError(f"an integer has at most {integer_bits} bits, got {each.bit_length()}")
            if isinstance(each, str) and not each.isascii():
                # Half of a surrogate pair, which no file can be written with.
                each.encode()
            if isinstance(each, dict):
                pending += (each, each.values())
            elif isinstance(each, list):
                pending.append(each)


def _reason(error: Exception) -> str:
    """The cause in one line, without the advice that Python gives to programmers."""
    if isinstance(error, RecursionError):
        return f"values are nested deeper than {_MAX_DEPTH} levels"
    text = str(error)
    if "integer string conversion" in text:
        return "an integer has thousands of digits"
    return (text.splitlines() or [type(error).__name__])[0][:_MAX_REASON]
