"""Chains as TOML files, written by hand or kept in an artifact."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from voirs_vocoder.runtime.effects.chain import Automation, EffectChain, Link
from voirs_vocoder.runtime.effects.effect import Effect
from voirs_vocoder.runtime.effects.filters import Peak
from voirs_vocoder.runtime.effects.kinds import EFFECTS
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.files import read_bounded
from voirs_vocoder.runtime.structured import toml_table

__all__ = ["chain_from_toml", "read_chain", "toml_from_chain"]

_MAX_BYTES = 1 << 20
_OWN_KEYS = ("type", "bypass", "wet", "automation")


def read_chain(path: Path) -> EffectChain:
    """Read a chain from a file.

    Raises:
        InputError: The file is missing, larger than 1 MiB or no TOML, a key is unknown or missing, or a value is of
            another type or out of range.
    """
    return chain_from_toml(read_bounded(path, _MAX_BYTES), str(path))


def chain_from_toml(data: bytes, where: str) -> EffectChain:
    """Parse a chain: `name`, and an `[[effect]]` table for each effect, in order.

    Args:
        data: TOML in UTF-8, at most 1 MiB.
        where: Beginning of error messages, such as the path of the file.

    Returns:
        The chain.

    Raises:
        InputError: The data is no TOML, a key is unknown or missing, or a value is of another type or out of range.
    """
    if len(data) > _MAX_BYTES:
        raise InputError(
            f"{where}: a chain takes at most {_MAX_BYTES} bytes, got more; give the TOML file of a chain"
        )
    try:
        document = toml_table(data)
    except InputError as error:
        raise InputError(f"{where}: {error}; fix the file") from error
    _require_known(document, ("name", "effect"), where)
    tables = document.get("effect", [])
    name = document.get("name", "")
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise InputError(
            f"{where}: effects must be tables [[effect]], got {tables!r}; write one for each effect"
        )
    if not isinstance(name, str):
        raise InputError(f"{where}: name must be a text, got {name!r}")
    links = tuple(_link(table, f"{where}: effect {number}") for number, table in enumerate(tables, 1))
    try:
        return EffectChain(links, name)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def toml_from_chain(chain: EffectChain) -> bytes:
    """Format a chain as TOML in UTF-8, which `chain_from_toml` parses to an equal chain."""
    lines = [f"name = {_literal(chain.name)}"]
    for link in chain.links:
        lines += ["", "[[effect]]", f"type = {_literal(link.effect.NAME)}"]
        if link.bypass:
            lines.append("bypass = true")
        if link.wet != 1.0:
            lines.append(f"wet = {_literal(link.wet)}")
        lines += [f"{name} = {_literal(value)}" for name, value in msgspec.to_builtins(link.effect).items()]
        if link.automation:
            moving = [{"parameter": each.parameter, "points": each.points} for each in link.automation]
            lines.append(f"automation = {_literal(moving)}")
    return ("\n".join(lines) + "\n").encode()


def _link(table: Mapping[str, Any], where: str) -> Link:
    kind = table.get("type")
    if not isinstance(kind, str) or kind not in EFFECTS:
        raise InputError(
            f"{where}: type must name an effect, got {kind!r}; {_nearest(str(kind), list(EFFECTS))}"
        )
    effect_type = EFFECTS[kind]
    fields = effect_type.__struct_fields__
    where = f"{where}, {kind}"
    _require_known(table, (*_OWN_KEYS, *fields), where)
    for name, known in _KEYS_WITHIN.items():
        within = table.get(name)
        for each in within if isinstance(within, list) else ():
            if isinstance(each, dict):
                _require_known(each, known, f"{where}, {name}")
    settings = {name: value for name, value in table.items() if name in fields}
    own = {name: table[name] for name in ("bypass", "wet") if name in table}
    try:
        effect: Effect = msgspec.convert(settings, effect_type)
        links = msgspec.convert({**own, "automation": table.get("automation", [])}, _LinkTable)
        automation = tuple(Automation(each.parameter, each.points) for each in links.automation)
        return Link(effect, links.bypass, links.wet, automation)
    except (msgspec.ValidationError, InputError) as error:
        raise InputError(f"{where}: {error}") from error


class _AutomationTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    parameter: str
    points: tuple[tuple[float, float], ...]


class _LinkTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    bypass: bool = False
    wet: float = 1.0
    automation: tuple[_AutomationTable, ...] = ()


# Keys of the tables inside the table of an effect.
_KEYS_WITHIN = {"peaks": Peak.__struct_fields__, "automation": _AutomationTable.__struct_fields__}


def _require_known(table: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in table:
        if key not in known:
            raise InputError(f"{where}: unknown key {key!r}; {_nearest(key, known)}")


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, 1, 0.5)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # A JSON string is a TOML string, but for one character that JSON leaves as it is.
        return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return f"[{', '.join(_literal(each) for each in value)}]"
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{name} = {_literal(each)}' for name, each in value.items())} }}"
    return repr(value)
