"""Mel conventions that users state: the id of a published one, or a file of parameters."""

from __future__ import annotations

import difflib
import re
import reprlib
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec

from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.files import read_bounded
from voirs_vocoder.runtime.mel.convention import CONVENTIONS, MelConvention, identified
from voirs_vocoder.runtime.structured import json_value, toml_table

__all__ = ["load_convention"]

_MAX_BYTES = 1 << 16
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}")
_PREFIX = "custom"
_KEY = re.compile(r"`(?:\$\.)?(\w+)")
_FIELDS = {field.name: field for field in msgspec.structs.fields(MelConvention)}


def load_convention(id_or_path: str | Path) -> MelConvention:
    """Take a published mel convention, or read one from a file.

    Args:
        id_or_path: Id of a published convention (a key of `CONVENTIONS`), or path of a .json or .toml file whose keys
            are the fields of `MelConvention`. Without the key `id`, the id states the parameters.

    Raises:
        InputError: The argument is neither, the file is missing, larger than 64 KiB, or no JSON or TOML, a key is
            unknown or missing, a value is of another type or out of range, the parameters contradict each other, or
            the id is that of a published convention with other parameters.
    """
    if str(id_or_path) in CONVENTIONS:
        return CONVENTIONS[str(id_or_path)]
    path = Path(id_or_path)
    kind = path.suffix.lower()
    if kind not in (".json", ".toml"):
        raise InputError(
            f"a mel convention must be an id or a .json or .toml file, got {str(id_or_path)!r}; known: "
            f"{', '.join(sorted(CONVENTIONS))}"
        )
    data = read_bounded(path, _MAX_BYTES)
    try:
        values = json_value(data) if kind == ".json" else toml_table(data)
        return _convention(values)
    except InputError as error:
        raise InputError(f"{path}: {error}; fix the file") from error


def _convention(values: object) -> MelConvention:
    if not isinstance(values, dict):
        raise InputError(f"a mel convention must be an object of its fields, got {type(values).__name__}")
    unknown = sorted(values.keys() - _FIELDS.keys())
    if unknown:
        near = difflib.get_close_matches(unknown[0], _FIELDS, n=1)
        instead = f", the nearest field is {near[0]!r}" if near else f"; fields: {', '.join(_FIELDS)}"
        raise InputError(f"a mel convention has no field {reprlib.repr(unknown[0])}{instead}")
    own_id = values.get("id")
    if "id" in values and not (isinstance(own_id, str) and _ID.fullmatch(own_id)):
        raise InputError(
            f"the id of a mel convention must be up to 100 letters, digits, or one of _.+-, got {reprlib.repr(own_id)}"
        )
    try:
        convention = msgspec.convert({**values, "id": own_id or _PREFIX}, MelConvention)
    except msgspec.ValidationError as error:
        raise InputError(_explained(str(error), values)) from error
    if own_id is None:
        return identified(convention, _PREFIX)
    if CONVENTIONS.get(convention.id, convention) != convention:
        raise InputError(
            f"the id {convention.id!r} is that of a published mel convention with other parameters; give another id"
        )
    return convention


def _explained(problem: str, values: dict[Any, Any]) -> str:
    """A message of msgspec with the field, the value received and, where they are few, the values allowed."""
    found = _KEY.search(problem.rpartition(" - at ")[2])
    if found is None or found[1] not in values:
        return problem
    name = found[1]
    allowed = [text for text in get_args(get_type_hints(MelConvention)[name]) if isinstance(text, str)]
    got = reprlib.repr(values[name])
    if allowed:
        return f"{name} must be one of {', '.join(allowed)}, got {got}"
    return f"{name}: {problem.partition(' - at ')[0]}, got {got}"
