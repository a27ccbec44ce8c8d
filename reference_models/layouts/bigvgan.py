"""BigVGANs of NVIDIA: bigvgan_generator.pt, or g_05000000 of version 1, with config.json."""

from __future__ import annotations

import re

import torch

from voirs_vocoder.reference_models.checkpoints.reading import Checkpoint
from voirs_vocoder.reference_models.errors import CheckpointError
from voirs_vocoder.reference_models.layers import HALF_BAND_FILTER
from voirs_vocoder.reference_models.layouts.layout import ReadModel, Seen, renamed

__all__ = ["BigVganLayout"]

_FILTER = re.compile(r"(?:.*\.)?(?:upsample\.filter|downsample\.lowpass\.filter)")
# Half precision rounds by less; another filter of this length differs by more.
_FILTER_TOLERANCE = 5e-4


class BigVganLayout:
    """The official code's names; the filters among the weights are those that it computes."""

    name = "BigVGAN by NVIDIA"
    family = "bigvgan"

    def recognizes(self, seen: Seen) -> bool:
        """Whether the configuration names an activation, and the weights hold parameters of one."""
        return "activation" in seen.config and seen.has(r"ups\.0\.0\.bias") and seen.has(r"act\.alpha")

    def read(self, seen: Seen) -> ReadModel:
        """Take configuration and names as they are, and leave the filters out once they are known to be the usual."""
        config = seen.package.config()
        return ReadModel(
            layout=self.name,
            family=self.family,
            config=config,
            published=config,
            config_name=seen.package.config_name,
            checkpoint=_without_filters(seen.weights("generator")),
        )


def _without_filters(weights: Checkpoint) -> Checkpoint:
    for name, tensor in weights.tensors.items():
        if _FILTER.fullmatch(name):
            values = tensor.flatten().float()
            if values.shape != HALF_BAND_FILTER.shape or not torch.allclose(
                values, HALF_BAND_FILTER, rtol=0, atol=_FILTER_TOLERANCE
            ):
                raise CheckpointError(
                    f"{weights.path}: the filters of activations must be the official 12 taps of a Kaiser sinc, got "
                    f"{len(values)} others in {name!r}; export a checkpoint whose network has the official filters"
                )
    return renamed(weights, lambda name: None if _FILTER.fullmatch(name) else name)
