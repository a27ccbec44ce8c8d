"""Fundamental frequency, and how far two of them are apart."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.metrics.pair import MetricUndefinedError, check_pair

__all__ = ["f0_hz", "pitch_error_cents", "voicing_f1"]

_LOWEST_HZ = 60.0
_HIGHEST_HZ = 500.0
_HOP_S = 0.01
_THRESHOLD = 0.15
_MOST_APERIODIC = 0.3
_SILENCE_RMS = 1e-3
_BLOCK_FRAMES = 512
_LEAST_FRAMES = 5
_CENTS_PER_OCTAVE = 1200.0


def f0_hz(samples: NDArray[np.floating[Any]], sample_rate: int) -> NDArray[np.float64]:
    """Fundamental frequency every 10 ms, by YIN.

    A. de Cheveigné and H. Kawahara, YIN, a fundamental frequency estimator for speech and music, JASA 111(4), 2002,
    steps 1 to 5: difference function (equation 6) over a window of the longest period, its cumulative mean normalized
    form (equation 8), the first dip below 0.15 or else the lowest point, a parabola through it. A frame is voiced where
    that point is below 0.3: at most so much of the power is not periodic.

    Args:
        samples: Float32 or float64 [samples].
        sample_rate: Sample rate in Hz.

    Returns:
        [frames], in Hz, from 60 to 500; NaN where there is no period, or the RMS is below -60 dBFS.
    """
    longest = math.ceil(sample_rate / _LOWEST_HZ)
    shortest = max(2, int(sample_rate / _HIGHEST_HZ))
    hop = max(1, round(sample_rate * _HOP_S))
    span = 2 * longest + 1
    if len(samples) < span:
        return np.empty(0)
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), span)[::hop]
    found = [
        _periods(frames[start : start + _BLOCK_FRAMES], shortest, longest)
        for start in range(0, len(frames), _BLOCK_FRAMES)
    ]
    return sample_rate / np.concatenate(found)


def pitch_error_cents(
    reference: NDArray[np.floating[Any]], degraded: NDArray[np.floating[Any]], sample_rate: int
) -> float:
    """Root mean square of 1200 log2(f'/f) over the frames in which both signals have a period.

    Args:
        reference: Float32 or float64 [samples].
        degraded: Float32 or float64 [samples], as long as `reference`.
        sample_rate: Sample rate of both signals, in Hz.

    Raises:
        InputError: The signals break a rule of `check_pair`.
        MetricUndefinedError: There are under 5 such frames.
    """
    clean, other = (f0_hz(signal, sample_rate) for signal in check_pair(reference, degraded))
    both = np.isfinite(clean) & np.isfinite(other)
    if np.count_nonzero(both) < _LEAST_FRAMES:
        raise MetricUndefinedError("the pitch error needs voiced speech in both signals; measure speech")
    cents = _CENTS_PER_OCTAVE * np.log2(other[both] / clean[both])
    return float(np.sqrt(np.mean(cents**2)))


def voicing_f1(
    reference: NDArray[np.floating[Any]], degraded: NDArray[np.floating[Any]], sample_rate: int
) -> float:
    """F1 score of the decision voiced or not, the reference's being right: 2 TP / (2 TP + FP + FN).

    Args:
        reference: Float32 or float64 [samples].
        degraded: Float32 or float64 [samples], as long as `reference`.
        sample_rate: Sample rate of both signals, in Hz.

    Raises:
        InputError: The signals break a rule of `check_pair`.
        MetricUndefinedError: The reference has no voiced frame.
    """
    clean, other = (np.isfinite(f0_hz(signal, sample_rate)) for signal in check_pair(reference, degraded))
    if not clean.any():
        raise MetricUndefinedError("voicing needs voiced speech in the reference; measure speech")
    right = np.count_nonzero(clean & other)
    return float(2 * right / (2 * right + np.count_nonzero(clean ^ other)))


def _periods(frames: NDArray[np.float64], shortest: int, longest: int) -> NDArray[np.float64]:
    """Periods in samples, NaN for none: [frames, 2 longest + 1] -> [frames]."""
    normalized = _normalized_difference(frames, longest)
    candidates = normalized[:, shortest : longest + 1]
    below = candidates < _THRESHOLD
    first = np.where(below.any(axis=1), np.argmax(below, axis=1), np.argmin(candidates, axis=1))
    # From the first value below the threshold on, down to the bottom of that dip.
    rising = np.diff(candidates, axis=1, append=np.inf) >= 0
    rising &= np.arange(candidates.shape[1]) >= first[:, np.newaxis]
    bottom = np.argmax(rising, axis=1) + shortest
    rms = np.sqrt(np.mean(frames**2, axis=1))
    aperiodic = normalized[np.arange(len(frames)), bottom]
    voiced = (aperiodic < _MOST_APERIODIC) & (rms >= _SILENCE_RMS)
    return np.where(voiced, bottom + _parabola(normalized, bottom), np.nan)


def _normalized_difference(frames: NDArray[np.float64], longest: int) -> NDArray[np.float64]:
    """Equations 6 and 8 for lags 0 to `longest` + 1: [frames, longest + 2]."""
    window = longest
    size = 1 << (frames.shape[1] + window).bit_length()
    spectrum = np.fft.rfft(frames, size)
    start = np.fft.rfft(frames[:, :window], size)
    products = np.fft.irfft(spectrum * np.conj(start), size)[:, : longest + 2]
    energies = np.cumsum(np.pad(frames**2, ((0, 0), (1, 0))), axis=1)
    lags = np.arange(longest + 2)
    energy = energies[:, lags + window] - energies[:, lags]
    difference = np.maximum(energy[:, :1] + energy - 2.0 * products, 0.0)
    sums = np.cumsum(difference[:, 1:], axis=1)
    normalized = np.ones_like(difference)
    np.divide(difference[:, 1:] * lags[1:], sums, out=normalized[:, 1:], where=sums > 0)
    return normalized


def _parabola(values: NDArray[np.float64], places: NDArray[np.int64]) -> NDArray[np.float64]:
    """How far the bottom of a parabola through three neighbors is from the middle one, in [-0.5, 0.5]."""
    rows = np.arange(len(values))
    left, middle, right = (values[rows, places + offset] for offset in (-1, 0, 1))
    curvature = left - 2.0 * middle + right
    shift = np.zeros(len(values))
    np.divide(left - right, 2.0 * curvature, out=shift, where=curvature > 0)
    return np.clip(shift, -0.5, 0.5)
