"""Weight norm in its three published forms, and their conversion.

Weight normalization (Salimans and Kingma 2016, equation 2) keeps w = g * v / ||v||, the norm being taken over every
axis but the first. A checkpoint holds it as `weight_g`/`weight_v` (`torch.nn.utils.weight_norm`), as
`parametrizations.weight.original0/original1` (`torch.nn.utils.parametrizations.weight_norm`), or folded as `weight`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

__all__ = ["fold_weight_norm", "folded_state_dict", "official_names", "weight_normed"]

Layer = TypeVar("Layer", bound=nn.Module)

_PARAMETRIZED = {
    ".parametrizations.weight.original0": ".weight_g",
    ".parametrizations.weight.original1": ".weight_v",
}


def weight_normed(layer: Layer) -> Layer:
    """The layer with its weight held as `weight_g` and `weight_v`, the names of the published checkpoints."""
    with warnings.catch_warnings():
        # torch prefers its parametrized form, whose parameters bear other names than every published checkpoint.
        warnings.simplefilter("ignore", FutureWarning)
        return nn.utils.weight_norm(layer)


def official_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename parametrized weight norm to `weight_g` and `weight_v`, and keep every tensor as it is."""
    renamed = {}
    for name, tensor in state.items():
        for suffix, official in _PARAMETRIZED.items():
            if name.endswith(suffix):
                renamed[name.removesuffix(suffix) + official] = tensor
                break
        else:
            renamed[name] = tensor
    return renamed


def folded_state_dict(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Replace each pair `weight_g`, `weight_v` by the `weight` that it stands for.

    Args:
        state: Parameters in official names; pairs and folded weights may be mixed.

    Returns:
        Parameters without weight norm; a `weight_g` without its `weight_v` (or the reverse) is left as it is,
        so that the comparison with the model's names reports it.
    """
    folded = {}
    for name, tensor in state.items():
        stem, _, leaf = name.rpartition(".")
        gain, direction = state.get(f"{stem}.weight_g"), state.get(f"{stem}.weight_v")
        if leaf not in ("weight_g", "weight_v") or gain is None or direction is None:
            folded[name] = tensor
        elif leaf == "weight_v":
            folded[f"{stem}.weight"] = torch._weight_norm(direction, gain, 0)
    return folded


def fold_weight_norm(module: nn.Module) -> None:
    """Turn every weight-normed layer of a model into the plain layer that it equals, in place."""
    for layer in module.modules():
        if hasattr(layer, "weight_g"):
            nn.utils.remove_weight_norm(layer)
