"""Configuration files of trainers, read without trust: JSON, JSON with comments, and YAML whose tags are never run."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from voirs_vocoder.reference_models.errors import ModelConfigError
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.structured import json_value

__all__ = ["Read", "config_mapping", "read_config"]

Read = Callable[[int], bytes]
"""Gives the content of a file of at most that many bytes, or raises InputError."""

_MAX_CONFIG_BYTES = 1 << 20

_YAML_ENDINGS = (".yaml", ".yml")
_MAX_DEPTH = 32
_MAX_EVENTS = 50_000
# An alias repeats a part of the file, and aliases of aliases multiply it; published files have a handful.
_MAX_ALIASES = 64
_MAX_VALUES = 100_000
_MAX_REASON = 160
# Strings are matched first, so that what looks like a comment within one is kept.
_COMMENT = re.compile(r'("(?:[^"\\\n]++|\\.)*+"?)|//[^\n]*+|/\*(?:[^*]++|\*(?!/))*+(?:\*/)?')
_TRAILING_COMMA = re.compile(r'("(?:[^"\\\n]++|\\.)*+"?)|,(?=\s*+[}\]])')
# `!ref <key>` of HyperPyYAML and `${key}` of OmegaConf name another value of the same file.
_REFERENCE = re.compile(r"<([\w.-]{1,128})>|\$\{([\w.-]{1,128})\}")
_REF_TAG = "!ref"
_EXPONENT = re.compile(r"[-+]?\d++[eE][-+]?\d++\Z")
_MAX_INTEGER_BITS = 64


def read_config(read: Read, name: str) -> dict[str, object]:
    """Read and parse the configuration file of a trainer; see `config_mapping`.

    Args:
        read: Gives the content of the file, of at most 1 MiB.
        name: Name of the file.

    Raises:
        ModelConfigError: The file cannot be read, or is malformed.
    """
    try:
        data = read(_MAX_CONFIG_BYTES)
    except InputError as error:
        reason = str(error).removeprefix(f"{name}: ")
        raise ModelConfigError(
            f"{name}: cannot read the configuration, which must be JSON or YAML: {reason}"
        ) from error
    return config_mapping(data, name)


def config_mapping(data: bytes, name: str) -> dict[str, object]:
    """Parse the configuration file of a trainer.

    Args:
        data: Content of the file: JSON, with or without comments and a byte order mark; or YAML where the name ends in
            `.yaml` or `.yml`. A YAML tag makes no object: `!new:` and the like leave the plain value below them, and
            `!ref <key>` and `${key}` stand for the value of that key of the file where there is one.
        name: Name of the file, which decides the format and begins the errors.

    Returns:
        The file's keys and values: dicts, lists, strings, numbers, bools and None.

    Raises:
        ModelConfigError: The file is malformed, too deep, too large, repeats parts of itself too often, or is no
            mapping; or PyYAML is missing.
    """
    yaml = name.lower().endswith(_YAML_ENDINGS)
    try:
        value = _yaml_value(data) if yaml else _json_value(data)
    except InputError as error:
        raise ModelConfigError(f"{name}: the configuration cannot be used: {error}") from error
    if not isinstance(value, dict):
        kind = "a YAML mapping" if yaml else "a JSON object"
        raise ModelConfigError(f"{name}: the configuration must be {kind}, got {type(value).__name__}")
    return {str(key): each for key, each in value.items()}


def _json_value(data: bytes) -> object:
    try:
        return json_value(data)
    except InputError as error:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise error from None
        plain = _TRAILING_COMMA.sub(r"\1", _COMMENT.sub(r"\1", text))
        if plain == text.removeprefix("\ufeff"):
            raise
        return json_value(plain.encode())


def _yaml_value(data: bytes) -> object:
    try:
        import yaml
    except ImportError as error:
        raise InputError(
            "a YAML configuration needs the package PyYAML, which is not installed; "
            "pip install 'voirs-vocoder[export]'"
        ) from error

    class PlainLoader(yaml.SafeLoader):
        """Gives plain values; a tag that names an object to make leaves the value that it was to be made from."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
            seen: set[str] = set()
            # Before merges are resolved, which may give a key again on purpose.
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode) and key.value in seen:
                    raise ValueError(f"key {key.value!r} stands twice in one mapping")
                seen.add(str(key.value))
            return super().construct_mapping(node, deep)

    def plain(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> object:
        if isinstance(node, yaml.MappingNode):
            return loader.construct_mapping(node, deep=True)
        if isinstance(node, yaml.SequenceNode):
            return loader.construct_sequence(node, deep=True)
        return f"{_REF_TAG} {node.value}" if suffix == _REF_TAG else node.value

    PlainLoader.add_multi_constructor("", plain)
    # YAML 1.1 takes a number without a point, such as 1e-05, for text; trainers write and mean a number.
    PlainLoader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+0123456789"))
    try:
        _require_small(data, yaml)
        value = yaml.load(data, PlainLoader)  # noqa: S506 - a SafeLoader that makes plain values only
    except Exception as error:  # a malformed value makes PyYAML raise any exception
        reason = " ".join(str(error).split())[:_MAX_REASON]
        raise InputError(f"not YAML: {reason}; check the file") from error
    return _resolved(value, value)


def _require_small(data: bytes, yaml: Any) -> None:
    """Refuse a file that would become large in memory, before any value of it is made."""
    depth = aliases = 0
    for events, event in enumerate(yaml.parse(data, yaml.SafeLoader), 1):
        kind = type(event).__name__
        aliases += kind == "AliasEvent"
        depth += kind in ("MappingStartEvent", "SequenceStartEvent")
        depth -= kind in ("MappingEndEvent", "SequenceEndEvent")
        if events > _MAX_EVENTS or aliases > _MAX_ALIASES or depth > _MAX_DEPTH:
            raise ValueError(
                f"at most {_MAX_EVENTS} values, {_MAX_ALIASES} aliases and {_MAX_DEPTH} levels are read"
            )


def _resolved(value: object, root: object) -> object:
    """Replace references by the plain values that they name, and refuse what is no plain value."""
    count = 0
    # A reference that leads back to itself stays text.
    resolving: set[str] = set()

    def visit(each: object, depth: int) -> object:
        nonlocal count
        count += 1
        if count > _MAX_VALUES or depth > _MAX_DEPTH:
            raise InputError(
                f"the aliases of a YAML file may repeat at most {_MAX_VALUES} values and {_MAX_DEPTH} levels; "
                "write the file without aliases"
            )
        if isinstance(each, dict):
            return {_text(str(key)): visit(inner, depth + 1) for key, inner in each.items()}
        if isinstance(each, list | tuple):
            return [visit(inner, depth + 1) for inner in each]
        if isinstance(each, str):
            return visit_text(_text(each), depth)
        if isinstance(each, float) and not math.isfinite(each):
            raise InputError(f"numbers must be finite, got {each!r}; correct the file")
        if isinstance(each, int) and each.bit_length() > _MAX_INTEGER_BITS:
            raise InputError(f"integers have at most {_MAX_INTEGER_BITS} bits, got {each.bit_length()}")
        if each is None or isinstance(each, bool | int | float):
            return each
        # Dates and bytes, which YAML knows and JSON does not, concern no network.
        return str(each)

    def visit_text(text: str, depth: int) -> object:
        match = _REFERENCE.fullmatch(text.removeprefix(f"{_REF_TAG} ").strip())
        if match is None or not text.startswith((_REF_TAG, "${")):
            return text
        place = match[1] or match[2]
        found = _looked_up(root, place)
        if found is None or place in resolving:
            return text
        resolving.add(place)
        resolved = visit(found, depth + 1)
        resolving.remove(place)
        return resolved

    return visit(value, 0)


def _text(text: str) -> str:
    # An escape can stand for half of a character, which no other program takes.
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise InputError(f"text must consist of whole characters, got {text[:40]!r}; correct the file")
    return text


def _looked_up(root: object, place: str) -> object:
    found = root
    for key in place.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(key)
    return found
