"""The exports that users of Vocos and BigVGAN post, which ours is compared with."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.benchmark.inverse_transform import InverseTransform
from voirs_vocoder.reference_models.bigvgan.activation import AntiAliasedSnake
from voirs_vocoder.reference_models.bigvgan.model import BigVgan
from voirs_vocoder.reference_models.layers import HALF_BAND_FILTER
from voirs_vocoder.reference_models.vocos.model import Vocos

__all__ = ["PostedExport", "posted_bigvgan", "posted_vocos"]

_EPSILON = 1e-6
_MAX_MAGNITUDE = 100.0


@dataclass(frozen=True)
class PostedExport:
    """A model as its users export it.

    Attributes:
        network: What they give to `torch.onnx.export`; takes a mel [batch, n_mels, frames].
        outputs: Names of the network's outputs.
        finish: What they compute outside of the graph from its outputs; None where the graph gives the audio.
    """

    network: nn.Module
    outputs: tuple[str, ...]
    finish: InverseTransform | None = None


def posted_vocos(model: nn.Module) -> PostedExport:
    """The network up to the spectrogram, as vocos 0.1.0 writes it, with the inverse transform in numpy.

    Args:
        model: A Vocos of ours, which `Vocos.fold` is called on.
    """
    if not isinstance(model, Vocos):
        raise TypeError(f"model must be a Vocos, got {type(model).__name__}")
    model.fold()
    config = model.config
    transform = InverseTransform(
        n_fft=config.n_fft,
        hop_length=config.hop_length,
        first_sample=config.first_sample,
        least_envelope=config.least_envelope,
    )
    return PostedExport(_VocosSpectrogram(model), ("real", "imaginary"), transform)


def posted_bigvgan(model: nn.Module) -> PostedExport:
    """The whole network, with activations in the steps of the official code.

    Args:
        model: A BigVGAN of ours.
    """
    if not isinstance(model, BigVgan):
        raise TypeError(f"model must be a BigVgan, got {type(model).__name__}")
    official = copy.deepcopy(model)
    for name, module in model.named_modules():
        if isinstance(module, AntiAliasedSnake):
            parent, _, own = name.rpartition(".")
            setattr(official.get_submodule(parent), own, _OfficialActivation(module))
    return PostedExport(official, ("audio",))


class _VocosSpectrogram(nn.Module):
    """Layers within a frame as matrix products between transpositions, as `vocos.models.VocosBackbone` has them."""

    def __init__(self, model: Vocos) -> None:
        super().__init__()
        backbone, dim = model.backbone, model.config.dim
        self.embed = _conv1d(backbone.embed)
        self.norm = _layer_norm(backbone.norm, dim)
        self.blocks = nn.ModuleList()
        for block in backbone.convnext.children():
            layers = (
                _conv1d(block.get_submodule("dwconv")),
                _layer_norm(block.get_submodule("norm"), dim),
                _linear(block.get_submodule("pwconv1")),
                _linear(block.get_submodule("pwconv2")),
            )
            self.blocks.append(nn.ModuleList(layers))
        self.final_norm = _layer_norm(backbone.final_layer_norm, dim)
        self.out = _linear(model.head.out)

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        x = self.norm(self.embed(mel).transpose(1, 2)).transpose(1, 2)
        for block in self.blocks:
            depthwise, norm, widen, narrow = block.children()
            y = norm(depthwise(x).transpose(1, 2))
            x = x + narrow(functional.gelu(widen(y))).transpose(1, 2)
        log_magnitude, phase = self.out(self.final_norm(x.transpose(1, 2))).transpose(1, 2).chunk(2, dim=1)
        magnitude = torch.clip(torch.exp(log_magnitude), max=_MAX_MAGNITUDE)
        return magnitude * torch.cos(phase), magnitude * torch.sin(phase)


class _OfficialActivation(nn.Module):
    """Twice the rate by a transposed convolution, the activation, and half the rate by a strided convolution."""

    raising: Tensor
    lowering: Tensor

    def __init__(self, ours: AntiAliasedSnake) -> None:
        super().__init__()
        frequency, share = ours.frequency_and_share()
        channels = frequency.shape[0]
        self.channels = channels
        self.frequency = nn.Parameter(frequency[None].detach().clone())
        self.magnitude = nn.Parameter((share.reshape(1, -1, 1) / frequency[None]).detach().clone())
        taps = HALF_BAND_FILTER.expand(channels, 1, -1).clone()
        self.register_buffer("raising", 2.0 * taps)
        self.register_buffer("lowering", taps.clone())

    def forward(self, x: Tensor) -> Tensor:
        x = functional.pad(x, (5, 5), "replicate")
        x = functional.conv_transpose1d(x, self.raising, stride=2, groups=self.channels)[..., 15:-15]
        x = x + self.magnitude * torch.sin(x * self.frequency) ** 2
        x = functional.pad(x, (5, 6), "replicate")
        return functional.conv1d(x, self.lowering, stride=2, groups=self.channels)


def _conv1d(layer: nn.Module) -> nn.Conv1d:
    weight = layer.get_parameter("weight").squeeze(2)
    outputs, inputs, kernel = weight.shape
    groups = outputs if inputs == 1 else 1
    own = nn.Conv1d(inputs * groups, outputs, kernel, padding=kernel // 2, groups=groups)
    own.load_state_dict({"weight": weight, "bias": layer.get_parameter("bias")})
    return own


def _linear(layer: nn.Module) -> nn.Linear:
    weight = layer.get_parameter("weight")[:, :, 0, 0]
    own = nn.Linear(weight.shape[1], weight.shape[0])
    own.load_state_dict({"weight": weight, "bias": layer.get_parameter("bias")})
    return own


def _layer_norm(norm: nn.Module, channels: int) -> nn.LayerNorm:
    """A norm whose scales were moved into the next layer keeps scales of 1, since the official one has some."""
    own = nn.LayerNorm(channels, eps=_EPSILON)
    own.load_state_dict({**own.state_dict(), **dict(norm.named_parameters())})
    return own
