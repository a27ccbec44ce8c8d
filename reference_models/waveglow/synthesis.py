"""WaveGlow as a family: its published checkpoints in, one graph from noise and mel to audio out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from voirs_vocoder.reference_models.checkpoints.reading import load_into, read_checkpoint
from voirs_vocoder.reference_models.checkpoints.weight_norm import fold_weight_norm, folded_state_dict
from voirs_vocoder.reference_models.errors import ReferenceModelError
from voirs_vocoder.reference_models.family import GraphSpec, TensorSpec, VocoderModule
from voirs_vocoder.reference_models.waveglow.config import UPSAMPLE_KERNEL, UPSAMPLE_STRIDE, WaveGlowConfig
from voirs_vocoder.reference_models.waveglow.model import Coupling, Invertible1x1, WaveGlow, inverse_flows

__all__ = ["FAMILY", "WaveGlowFamily", "WaveGlowSynthesis", "present_layout"]

_TAPS = UPSAMPLE_KERNEL // UPSAMPLE_STRIDE
_PUBLISHED_CLASSES = frozenset({"glow.WaveGlow", "glow.WN", "glow.Invertible1x1Conv"})
_FORMER_LAYER = re.compile(r"(WN\.\d+)\.(res|skip|cond)_layers\.(\d+)\.(weight|bias)")


class WaveGlowSynthesis(nn.Module):
    """The inverse flow: noise to audio. Made from a trained model, whose weights it shares."""

    def __init__(self, model: WaveGlow) -> None:
        super().__init__()
        self.config = model.config
        self.upsample = _polyphase(model.upsample)
        self.flows = nn.ModuleList(_InverseFlow(convinv, coupling) for convinv, coupling in model.flows())

    def forward(self, mel: Tensor, noise: Tensor) -> Tensor:
        """Noise to audio.

        Args:
            mel: [batch, n_mel_channels, frames], in the convention of the model.
            noise: [batch, n_group, frames * hop_length / n_group], scaled by sigma, early outputs first.

        Returns:
            Audio [batch, 1, frames * hop_length].
        """
        config = self.config
        phases = self.upsample(functional.pad(mel, (_TAPS - 1, 0)))
        batch, groups = mel.shape[0], UPSAMPLE_STRIDE // config.flow.n_group
        # [batch, bands, group in frame, place in group, frame] to channels as `grouped_mel` numbers them.
        split = phases.reshape(batch, config.flow.n_mel_channels, groups, config.flow.n_group, -1)
        conditioning = split.permute(0, 1, 3, 4, 2).reshape(
            batch, config.flow.n_mel_channels * config.flow.n_group, -1
        )
        audio = inverse_flows(config, noise, lambda flow, x: self.flows[flow](x, conditioning))
        return audio.unsqueeze(1)


class _InverseFlow(nn.Module):
    """One flow backwards."""

    def __init__(self, convinv: Invertible1x1, coupling: Coupling) -> None:
        super().__init__()
        self.coupling = coupling
        parameters = coupling.cond_layer.state_dict()
        layers = len(coupling.in_layers)
        weights, biases = parameters["weight"].chunk(layers), parameters["bias"].chunk(layers)
        # One convolution for all layers would hold their conditions in memory at once.
        self.cond_layers = nn.ModuleList(map(_convolution, weights, biases))
        self.mix = _convolution(convinv.inverse_matrix().float().unsqueeze(-1), None)

    def forward(self, x: Tensor, mel: Tensor) -> Tensor:
        kept, changed = x.chunk(2, dim=1)
        b, log_s = self.coupling.gated(kept, (layer(mel) for layer in self.cond_layers))
        mixed: Tensor = self.mix(torch.cat((kept, (changed - b) * torch.exp(-log_s)), dim=1))
        return mixed


class WaveGlowFamily:
    """WaveGlow of any official configuration."""

    def load(self, checkpoint: Path, config: Path | None) -> WaveGlow:
        """See `Family.load`.

        A state dict, or the pickled module under `model` that NVIDIA publishes, in the layout of today's official code
        or in that from before its `convert_model.py`.
        """
        path = checkpoint.with_name("config.json") if config is None else config
        model = WaveGlow(WaveGlowConfig.from_json(path))
        source = read_checkpoint(
            checkpoint, weights_keys=("model", "state_dict"), module_classes=_PUBLISHED_CLASSES
        )
        load_into(model, source.with_tensors(present_layout(source.tensors)))
        fold_weight_norm(model)
        model.checkpoint_sha256 = source.sha256
        return model.eval().requires_grad_(False)

    def graphs(self, module: VocoderModule) -> list[GraphSpec]:
        """See `Family.graphs`. One graph, noise and mel to audio."""
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
        tensors: By parameter name, of either layout.

    Returns:
        The same with `res_skip_layers` and `cond_layer`, free of weight norm where they were put together.
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


def _polyphase(upsample: nn.ConvTranspose1d) -> nn.Conv1d:
    """The upsampling as a convolution at the frame rate, one channel per band and sample of a frame.

    A transposed convolution would hold the product of all its taps in memory, four times what comes out of it. What the
    last frame rings on for beyond its hop, which inference drops, is not computed.
    """
    bands, _, _ = upsample.weight.shape
    # [in, out, tap, phase] to [out, phase, in, tap], the newest frame last.
    weight = (
        upsample.weight.detach().reshape(bands, bands, _TAPS, UPSAMPLE_STRIDE).permute(1, 3, 0, 2).flip(3)
    )
    bias = upsample.state_dict()["bias"].repeat_interleave(UPSAMPLE_STRIDE)
    return _convolution(weight.reshape(bands * UPSAMPLE_STRIDE, bands, _TAPS), bias)


def _convolution(weight: Tensor, bias: Tensor | None) -> nn.Conv1d:
    """An unpadded convolution with these weights, [out, in, kernel]."""
    conv = nn.Conv1d(weight.shape[1], weight.shape[0], weight.shape[2], bias=bias is not None)
    conv.weight = nn.Parameter(weight.clone())
    if bias is not None:
        conv.bias = nn.Parameter(bias.clone())
    return conv


FAMILY = WaveGlowFamily()
