"""The networks of a model as its users have them in PyTorch: those that were published."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from tests.benchmark.inverse_transform import InverseTransform
from tests.benchmark.posted import PostedExport, posted_bigvgan, posted_vocos
from voirs_vocoder.reference_models import get_family
from voirs_vocoder.reference_models.family import GraphSpec, ModelDescription

__all__ = ["UserNetworks", "user_networks"]

# Families whose network here is written in another, faster form than the published one.
_PUBLISHED: Mapping[str, Callable[[nn.Module], PostedExport]] = {
    "bigvgan": posted_bigvgan,
    "vocos": posted_vocos,
}


@dataclass(frozen=True)
class UserNetworks:
    """A model as its users have it.

    Attributes:
        description: What an artifact states about the model.
        specs: Its graphs, whose modules are the published ones.
        transform: What users compute outside of the graph; None where it gives the audio.
    """

    description: ModelDescription
    specs: tuple[GraphSpec, ...]
    transform: InverseTransform | None


def user_networks(family: str, checkpoint: Path) -> UserNetworks:
    """Load a model.

    Args:
        family: Name of the family.
        checkpoint: File of the weights, its configuration beside it.
    """
    loader = get_family(family)
    module = loader.load(checkpoint, None)
    specs = tuple(loader.graphs(module))
    if family not in _PUBLISHED:
        return UserNetworks(module.description, specs, None)
    (spec,) = specs
    posted = _PUBLISHED[family](spec.module)
    outputs = tuple(replace(spec.outputs[0], name=name) for name in posted.outputs)
    published = replace(spec, module=posted.network.eval().requires_grad_(False), outputs=outputs)
    return UserNetworks(module.description, (published,), posted.finish)
