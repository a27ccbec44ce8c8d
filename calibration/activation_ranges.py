"""Scales and zero points for activations, from histograms of what calibration runs computed.

A range method chooses the ends of the range of a tensor, beyond which values are clipped. A new method is a name in
`RangeMethod` and one row of the table at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.calibration.config import RangeMethod
from voirs_vocoder.calibration.histograms import ChannelHistogram, Distribution, FloatHistogram

__all__ = [
    "ChannelScales",
    "TensorScale",
    "asymmetric_scale",
    "channel_scales",
    "symmetric_scale",
]

_SYMMETRIC_STEPS = 127
_ASYMMETRIC_STEPS = 255
# Candidates for each end of the range: the extreme value and fractions of it down to 1/16, 8 per octave.
_FRACTIONS = 2.0 ** (-np.arange(33) / 8)
# A clipped value counts for more than its square: clipping comes in bursts that are audible, and later speech is louder
# in places than the calibration recordings. On HiFi-GAN V2, 4 gave the best mean SNR, 16 the best worst recording.
_CLIPPING_WEIGHT = 4.0
_KEPT_SHARE = 0.9999
# Bins of equal width per quantization step of the whole range: one remains per step of the narrowest candidate, 1/16.
_BINS_PER_STEP = 16
# Probability of a bin to which quantization moves no value, as a share: what clipping costs the entropy.
_LEAST_PROBABILITY = 1e-6
# A tensor with no larger value counts as zero: the product of its scale and a weight's would not be a normal float32.
_LEAST_RANGE = 1e-30


@dataclass(frozen=True)
class TensorScale:
    """How a tensor is quantized: real value = scale * (integer - zero_point).

    Attributes:
        scale: Step between two integers, above 0; exact in float32.
        zero_point: Integer that represents 0.
    """

    scale: float
    zero_point: int


@dataclass(frozen=True, eq=False)
class ChannelScales:
    """How each channel of a tensor is quantized, with 0 in the middle: real value = scales[c] * (integer - 128).

    Attributes:
        scales: Step between two integers of each channel, float32 [channels], above 0.
    """

    scales: NDArray[np.float32]


def channel_scales(histogram: ChannelHistogram, method: RangeMethod = "mse") -> ChannelScales:
    """For each channel the scale that a range method chooses, computed as in `symmetric_scale`.

    A channel that is always zero takes the largest scale of the others.
    """
    scales = np.array(
        [
            _symmetric_end(magnitudes, method) / _SYMMETRIC_STEPS if magnitudes.high > _LEAST_RANGE else 0.0
            for magnitudes in map(_without_zeros, histogram.magnitudes())
        ]
    )
    scales[scales == 0.0] = np.max(scales, initial=0.0) or 1.0
    return ChannelScales(scales.astype(np.float32))


def symmetric_scale(histogram: FloatHistogram, method: RangeMethod = "mse") -> TensorScale:
    """The scale for int8 in [-127, 127] with zero point 0 that a range method chooses.

    For `mse`, rounding contributes scale²/12 for each value in range (Bennett 1948, uniform quantization noise),
    clipping four times the square of the part beyond the range.
    """
    magnitudes = histogram.magnitudes()
    if magnitudes.high <= _LEAST_RANGE:
        return TensorScale(1.0, 0)
    return TensorScale(float(np.float32(_symmetric_end(magnitudes, method) / _SYMMETRIC_STEPS)), 0)


def asymmetric_scale(
    histogram: FloatHistogram, negative_slope: float = 1.0, method: RangeMethod = "mse"
) -> TensorScale:
    """The scale and zero point for uint8 that a range method chooses; zero is represented exactly.

    Args:
        histogram: Values of the tensor.
        negative_slope: Slope below zero of the LeakyRelu that alone reads the tensor, by which errors of negative
            values shrink; 1 where there is no such LeakyRelu. Only `mse` takes it into account.
        method: Name of the range method.
    """
    values = histogram.distribution()
    if max(-values.low, values.high) <= _LEAST_RANGE:
        return TensorScale(1.0, 0)
    below, above = _METHODS[method].asymmetric(values, negative_slope)
    if below + above <= _LEAST_RANGE:
        below, above = _min_max_ends(values, negative_slope)
    scale = np.float32((below + above) / _ASYMMETRIC_STEPS)
    return TensorScale(float(scale), round(float(below / scale)))


def _symmetric_end(magnitudes: Distribution, method: RangeMethod) -> float:
    """The end of the range for magnitudes that are not all zero."""
    end = _METHODS[method].symmetric(magnitudes)
    return end if end > _LEAST_RANGE else magnitudes.high


def _without_zeros(magnitudes: Distribution) -> Distribution:
    """Magnitudes from the second bin on: a channel whose padding is zero is ranged by its sound."""
    start = int(magnitudes.lower.size > 0 and magnitudes.lower[0] == 0.0)
    return Distribution(
        magnitudes.lower[start:],
        magnitudes.upper[start:],
        magnitudes.values[start:],
        magnitudes.counts[start:],
        magnitudes.low,
        magnitudes.high if magnitudes.lower[start:].size else 0.0,
    )


def _mse_end(magnitudes: Distribution) -> float:
    ends = magnitudes.values[-1] * _FRACTIONS
    errors = _clipping_errors(magnitudes.values, magnitudes.counts, ends)
    errors += (ends / _SYMMETRIC_STEPS) ** 2 / 12 * magnitudes.counts.sum()
    return float(ends[np.argmin(errors)])


def _mse_ends(values: Distribution, negative_slope: float) -> tuple[float, float]:
    middles = values.values
    low, high = max(0.0, -float(middles[0])), max(0.0, float(middles[-1]))
    weights = np.where(middles < 0, negative_slope**2, 1.0) * values.counts
    below, above = low * _FRACTIONS, high * _FRACTIONS
    errors = (
        _clipping_errors(-middles[::-1], weights[::-1], below)[:, np.newaxis]
        + _clipping_errors(middles, weights, above)[np.newaxis, :]
        + ((below[:, np.newaxis] + above[np.newaxis, :]) / _ASYMMETRIC_STEPS) ** 2 / 12 * weights.sum()
    )
    first, second = np.unravel_index(np.argmin(errors), errors.shape)
    return float(below[first]), float(above[second])


def _clipping_errors(
    values: NDArray[np.float64], weights: NDArray[np.float64], ends: NDArray[np.float64]
) -> NDArray[np.float64]:
    """For each end of the range, the cost of clipping ascending values above it."""
    moments = np.stack([weights, weights * values, weights * values**2])
    suffix = np.concatenate([np.cumsum(moments[:, ::-1], axis=1)[:, ::-1], np.zeros((3, 1))], axis=1)
    zeroth, first, second = suffix[:, np.searchsorted(values, ends, side="right")]
    squares: NDArray[np.float64] = np.maximum(second - 2 * ends * first + ends**2 * zeroth, 0.0)
    return squares * _CLIPPING_WEIGHT


def _min_max_end(magnitudes: Distribution) -> float:
    return magnitudes.high


def _min_max_ends(values: Distribution, negative_slope: float) -> tuple[float, float]:
    del negative_slope
    return max(0.0, -values.low), max(0.0, values.high)


def _percentile_end(magnitudes: Distribution) -> float:
    return _quantile(magnitudes, _KEPT_SHARE)


def _percentile_ends(values: Distribution, negative_slope: float) -> tuple[float, float]:
    """Half of what is clipped lies on each side."""
    del negative_slope
    clipped = (1.0 - _KEPT_SHARE) / 2
    return max(0.0, -_quantile(values, clipped)), max(0.0, _quantile(values, 1.0 - clipped))


def _quantile(values: Distribution, share: float) -> float:
    """The value that a share of all values does not exceed; within a bin, values are taken as spread evenly."""
    below = np.cumsum(values.counts)
    wanted = share * below[-1]
    place = min(int(np.searchsorted(below, wanted)), below.size - 1)
    part = (wanted - (below[place] - values.counts[place])) / values.counts[place]
    found = values.lower[place] + part * (values.upper[place] - values.lower[place])
    return float(np.clip(found, values.low, values.high))


def _entropy_end(magnitudes: Distribution) -> float:
    edges = np.linspace(0.0, magnitudes.high, _SYMMETRIC_STEPS * _BINS_PER_STEP + 1)
    counts = _even_bins(magnitudes, edges)
    ends = magnitudes.high * _FRACTIONS
    costs = [_divergence(edges, counts, 0.0, end, end / _SYMMETRIC_STEPS) for end in ends]
    return float(ends[np.argmin(costs)])


def _entropy_ends(values: Distribution, negative_slope: float) -> tuple[float, float]:
    low, high = _min_max_ends(values, negative_slope)
    edges = np.linspace(-low, high, _ASYMMETRIC_STEPS * _BINS_PER_STEP + 1)
    counts = _even_bins(values, edges)
    candidates = [
        (float(below), float(above))
        for below in (low * _FRACTIONS if low else (0.0,))
        for above in (high * _FRACTIONS if high else (0.0,))
    ]
    return min(
        candidates,
        key=lambda ends: _divergence(edges, counts, -ends[0], ends[1], sum(ends) / _ASYMMETRIC_STEPS),
    )


def _even_bins(values: Distribution, edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Counts between ascending edges; within a bin, values are taken as spread evenly."""
    # A bin may reach beyond the extreme value that lies in it.
    lower, upper = np.maximum(values.lower, edges[0]), np.minimum(values.upper, edges[-1])
    before = np.concatenate([[0.0], np.cumsum(values.counts)])
    places = np.stack([lower, np.maximum(upper, lower)], axis=1).reshape(-1)
    shares = np.stack([before[:-1], before[1:]], axis=1).reshape(-1)
    below = np.interp(edges, places, shares)
    below[0], below[-1] = 0.0, before[-1]
    counts: NDArray[np.float64] = np.diff(below)
    return counts


def _divergence(
    edges: NDArray[np.float64], counts: NDArray[np.float64], start: float, stop: float, step: float
) -> float:
    """Kullback-Leibler divergence of the quantized distribution from the clipped one.

    Clipped values are in the outermost bins of the reference and missing in the quantized distribution, in which the
    values of each step are spread evenly over the step's bins that hold any (Migacz 2017, "8-bit Inference with
    TensorRT").
    """
    middles = (edges[:-1] + edges[1:]) / 2
    first, last = np.searchsorted(middles, start), np.searchsorted(middles, stop, side="right")
    last = max(last, first + 1)
    inside = counts[first:last]
    reference = inside.copy()
    reference[0] += counts[:first].sum()
    reference[-1] += counts[last:].sum()
    levels = np.rint(middles[first:last] / step).astype(np.int64)
    levels -= levels[0]
    totals = np.bincount(levels, weights=inside)
    holders = np.bincount(levels, weights=(inside > 0).astype(np.float64))
    spread = np.where(inside > 0, (totals / np.maximum(holders, 1.0))[levels], 0.0)
    if not spread.any():
        return float("inf")
    used = reference > 0
    wanted = reference[used] / reference.sum()
    got = np.maximum(spread[used] / spread.sum(), _LEAST_PROBABILITY)
    return float(np.sum(wanted * np.log(wanted / got)))


@dataclass(frozen=True)
class _Ends:
    """The two functions of a range method.

    Attributes:
        symmetric: From the distribution of magnitudes, not all of which are zero, to the end of the range; 0 where the
            method finds none.
        asymmetric: From the distribution of values and the slope of negative ones to the magnitudes of the lower and
            upper end; 0 and 0 where the method finds none.
    """

    symmetric: Callable[[Distribution], float]
    asymmetric: Callable[[Distribution, float], tuple[float, float]]


_METHODS: Mapping[RangeMethod, _Ends] = {
    "mse": _Ends(_mse_end, _mse_ends),
    "min-max": _Ends(_min_max_end, _min_max_ends),
    "percentile": _Ends(_percentile_end, _percentile_ends),
    "entropy": _Ends(_entropy_end, _entropy_ends),
}
