"""Snake and SnakeBeta (Ziyin et al. 2020, arXiv 2006.08195) at twice the rate, so that they fold no frequency back.

The official code raises the rate by a transposed convolution, and scales and squares in steps of their own. Here one
grouped convolution makes the odd and the even half-steps with 6 taps each. They stay in rows of their own until another
one lowers the rate. Both filters carry the scales, and a cosine takes the place of a squared sine.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from voirs_vocoder.reference_models.layers import HALF_BAND_FILTER

__all__ = ["AntiAliasedSnake"]

# The official code adds this to the divisor.
_DIVISOR_OFFSET = 1e-9
# Stands for a frequency of 0, so that one can divide by it: the sine of so little is nothing.
_LEAST_FREQUENCY = 1e-12
# The rounding of a cosine, 6e-8, is divided by twice the divisor; a square of a sine rounds relative to itself.
_LEAST_DIVISOR_OF_COSINES = 0.05


_PHASES = torch.stack((HALF_BAND_FILTER[1::2], HALF_BAND_FILTER[0::2])).flip(1)
"""The filter for a step itself, and for half a step before it, [2, 6]: both read from 3 steps before to 2 after."""

_PAIRS = torch.stack((HALF_BAND_FILTER[0::2], HALF_BAND_FILTER[1::2]))
"""The filter of pairs of half-steps, [2, 6]: it reads from 2 pairs before a step to 3 after."""


class _Parameters(nn.Module):
    """The parameters of an activation under their official names."""

    def __init__(self, channels: int, *, has_beta: bool) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels)) if has_beta else None


class AntiAliasedSnake(nn.Module):
    """x + sin(a x)^2 / b at twice the rate; the signal is taken as constant beyond both ends, at either rate.

    Args:
        channels: Number of channels.
        has_beta: Whether b is a parameter of its own (SnakeBeta); False takes a for it (Snake).
        log_scale: Whether the parameters are natural logarithms of a and b.
    """

    def __init__(self, channels: int, *, has_beta: bool, log_scale: bool) -> None:
        super().__init__()
        self.act = _Parameters(channels, has_beta=has_beta)
        self._log_scale = log_scale
        self._by_cosine = False

    @torch.no_grad()
    def fold(self) -> None:
        """Compute by cosines from here on, where the parameters as they are now allow it without loss of precision."""
        frequency, share = self.frequency_and_share()
        divisor = frequency / share.reshape(-1, 1)
        self._by_cosine = bool((divisor >= _LEAST_DIVISOR_OF_COSINES).all())

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: [batch, channels, steps] -> the same."""
        channels = x.shape[1]
        frequency, share = self.frequency_and_share()
        # sin(p)^2 = (1 - cos(2 p)) / 2: twice the phase, of twice the result. Phases of cosines are in turns.
        scale = 1.0 / math.pi if self._by_cosine else 1.0
        # What is constant here is folded at export.
        raising = 2.0 * scale * frequency.reshape(-1, 1, 1, 1) * _PHASES.to(x)
        # The half-steps of a step are rows, since ONNX Runtime has a fast kernel for one filter per channel in two
        # dimensions only. Between rows of zeros, the first row of the result meets the second one of the filter.
        x = functional.pad(x.unsqueeze(2), (3, 3, 0, 0), "replicate")
        x = functional.conv2d(x, raising, padding=(1, 0), groups=channels)
        if self._by_cosine:
            x = x - share / (2.0 * math.pi) * torch.cos(2.0 * math.pi * x)
        else:
            sine = torch.sin(x)
            x = x + share * (sine * sine)
        x = _padded_by_ends(x)
        lowering = _PAIRS.to(x) / (scale * frequency.reshape(-1, 1, 1, 1))
        # What is constant passes a filter as it is.
        constant = share.reshape(-1) / (2.0 * frequency.reshape(-1)) if self._by_cosine else None
        return functional.conv2d(x, lowering, constant, groups=channels).squeeze(2)

    def frequency_and_share(self) -> tuple[Tensor, Tensor]:
        """The frequency a of each channel, float32 [channels, 1], and a / b, float32 [channels, 1, 1]."""
        alpha: Tensor = self.act.alpha
        beta: Tensor = alpha if self.act.beta is None else self.act.beta
        if self._log_scale:
            alpha, beta = torch.exp(alpha), torch.exp(beta)
        frequency = torch.where(alpha == 0.0, _LEAST_FREQUENCY, alpha)
        return frequency.unsqueeze(1), (frequency / (beta + _DIVISOR_OFFSET)).reshape(-1, 1, 1)


def _padded_by_ends(pairs: Tensor) -> Tensor:
    """Pairs of half-steps with the first and the last half-step of the signal outside of it.

    Args:
        pairs: The half-step before each step and the step itself, [batch, channels, 2, steps + 1]. The first lies
            before the signal and the last behind it: both are replaced.

    Returns:
        Tensor [batch, channels, 2, steps + 5], beginning 2 pairs earlier.
    """
    first = pairs[..., :1].index_select(2, _rows(1))
    last = pairs[..., -1:].index_select(2, _rows(0))
    return torch.cat((first, first, first, pairs[..., 1:-1], last, last, last), 3)


def _rows(row: int) -> Tensor:
    return torch.tensor([row, row])
