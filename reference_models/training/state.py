"""What a training leaves in its folder: the weights that ship, and what it needs to go on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from voirs_vocoder.reference_models.checkpoints.reading import save_safetensors
from voirs_vocoder.reference_models.errors import ReferenceModelError
from voirs_vocoder.reference_models.training.settings import Recipe
from voirs_vocoder.runtime.files import whole_file, write_whole

__all__ = ["MovingAverage", "TrainingFolder"]

# A young average forgets faster, or it would keep the random start for a thousand steps.
_YOUNG = 10


class MovingAverage:
    """Exponential moving average of a model's weights.

    After step k, average += (1 - d) (weights - average) with d = min(decay, (1 + k) / (10 + k)), k from 0.

    Attributes:
        tensors: Averaged weights by the names of the model's state dict.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Start at the model's weights."""
        self._decay = decay
        self.tensors = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}

    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after a step."""
        decay = min(self._decay, (1 + step) / (_YOUNG + step))
        weights = model.state_dict()
        # On a GPU one kernel for all of them.
        update = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        update(list(self.tensors.values()), [weights[name].detach() for name in self.tensors], 0)


class TrainingFolder:
    """The files of one training. Each is written beside its place and then renamed.

    Attributes:
        path: Folder of the training.
        weights: File of the averaged weights, in official names.
        config: File of the model's configuration.
        curve: CSV file of the figures over time.
    """

    def __init__(self, path: Path, recipe: Recipe) -> None:
        """Make the folder, or check that what lies there is of this recipe.

        Raises:
            ReferenceModelError: It holds the training of another recipe.
        """
        self.path = path
        self.weights = path / "model.safetensors"
        self.config = path / recipe.config_name
        self.curve = path / "curve.csv"
        self._recipe = recipe
        self._state = path / "state.pt"
        path.mkdir(parents=True, exist_ok=True)
        record = {
            "family": recipe.family,
            "config": recipe.config,
            "settings": recipe.settings.record(),
        }
        text = json.dumps(record, indent=2) + "\n"
        place = path / "recipe.json"
        if place.exists() and place.read_text(encoding="utf-8") != text:
            raise ReferenceModelError(
                f"{place}: this training began with another recipe; give the same settings, or another output"
            )
        write_whole(place, text.encode())
        config = json.dumps(dict(recipe.config), indent=2) + "\n"
        write_whole(self.config, config.encode())

    def write_state(self, state: Mapping[str, object]) -> None:
        """Keep what `read_state` returns."""
        with whole_file(self._state) as draft:
            torch.save(dict(state), draft)

    def read_state(self) -> dict[str, Any] | None:
        """What was kept last, or None at the beginning.

        Raises:
            ReferenceModelError: The file is damaged.
        """
        if not self._state.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self._state, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file makes torch raise any exception
            raise ReferenceModelError(
                f"{self._state}: the state of the training is damaged ({type(error).__name__}); "
                "delete it to begin again"
            ) from error
        return state

    def write_weights(self, tensors: Mapping[str, Tensor]) -> None:
        """Write the weights that ship."""
        kept = {
            name: tensor.half().cpu() if self._recipe.half_weights else tensor.cpu()
            for name, tensor in tensors.items()
        }
        with whole_file(self.weights) as draft:
            save_safetensors(kept, draft)
