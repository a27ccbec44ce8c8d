"""Metrics that compare samples: the measure of parity between two runs of one deterministic model."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.metrics.pair import MetricUndefinedError, check_pair

__all__ = ["max_abs_error", "si_sdr_db", "snr_db"]


def snr_db(reference: NDArray[np.floating[Any]], degraded: NDArray[np.floating[Any]]) -> float:
    """Signal-to-noise ratio: 10 log10(sum reference² / sum (reference - degraded)²), in dB.

    Args:
        reference: Float32 or float64 [samples].
        degraded: Float32 or float64 [samples], as long as `reference`.

    Returns:
        Infinity for equal signals, also for two silent ones; minus infinity when only the reference is silent.

    Raises:
        InputError: The signals break a rule of `check_pair`.
    """
    clean, other = check_pair(reference, degraded)
    noise_energy = float(np.sum((clean - other) ** 2))
    if noise_energy == 0.0:
        return float("inf")
    with np.errstate(divide="ignore"):
        return float(10.0 * np.log10(np.sum(clean**2) / noise_energy))


def si_sdr_db(reference: NDArray[np.floating[Any]], degraded: NDArray[np.floating[Any]]) -> float:
    """Scale-invariant signal-to-distortion ratio, in dB: 10 log10(|a r|² / |a r - d|²), a = <d, r> / |r|².

    J. Le Roux et al., SDR - half-baked or well done?, ICASSP 2019, equation 5. No mean is taken off.

    Args:
        reference: Float32 or float64 [samples].
        degraded: Float32 or float64 [samples], as long as `reference`.

    Returns:
        Infinity where one is a multiple of the other; minus infinity where they have nothing in common.

    Raises:
        InputError: The signals break a rule of `check_pair`.
        MetricUndefinedError: One of them is silent.
    """
    clean, other = check_pair(reference, degraded)
    if not clean.any() or not other.any():
        raise MetricUndefinedError("SI-SDR is undefined for silence; measure speech")
    target = clean * (np.dot(other, clean) / np.dot(clean, clean))
    with np.errstate(divide="ignore"):
        return float(10.0 * np.log10(np.sum(target**2) / np.sum((target - other) ** 2)))


def max_abs_error(reference: NDArray[np.floating[Any]], degraded: NDArray[np.floating[Any]]) -> float:
    """The largest absolute difference between two samples; 0 for equal signals.

    Raises:
        InputError: The signals break a rule of `check_pair`.
    """
    clean, other = check_pair(reference, degraded)
    return float(np.max(np.abs(clean - other)))
