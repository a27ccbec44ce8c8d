"""How a DiffWave begins: with the best guess of the noise that needs no network."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from voirs_vocoder.reference_models.diffwave import DiffWave
from voirs_vocoder.reference_models.unit_variance import unit_variance_scales

__all__ = ["pass_through"]

_MOST_PAIRS = 4
# Of the input at the first layer's tanh, which is nearly straight there: the product of two weights.
_AMPLITUDE = 0.3
# What the largest gain opens the sigmoid to.
_WIDEST = 0.9
# Noisy audio comes with an RMS of 0.07 to 0.3; the other channels see about unit variance.
_INPUT_GAIN = 8.0
_PLACES_PER_STEP = 8
_RIDGE = 1e-6


def pass_through(model: DiffWave, audio_rms: float) -> None:
    """Set weights so that the network predicts, of noisy audio x, the noise x s / v.

    That is what `unit_variance_scales` lets pass by in the U-Net; the official layout has no such path. Pairs of
    channels carry x and -x around each ReLU, through the first layer's tanh, to the skips; one more channel carries the
    step, and opens their gates by as much as the gain at that noise level needs. From random weights the network learns
    for thousands of steps to be so transparent.

    Args:
        model: With random weights.
        audio_rms: About that of the audio.
    """
    first: Any = model.residual_layers[0]
    channels = model.config.residual_channels
    pairs = max(1, min(_MOST_PAIRS, (channels - 1) // 2))
    own, telling = slice(0, 2 * pairs), 2 * pairs
    signs = torch.tensor([1.0, -1.0]).repeat(pairs)
    gains = unit_variance_scales(model.config.noise_schedule, audio_rms)[:, 1]
    widest = float(gains.max()) / _WIDEST
    root = _AMPLITUDE**0.5
    # The pairs' sum, over the root of the layers, comes to the skip projection.
    missing = (widest / (_AMPLITUDE * 2 * pairs / math.sqrt(len(model.residual_layers)))) ** 0.5
    with torch.no_grad():
        for module in (first.dilated_conv, first.conditioner_projection):
            for rows in (own, slice(channels, channels + 2 * pairs)):
                module.weight[rows] = 0.0
                module.bias[rows] = 0.0
        model.input_projection.weight *= _INPUT_GAIN
        model.input_projection.weight[own, 0, 0] = root * signs
        model.input_projection.weight[telling] = 0.0
        model.input_projection.get_parameter("bias")[: telling + 1] = 0.0
        first.diffusion_projection.weight[own] = 0.0
        first.diffusion_projection.bias[own] = 0.0
        _tell(model, first.diffusion_projection, telling, torch.logit(gains / widest))
        first.dilated_conv.weight[own, telling, 1] = 1.0
        for row, sign in enumerate(signs):
            pair = 2 * (row // 2)
            first.dilated_conv.weight[channels + row, pair, 1] = sign * root
            first.dilated_conv.weight[channels + row, pair + 1, 1] = -sign * root
        for layer in model.residual_layers:
            projection = layer.get_submodule("output_projection")
            projection.get_parameter("weight")[channels] = 0.0
            projection.get_parameter("bias")[channels] = 0.0
        first.output_projection.weight[channels, own, 0] = signs
        for row, sign in ((0, 1.0), (1, -1.0)):
            model.skip_projection.weight[row] = 0.0
            model.skip_projection.weight[row, 0, 0] = sign * missing
            model.skip_projection.get_parameter("bias")[row] = 0.0
            model.output_projection.weight[0, row, 0] = sign * missing
        model.output_projection.get_parameter("bias").zero_()


def _tell(model: DiffWave, projection: Any, row: int, wanted: Tensor) -> None:
    """Let a row of a layer's step projection give wanted values [steps], by ridge regression on the embedding."""
    steps = len(wanted)
    places = torch.linspace(0.0, steps - 1.0, (steps - 1) * _PLACES_PER_STEP + 1)
    below = places.floor().long().clamp(max=steps - 2)
    target = torch.lerp(wanted[below], wanted[below + 1], places - below).double()
    features = model.diffusion_embedding(places).double()
    mean = target.mean()
    gram = features.T @ features + _RIDGE * len(places) * torch.eye(features.shape[1], dtype=torch.float64)
    projection.weight[row] = torch.linalg.solve(gram, features.T @ (target - mean)).to(
        projection.weight.dtype
    )
    projection.bias[row] = mean.to(projection.bias.dtype)
