"""Second-order sections of an equalizer.

R. Bristow-Johnson, Cookbook formulae for audio equalizer biquad filter coefficients (W3C Audio EQ Cookbook, 2021).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["high_shelf", "low_shelf", "peak"]

_SLOPE = 1.0  # of shelves: as steep as can be without a bump

Section = NDArray[np.float64]


def peak(frequency_hz: float, gain_db: float, q: float, sample_rate: int) -> Section:
    """`peakingEQ`: `gain_db` at the frequency, 0 dB far from it.

    Args:
        frequency_hz: Of the middle.
        gain_db: There.
        q: Quality: frequency over bandwidth.
        sample_rate: In Hz.

    Returns:
        Float64 [6]: b0, b1, b2, a0 = 1, a1, a2, as scipy.signal.sosfilt takes them.
    """
    amplitude, cosine, sine = _parts(frequency_hz, gain_db, sample_rate)
    alpha = sine / (2.0 * q)
    return _section(
        (1.0 + alpha * amplitude, -2.0 * cosine, 1.0 - alpha * amplitude),
        (1.0 + alpha / amplitude, -2.0 * cosine, 1.0 - alpha / amplitude),
    )


def low_shelf(frequency_hz: float, gain_db: float, sample_rate: int) -> Section:
    """`lowShelf` with S = 1: `gain_db` below the frequency, half of it there, 0 dB above. See `peak`."""
    return _shelf(frequency_hz, gain_db, sample_rate, sign=1.0)


def high_shelf(frequency_hz: float, gain_db: float, sample_rate: int) -> Section:
    """`highShelf` with S = 1: `gain_db` above the frequency, half of it there, 0 dB below. See `peak`."""
    return _shelf(frequency_hz, gain_db, sample_rate, sign=-1.0)


def _shelf(frequency_hz: float, gain_db: float, sample_rate: int, *, sign: float) -> Section:
    # The two shelves differ in the sign of every cosine, and of the middle coefficients.
    a, cosine, sine = _parts(frequency_hz, gain_db, sample_rate)
    alpha = sine / 2.0 * math.sqrt((a + 1.0 / a) * (1.0 / _SLOPE - 1.0) + 2.0)
    root = 2.0 * math.sqrt(a) * alpha
    c = sign * cosine
    return _section(
        (
            a * ((a + 1.0) - (a - 1.0) * c + root),
            sign * 2.0 * a * ((a - 1.0) - (a + 1.0) * c),
            a * ((a + 1.0) - (a - 1.0) * c - root),
        ),
        (
            (a + 1.0) + (a - 1.0) * c + root,
            sign * -2.0 * ((a - 1.0) + (a + 1.0) * c),
            (a + 1.0) + (a - 1.0) * c - root,
        ),
    )


def _parts(frequency_hz: float, gain_db: float, sample_rate: int) -> tuple[float, float, float]:
    omega = 2.0 * math.pi * frequency_hz / sample_rate
    return 10.0 ** (gain_db / 40.0), math.cos(omega), math.sin(omega)


def _section(b: tuple[float, float, float], a: tuple[float, float, float]) -> Section:
    return np.array([*b, *a]) / a[0]
