"""The table of families. Importable without torch: the module of a family is imported when the family is asked for."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from voirs_vocoder.reference_models.errors import ReferenceModelError

if TYPE_CHECKING:
    from voirs_vocoder.reference_models.family import Family

__all__ = ["FAMILIES", "FamilyRow", "family_names", "get_family", "imported", "register_family"]

ENTRY_POINT_GROUP = "voirs_vocoder.families"

_HOME = "voirs_vocoder.reference_models"


@dataclass(frozen=True)
class FamilyRow:
    """A family of this package.

    Attributes:
        name: Name on the command line and in manifests.
        title: Name for people, such as `HiFi-GAN`.
        family: Module and attribute of its `Family`, joined by a colon.
        recipe: Module and attribute of its training `Recipe`, joined by a colon; None where it cannot be trained.
    """

    name: str
    title: str
    family: str
    recipe: str | None


_ROWS = (
    FamilyRow("hifigan", "HiFi-GAN", f"{_HOME}.hifigan.family:HIFIGAN", f"{_HOME}.hifigan.recipe:HIFIGAN"),
    FamilyRow("bigvgan", "BigVGAN", f"{_HOME}.bigvgan.family:BIGVGAN", None),
    FamilyRow("vocos", "Vocos", f"{_HOME}.vocos.family:VOCOS", f"{_HOME}.vocos.recipe:VOCOS"),
    FamilyRow(
        "waveglow", "WaveGlow", f"{_HOME}.waveglow.family:WAVEGLOW", f"{_HOME}.waveglow.recipe:WAVEGLOW"
    ),
    FamilyRow(
        "diffwave", "DiffWave", f"{_HOME}.diffusion.family:DIFFWAVE", f"{_HOME}.diffusion.recipe:DIFFWAVE"
    ),
    FamilyRow(
        "diffwave-unet",
        "DiffWave U-Net",
        f"{_HOME}.diffusion.family:DIFFWAVE_UNET",
        f"{_HOME}.diffusion.recipe:DIFFWAVE_UNET",
    ),
)
FAMILIES: dict[str, FamilyRow] = {row.name: row for row in _ROWS}
"""Families of this package by name."""

_registered: dict[str, Family] = {}


def register_family(name: str, family: Family) -> None:
    """Make a family known to this process.

    An installed package makes its family known by an entry point in the group `voirs_vocoder.families` instead.

    Args:
        name: Name on the command line and in manifests.
        family: Implementation of the family.

    Raises:
        ReferenceModelError: The name is taken.
    """
    if name in family_names():
        raise ReferenceModelError(f"a family's name must be new, got {name!r}; choose another one")
    _registered[name] = family


def family_names() -> list[str]:
    """Names of all families: built in, registered and installed, sorted."""
    installed = {entry.name for entry in entry_points(group=ENTRY_POINT_GROUP)}
    return sorted({*FAMILIES, *_registered, *installed})


def imported(place: str) -> Any:
    """The object at a place such as `package.module:ATTRIBUTE`; the module is imported now."""
    module_name, attribute = place.split(":")
    return getattr(importlib.import_module(module_name), attribute)


def get_family(name: str) -> Family:
    """The family of that name; its module is imported now.

    Raises:
        ReferenceModelError: No family has the name.
    """
    if name in _registered:
        return _registered[name]
    if name in FAMILIES:
        family: Family = imported(FAMILIES[name].family)
        return family
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        if entry.name == name:
            loaded: Family = entry.load()
            return loaded
    raise ReferenceModelError(f"unknown family {name!r}; known: {', '.join(family_names())}")
