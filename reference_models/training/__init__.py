"""Training of small vocoders from a folder of recordings: one loop, and what each family brings to it.

`python -m voirs_vocoder.reference_models.training FAMILY --data DIR --output DIR --hours H`. A family brings a
`Recipe`: a configuration, settings, and a `Task` with its losses. Everything else is shared. Importable without torch.
"""

from voirs_vocoder.reference_models.training.recipes import RECIPES, get_recipe
from voirs_vocoder.reference_models.training.settings import PlayerSettings, Preset, Recipe, TrainingSettings

__all__ = ["RECIPES", "PlayerSettings", "Preset", "Recipe", "TrainingSettings", "get_recipe"]
