"""Which families can be trained. Importable without torch: the module of a recipe is imported when it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voirs_vocoder.reference_models.errors import ReferenceModelError
from voirs_vocoder.reference_models.registry import FAMILIES, imported

if TYPE_CHECKING:
    from voirs_vocoder.reference_models.training.settings import Recipe

__all__ = ["RECIPES", "get_recipe"]

RECIPES = tuple(name for name, row in FAMILIES.items() if row.recipe is not None)
"""Names of the families that can be trained."""


def get_recipe(family: str, preset: str | None = None) -> Recipe:
    """The training recipe of a family; its module is imported now.

    Args:
        family: Name of the family.
        preset: Name of a published size, such as `v1` for HiFi-GAN; None takes the small model that ships.

    Raises:
        ReferenceModelError: The family has no recipe or no such size, or there is no such family.
    """
    row = FAMILIES.get(family)
    if row is None or row.recipe is None:
        raise ReferenceModelError(f"no recipe for the family {family!r}; known: {', '.join(RECIPES)}")
    recipe: Recipe = imported(row.recipe)
    return recipe if preset is None else recipe.with_preset(preset)
