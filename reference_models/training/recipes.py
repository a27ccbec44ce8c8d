"""Which families can be trained. Importable without torch: a recipe's own module is imported when it is asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from voirs_vocoder.reference_models.errors import ReferenceModelError

if TYPE_CHECKING:
    from voirs_vocoder.reference_models.training.settings import Recipe

__all__ = ["RECIPES", "get_recipe"]

_HOME = "voirs_vocoder.reference_models"

RECIPES: dict[str, str] = {
    "diffwave": f"{_HOME}.diffusion.recipe:DIFFWAVE",
    "diffwave-unet": f"{_HOME}.diffusion.recipe:DIFFWAVE_UNET",
    "hifigan": f"{_HOME}.hifigan.recipe:HIFIGAN",
    "waveglow": f"{_HOME}.waveglow.recipe:WAVEGLOW",
}
"""Family name to module and attribute."""


def get_recipe(family: str) -> Recipe:
    """The recipe of a family; its module is imported now.

    Raises:
        ReferenceModelError: There is none.
    """
    if family not in RECIPES:
        raise ReferenceModelError(f"no recipe for the family {family!r}; known: {', '.join(RECIPES)}")
    module_name, attribute = RECIPES[family].split(":")
    recipe: Recipe = getattr(importlib.import_module(module_name), attribute)
    return recipe
