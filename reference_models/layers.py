"""What several families or layouts share: the embedding of a diffusion step, sums, and the filter of BigVGAN."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["HALF_BAND_FILTER", "StepEmbedding", "interpolated_rows", "skip_sum"]

_PAIRS = 64
_DECADES = 4.0
_FILTER_TAPS = 12
_HALF_WIDTH = 0.3


def _kaiser_sinc() -> Tensor:
    """A sinc that halves the band, under the Kaiser window that its width asks for."""
    # Kaiser's formulas: the attenuation in dB of a window of this length and width, and its shape above 50 dB.
    attenuation_db = 2.285 * (_FILTER_TAPS // 2 - 1) * math.pi * 4 * _HALF_WIDTH + 7.95
    window = torch.kaiser_window(_FILTER_TAPS, periodic=False, beta=0.1102 * (attenuation_db - 8.7))
    places = torch.arange(-_FILTER_TAPS // 2, _FILTER_TAPS // 2) + 0.5
    taps = window * torch.sinc(places / 2)
    return taps / taps.sum()


HALF_BAND_FILTER = _kaiser_sinc()
"""Coefficients of the low-pass filter in BigVGAN's activations, float32 [12], symmetric, with the sum 1."""


class StepEmbedding(nn.Module):
    """Sines and cosines of the step, then two layers.

    Row t of the table holds sin(t 10^(4 i / 63)) and cos of the same, i = 0 .. 63: github.com/lmnt-com/diffwave at
    0594106, model.py. The angle leaves the range of FP16, so the table is a constant that was computed in FP32; between
    integer steps its rows are interpolated, as the official code does.

    Attributes:
        embedding: The table, [steps, 128].
    """

    embedding: Tensor

    def __init__(self, steps: int, channels: int) -> None:
        """Make the table.

        Args:
            steps: Number of steps of the training schedule.
            channels: Number of channels of both layers.
        """
        super().__init__()
        self.register_buffer("embedding", _table(steps), persistent=False)
        self.projection1 = nn.Linear(2 * _PAIRS, channels)
        self.projection2 = nn.Linear(channels, channels)

    def forward(self, step: Tensor) -> Tensor:
        """Embed the step.

        Args:
            step: [batch], float32, in [0, steps - 1]; fractions are interpolated, what lies outside is limited.

        Returns:
            [batch, channels].
        """
        x = interpolated_rows(self.embedding, step)
        return functional.silu(self.projection2(functional.silu(self.projection1(x))))


def interpolated_rows(table: Tensor, step: Tensor) -> Tensor:
    """Rows of a table at fractional places.

    Args:
        table: [steps, columns].
        step: [batch], float32 or float64; what lies outside of [0, steps - 1] is limited.

    Returns:
        [batch, columns].
    """
    limited = step.clamp(0.0, float(table.shape[0] - 1))
    below, above = torch.floor(limited), torch.ceil(limited)
    low, high = (torch.index_select(table, 0, place.to(torch.int64)) for place in (below, above))
    return low + (high - low) * (limited - below).unsqueeze(1)


def skip_sum(skips: Sequence[Tensor]) -> Tensor:
    """Add up tensors of one shape, at least one.

    Added at the end of the graph, not on the way: ONNX Runtime runs the producers of a node's inputs from the last one
    listed to the first, so this is the form in which it holds one sum instead of every summand.
    """
    total = skips[0]
    for skip in skips[1:]:
        total = total + skip
    return total


def _table(steps: int) -> Tensor:
    step = torch.arange(steps).unsqueeze(1)
    pair = torch.arange(_PAIRS).unsqueeze(0)
    angle = step * 10.0 ** (pair * _DECADES / (_PAIRS - 1))
    return torch.cat((torch.sin(angle), torch.cos(angle)), dim=1)
