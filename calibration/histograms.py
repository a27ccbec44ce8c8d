"""Histograms of activations in bounded memory: bins follow the float32 format, so no range need be known before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import onnx
from numpy.typing import NDArray

from voirs_vocoder.calibration.runs import Feed, observe

__all__ = ["ChannelHistogram", "Distribution", "FloatHistogram", "Histogram", "float_histograms"]

# The upper half of a float32: sign, exponent and 7 bits of mantissa, or 128 bins per octave.
_BIN_BITS = 16
_BINS = 1 << (32 - _BIN_BITS)
# For a channel: the exponent and 4 bits of mantissa, or 16 bins per octave.
_CHANNEL_BIN_BITS = 19
_CHANNEL_BINS = 255 << (23 - _CHANNEL_BIN_BITS)  # those of finite values


@dataclass(frozen=True, eq=False)
class Distribution:
    """How often values lie in each of some bins, which ascend and do not overlap.

    Attributes:
        lower: Lower end of each bin, float64 [bins].
        upper: Upper end of each bin, float64 [bins].
        values: Middle of each bin, float64 [bins].
        counts: Number of values in each bin, above 0, float64 [bins].
        low: Least value that was counted, exact; 0 when there was none.
        high: Largest value that was counted, exact; 0 when there was none.
    """

    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    values: NDArray[np.float64]
    counts: NDArray[np.float64]
    low: float
    high: float


class Histogram(Protocol):
    """Counts the values of a tensor, run by run."""

    def add(self, values: NDArray[np.float32]) -> None:
        """Count finite values of one run."""
        ...


class FloatHistogram:
    """Counts how often each value occurs, to 1 part in 256.

    Attributes:
        counts: Number of values per bin, int64 [65536]; the bin is the upper 16 bits of the float32.
        low: Least value, 0 before the first.
        high: Largest value, 0 before the first.
    """

    def __init__(self) -> None:
        self.counts: NDArray[np.int64] = np.zeros(_BINS, np.int64)
        self.low = self.high = 0.0

    def add(self, values: NDArray[np.float32]) -> None:
        """Count finite values of any shape."""
        if not values.size:
            return
        bits = np.ascontiguousarray(values, np.float32).reshape(-1).view(np.uint32) >> _BIN_BITS
        first = not self.counts.any()
        self.counts += np.bincount(bits, minlength=_BINS)
        low, high = float(values.min()), float(values.max())
        self.low, self.high = (low, high) if first else (min(self.low, low), max(self.high, high))

    def distribution(self) -> Distribution:
        """The distribution of the values."""
        lower, upper, values, counts = _magnitude_bins(self.counts[: _BINS // 2], _BIN_BITS)
        negative = _magnitude_bins(self.counts[_BINS // 2 :], _BIN_BITS)
        return Distribution(
            np.concatenate([-negative[1][::-1], lower]),
            np.concatenate([-negative[0][::-1], upper]),
            np.concatenate([-negative[2][::-1], values]),
            np.concatenate([negative[3][::-1], counts]),
            self.low,
            self.high,
        )

    def magnitudes(self) -> Distribution:
        """The distribution of the absolute values."""
        both = self.counts[: _BINS // 2] + self.counts[_BINS // 2 :]
        return Distribution(*_magnitude_bins(both, _BIN_BITS), 0.0, max(-self.low, self.high))


class ChannelHistogram:
    """Counts how often each magnitude occurs in each channel, to 1 part in 32: many channels must fit in memory.

    Attributes:
        counts: Number of values per channel and bin, int64 [channels, 4080]; the bin is the upper 12 bits below the
            sign of the float32. There are no rows before the first values.
        high: Largest magnitude of each channel, float32 [channels].
    """

    def __init__(self) -> None:
        self.counts: NDArray[np.int64] = np.zeros((0, _CHANNEL_BINS), np.int64)
        self.high: NDArray[np.float32] = np.zeros(0, np.float32)

    def add(self, values: NDArray[np.float32]) -> None:
        """Count finite values of one run, [batch, channels, ...]."""
        channels = values.shape[1]
        if not len(self.counts):
            self.counts = np.zeros((channels, _CHANNEL_BINS), np.int64)
            self.high = np.zeros(channels, np.float32)
        magnitudes = np.abs(np.ascontiguousarray(values, np.float32))
        bits = magnitudes.view(np.uint32) >> _CHANNEL_BIN_BITS
        offsets = (np.arange(channels) * _CHANNEL_BINS).reshape(1, -1, *[1] * (values.ndim - 2))
        counts = np.bincount((bits + offsets).reshape(-1), minlength=self.counts.size)
        self.counts += counts.reshape(self.counts.shape)
        others = tuple(axis for axis in range(values.ndim) if axis != 1)
        self.high = np.maximum(self.high, magnitudes.max(axis=others, initial=0.0))

    def magnitudes(self) -> list[Distribution]:
        """The distribution of the absolute values of each channel."""
        return [
            Distribution(*_magnitude_bins(counts, _CHANNEL_BIN_BITS), 0.0, float(high))
            for counts, high in zip(self.counts, self.high, strict=True)
        ]


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


def _magnitude_bins(
    counts: NDArray[np.int64], bin_bits: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Lower ends, upper ends, middles and counts of the bins with any value, ascending."""
    used = np.flatnonzero(counts)
    first = used.astype(np.uint32) << bin_bits
    # The end of the last finite bin would be infinity.
    last = first | np.uint32((1 << bin_bits) - 1)
    middle = first | np.uint32(1 << (bin_bits - 1))
    lower, upper, values = (bits.view(np.float32).astype(np.float64) for bits in (first, last, middle))
    return lower, upper, values, counts[used].astype(np.float64)
