"""Scales and zero points for activations: the ones with the least expected error.

Values are counted in bins that follow the float32 format, so one pass suffices and no range need be known before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import onnx
from numpy.typing import NDArray

from voirs_vocoder.calibration.runs import Feed, observe

__all__ = [
    "ChannelHistogram",
    "ChannelScales",
    "FloatHistogram",
    "Histogram",
    "TensorScale",
    "asymmetric_scale",
    "channel_scales",
    "float_histograms",
    "symmetric_scale",
]

# The upper half of a float32: sign, exponent and 7 bits of mantissa, or 128 bins per octave.
_BIN_BITS = 16
_BINS = 1 << (32 - _BIN_BITS)
# For a channel: the exponent and 4 bits of mantissa, or 16 bins per octave.
_CHANNEL_BIN_BITS = 19
_CHANNEL_BINS = 255 << (23 - _CHANNEL_BIN_BITS)  # those of finite values
# Candidates for each end of the range: the extreme value and fractions of it down to 1/16, 8 per octave.
_FRACTIONS = 2.0 ** (-np.arange(33) / 8)
# A clipped value counts for more than its square: clipping comes in bursts that are audible, and later speech is louder
# in places than the calibration recordings. On HiFi-GAN V2, 4 gave the best mean SNR, 16 the best worst recording.
_CLIPPING_WEIGHT = 4.0


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


class Histogram(Protocol):
    """Counts the values of a tensor, run by run."""

    def add(self, values: NDArray[np.float32]) -> None:
        """Count finite values of one run."""
        ...


class FloatHistogram:
    """Counts how often each value occurs, to 1 part in 256.

    Attributes:
        counts: Number of values per bin, int64 [65536]; the bin is the upper 16 bits of the float32.
    """

    def __init__(self) -> None:
        self.counts: NDArray[np.int64] = np.zeros(_BINS, np.int64)

    def add(self, values: NDArray[np.float32]) -> None:
        """Count finite values of any shape."""
        bits = np.ascontiguousarray(values, np.float32).reshape(-1).view(np.uint32) >> _BIN_BITS
        self.counts += np.bincount(bits, minlength=_BINS)

    def sorted(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The values that occurred, ascending, at the middle of their bins; and the number of each."""
        used = np.flatnonzero(self.counts)
        bits = (used.astype(np.uint32) << _BIN_BITS) | np.uint32(1 << (_BIN_BITS - 1))
        values = bits.view(np.float32).astype(np.float64)
        order = np.argsort(values)
        return values[order], self.counts[used][order].astype(np.float64)


class ChannelHistogram:
    """Counts how often each magnitude occurs in each channel, to 1 part in 32: many channels must fit in memory.

    Attributes:
        counts: Number of values per channel and bin, int64 [channels, 4080]; the bin is the upper 12 bits below the
            sign of the float32. There are no rows before the first values.
    """

    def __init__(self) -> None:
        self.counts: NDArray[np.int64] = np.zeros((0, _CHANNEL_BINS), np.int64)

    def add(self, values: NDArray[np.float32]) -> None:
        """Count finite values of one run, [batch, channels, ...]."""
        channels = values.shape[1]
        if not len(self.counts):
            self.counts = np.zeros((channels, _CHANNEL_BINS), np.int64)
        bits = np.abs(np.ascontiguousarray(values, np.float32)).view(np.uint32) >> _CHANNEL_BIN_BITS
        offsets = (np.arange(channels) * _CHANNEL_BINS).reshape(1, -1, *[1] * (values.ndim - 2))
        counts = np.bincount((bits + offsets).reshape(-1), minlength=self.counts.size)
        self.counts += counts.reshape(self.counts.shape)


def float_histograms(
    model: onnx.ModelProto, histograms: Sequence[tuple[str, Histogram]], feeds: Sequence[Feed]
) -> None:
    """Fill histograms over all feeds.

    Args:
        model: Graph to run; it is not changed.
        histograms: Pairs of a tensor's name and the histogram that counts it; one tensor may have several.
        feeds: Inputs of the graph, run by run.

    Raises:
        InputError: A feed does not fit the graph.
    """
    for observed in observe(model, list(dict.fromkeys(name for name, _ in histograms)), feeds):
        for name, histogram in histograms:
            histogram.add(observed[name])


def channel_scales(histogram: ChannelHistogram) -> ChannelScales:
    """For each channel the scale that minimizes the expected squared error, computed as in `symmetric_scale`.

    A channel that is always zero takes the largest scale of the others.
    """
    bits = (np.arange(_CHANNEL_BINS, dtype=np.uint32) << _CHANNEL_BIN_BITS) | np.uint32(
        1 << (_CHANNEL_BIN_BITS - 1)
    )
    magnitudes = bits.view(np.float32).astype(np.float64)
    scales = np.zeros(len(histogram.counts))
    for channel, counts in enumerate(histogram.counts):
        used = np.flatnonzero(counts[1:]) + 1
        if used.size:
            scales[channel] = _least_error_scale(magnitudes[used], counts[used].astype(np.float64))
    scales[scales == 0.0] = np.max(scales, initial=0.0) or 1.0
    return ChannelScales(scales.astype(np.float32))


def symmetric_scale(histogram: FloatHistogram) -> TensorScale:
    """The scale for int8 in [-127, 127] with zero point 0 that minimizes the expected squared error.

    Rounding contributes scale²/12 for each value in range (Bennett 1948, uniform quantization noise), clipping the
    square of the part beyond the range.
    """
    values, counts = histogram.sorted()
    magnitudes = np.abs(values)
    order = np.argsort(magnitudes)
    if not np.max(magnitudes, initial=0.0):
        return TensorScale(1.0, 0)
    return TensorScale(float(np.float32(_least_error_scale(magnitudes[order], counts[order]))), 0)


def asymmetric_scale(histogram: FloatHistogram, negative_slope: float = 1.0) -> TensorScale:
    """The scale and zero point for uint8 that minimize the expected squared error; zero is represented exactly.

    Args:
        histogram: Values of the tensor.
        negative_slope: Slope below zero of the LeakyRelu that alone reads the tensor, by which errors of negative
            values shrink; 1 where there is no such LeakyRelu.
    """
    values, counts = histogram.sorted()
    low, high = max(0.0, -float(values.min(initial=0.0))), max(0.0, float(values.max(initial=0.0)))
    if low == high == 0.0:
        return TensorScale(1.0, 0)
    weights = np.where(values < 0, negative_slope**2, 1.0) * counts
    below, above = low * _FRACTIONS, high * _FRACTIONS
    errors = (
        _clipping_errors(-values[::-1], weights[::-1], below)[:, np.newaxis]
        + _clipping_errors(values, weights, above)[np.newaxis, :]
        + ((below[:, np.newaxis] + above[np.newaxis, :]) / 255) ** 2 / 12 * weights.sum()
    )
    first, second = np.unravel_index(np.argmin(errors), errors.shape)
    scale = np.float32((below[first] + above[second]) / 255)
    return TensorScale(float(scale), round(float(below[first] / scale)))


def _least_error_scale(magnitudes: NDArray[np.float64], counts: NDArray[np.float64]) -> float:
    """The scale of 127 steps on each side for these magnitudes, ascending and not all zero."""
    ends = magnitudes[-1] * _FRACTIONS
    errors = _clipping_errors(magnitudes, counts, ends) + (ends / 127) ** 2 / 12 * counts.sum()
    return float(ends[np.argmin(errors)] / 127)


def _clipping_errors(
    values: NDArray[np.float64], weights: NDArray[np.float64], ends: NDArray[np.float64]
) -> NDArray[np.float64]:
    """For each end of the range, the cost of clipping ascending values above it."""
    moments = np.stack([weights, weights * values, weights * values**2])
    suffix = np.concatenate([np.cumsum(moments[:, ::-1], axis=1)[:, ::-1], np.zeros((3, 1))], axis=1)
    zeroth, first, second = suffix[:, np.searchsorted(values, ends, side="right")]
    squares: NDArray[np.float64] = np.maximum(second - 2 * ends * first + ends**2 * zeroth, 0.0)
    return squares * _CLIPPING_WEIGHT
