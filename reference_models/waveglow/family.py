"""WaveGlow as a family: published checkpoints in, one graph from noise and mel to audio out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from voirs_vocoder.reference_models.checkpoints.weight_norm import folded_state_dict
from voirs_vocoder.reference_models.errors import ReferenceModelError
from voirs_vocoder.reference_models.family import GraphSpec, TensorSpec, VocoderModule
from voirs_vocoder.reference_models.layouts.layout import ReadModel
from voirs_vocoder.reference_models.layouts.table import read_model
from voirs_vocoder.reference_models.waveglow.config import WaveGlowConfig
from voirs_vocoder.reference_models.waveglow.model import WaveGlow
from voirs_vocoder.reference_models.waveglow.synthesis import WaveGlowSynthesis

__all__ = ["WAVEGLOW", "WaveGlowFamily", "present_layout"]

_FORMER_LAYER = re.compile(r"(WN\.\d+)\.(res|skip|cond)_layers\.(\d+)\.(weight|bias)")


class WaveGlowFamily:
    """WaveGlow of any official configuration."""

    def load(self, checkpoint: Path, config: Path | None) -> WaveGlow:
        """Read a published checkpoint; see `Family.load`.

        A state dict, or the pickled module under `model` that NVIDIA publishes, in the layout of today's official code
        or in that from before its `convert_model.py`.
        """
        return self.model_of(read_model(checkpoint, config, "waveglow"))

    def model_of(self, read: ReadModel) -> WaveGlow:
        """Make the model that a layout read; see `LayoutFamily.model_of`."""
        values = read.family_config(WaveGlowConfig)
        present = read.checkpoint.with_tensors(present_layout(read.checkpoint.tensors))
        return replace(read, checkpoint=present).module(lambda: WaveGlow(values))

    def graphs(self, module: VocoderModule) -> list[GraphSpec]:
        """Describe the one graph, noise and mel to audio."""
        if not isinstance(module, WaveGlow):
            raise ReferenceModelError(
                f"the family waveglow makes graphs of WaveGlow, got {type(module).__name__}"
            )
        config = module.config
        groups = config.mel.hop_length // config.flow.n_group
        return [
            GraphSpec(
                role="offline",
                module=WaveGlowSynthesis(module).eval().requires_grad_(False),
                inputs=(
                    TensorSpec(
                        "mel",
                        ("batch", config.flow.n_mel_channels, "frames"),
                        example_mean=-5.0,
                        example_std=2.0,
                    ),
                    TensorSpec("noise", ("batch", config.flow.n_group, f"frames*{groups}"), example_std=0.6),
                ),
                outputs=(TensorSpec("audio", ("batch", 1, f"frames*{config.mel.hop_length}")),),
                context_frames=config.context_frames,
                look_ahead_frames=config.look_ahead_frames,
                # The affine path runs through all flows without a nonlinearity to forgive it: exponentials, 1x1
                # inverses and the convolutions that make scale and shift are less than a thousandth of the arithmetic.
                keep_float={
                    "fp16": ("flows.*.mix", "flows.*.coupling.end", "Exp.*"),
                    "int8": ("flows.*.mix", "flows.*.coupling.end", "flows.*.coupling.start"),
                },
            )
        ]


def present_layout(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights from before the official `convert_model.py`, which had one layer per residual, skip and condition.

    Args:
        tensors: Weights by parameter name, in either layout.

    Returns:
        Weights in today's layout with `res_skip_layers` and `cond_layer`, without weight norm where layers were joined.
    """
    if not any(_FORMER_LAYER.match(name.replace("weight_g", "weight")) for name in tensors):
        return dict(tensors)
    kept: dict[str, Tensor] = {}
    former: dict[tuple[str, str, str], dict[int, Tensor]] = {}
    for name, tensor in folded_state_dict(tensors).items():
        match = _FORMER_LAYER.fullmatch(name)
        if match is None:
            kept[name] = tensor
        else:
            coupling, kind, layer, leaf = match.groups()
            former.setdefault((coupling, kind, leaf), {})[int(layer)] = tensor
    for (coupling, kind, leaf), layers in former.items():
        if kind == "cond":
            kept[f"{coupling}.cond_layer.{leaf}"] = torch.cat([layers[layer] for layer in sorted(layers)])
        if kind == "skip":
            residuals = former.get((coupling, "res", leaf), {})
            for layer, skip in layers.items():
                parts = [residuals[layer], skip] if layer in residuals else [skip]
                kept[f"{coupling}.res_skip_layers.{layer}.{leaf}"] = torch.cat(parts)
    return kept


WAVEGLOW = WaveGlowFamily()
