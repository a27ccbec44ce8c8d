"""Which families there are. Importable without torch: a family's own module is imported when it is asked for."""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from voirs_vocoder.reference_models.errors import ReferenceModelError

if TYPE_CHECKING:
    from voirs_vocoder.reference_models.family import Family

__all__ = ["family_names", "get_family", "register_family"]

ENTRY_POINT_GROUP = "voirs_vocoder.families"

_targets: dict[str, str] = {
    "diffwave": "voirs_vocoder.reference_models.diffusion.diffwave:FAMILY",
    "diffwave-unet": "voirs_vocoder.reference_models.diffusion.unet:FAMILY",
    "hifigan": "voirs_vocoder.reference_models.hifigan.model:FAMILY",
    "waveglow": "voirs_vocoder.reference_models.waveglow.synthesis:FAMILY",
}
_registered: dict[str, Family] = {}


def register_family(name: str, family: Family) -> None:
    """Make a family known to this process.

    An installed package does the same with an entry point in the group `voirs_vocoder.families`.

    Args:
        name: What `voirs-vocoder export` calls it, and what the manifest records.
        family: The implementation.

    Raises:
        ReferenceModelError: The name is taken.
    """
    if name in family_names():
        raise ReferenceModelError(f"a family's name must be new, got {name!r}; choose another one")
    _registered[name] = family


def family_names() -> list[str]:
    """Names of all families: built in, registered and installed, sorted."""
    installed = {entry.name for entry in entry_points(group=ENTRY_POINT_GROUP)}
    return sorted({*_targets, *_registered, *installed})


def get_family(name: str) -> Family:
    """The family of that name; its module is imported now.

    Raises:
        ReferenceModelError: There is none.
    """
    if name in _registered:
        return _registered[name]
    if name in _targets:
        module_name, attribute = _targets[name].split(":")
        family: Family = getattr(importlib.import_module(module_name), attribute)
        return family
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        if entry.name == name:
            loaded: Family = entry.load()
            return loaded
    raise ReferenceModelError(f"unknown family {name!r}; known: {', '.join(family_names())}")
