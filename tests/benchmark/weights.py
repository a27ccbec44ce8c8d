"""Random weights under which a network takes the time that it takes on speech."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from voirs_vocoder.export.bench.artifact import bench_mel
from voirs_vocoder.reference_models.checkpoints.weight_norm import fold_weight_norm
from voirs_vocoder.runtime import get_convention

__all__ = ["dormant_filled", "rescaled_layers"]

# What every convolution puts out on average; after a few residual sums that is about 1.
_DEVIATION = 0.5
_DORMANT_DEVIATION = 0.02
_PROBE_FRAMES = 32

_Config = TypeVar("_Config")


def rescaled_layers(model: nn.Module, seed: int = 0, *, convention: str = "hifigan-22k") -> dict[str, Tensor]:
    """Weights whose activations neither die nor explode, so that INT8 meets the ranges of speech.

    Layer by layer, in the order of execution, normal weights are scaled to a common output deviation, as in D. Mishkin
    and J. Matas, All you need is a good init, arXiv 1511.06422, algorithm 1, in a single iteration.

    Args:
        model: A network of Conv1d and ConvTranspose1d layers that takes a mel [batch, n_mels, frames] alone; its
            weights are replaced and its weight norm is folded.
        seed: Seed of the weights.
        convention: Convention of the mel that the deviation is measured on.

    Returns:
        Parameter name to float32 tensor, without weight norm.
    """
    generator = torch.Generator().manual_seed(seed)
    fold_weight_norm(model)
    mel = torch.from_numpy(bench_mel(get_convention(convention), _PROBE_FRAMES))

    def rescale(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        del inputs
        scale = _DEVIATION / output.std()
        layer.get_parameter("weight").mul_(scale)
        return output * scale

    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d):
                layer.weight.normal_(generator=generator)
                if layer.bias is not None:
                    layer.bias.zero_()
                layer.register_forward_hook(rescale)
        model(mel[None])
    return model.state_dict()


def dormant_filled(network: Callable[[_Config], nn.Module], config: _Config) -> dict[str, Tensor]:
    """The network's own initialization, with small weights where it starts from zero.

    A weight of zero would make everything behind it cheap to compute.

    Args:
        network: Makes a network from its configuration.
        config: The configuration.

    Returns:
        Parameter name to float32 tensor; the same every time.
    """
    torch.manual_seed(0)
    model = network(config)
    for parameter in model.parameters():
        if parameter.dim() > 1 and not parameter.any():
            nn.init.normal_(parameter, 0.0, _DORMANT_DEVIATION)
    return model.state_dict()
