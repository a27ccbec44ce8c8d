"""Second-order sections of an equalizer.

R. Bristow-Johnson, Cookbook formulae for audio equalizer biquad filter coefficients (W3C Audio EQ Cookbook, 2021).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["high_shelf", "low_shelf", "peak"]

_SLOPE = 1.0  # the steepest shelf whose gain stays monotonic

Section = NDArray[np.float64]


def peak(frequency_hz: float, gain_db: float, q: float, sample_rate: int) -> Section:
    """`peakingEQ`: `gain_db` at the center frequency, 0 dB far from it.

    Args:
        frequency_hz: Center frequency in Hz, below half the sample rate.
        gain_db: Gain in dB at the center frequency.
        q: Quality: center frequency over bandwidth.
        sample_rate: Sample rate of the signal in Hz.

    Returns:
        One section, float64 [6]: b0, b1, b2, a0 = 1, a1, a2, the layout of scipy.signal.sosfilt.
    """
    amplitude, cosine, sine = _parts(frequency_hz, gain_db, sample_rate)
    alpha = sine / (2.0 * q)
    return _section(
        (1.0 + alpha * amplitude, -2.0 * cosine, 1.0 - alpha * amplitude),
        (1.0 + alpha / amplitude, -2.0 * cosine, 1.0 - alpha / amplitude),
    )


def low_shelf(frequency_hz: float, gain_db: float, sample_rate: int) -> Section:
    """`lowShelf` with S = 1: `gain_db` below the corner frequency, half of it there, 0 dB above.

    Args:
        frequency_hz: Corner frequency in Hz, below half the sample rate.
        gain_db: Gain in dB far below the corner.
        sample_rate: Sample rate of the signal in Hz.

    Returns:
        One section, float64 [6], in the layout of `peak`.
    """
    return _shelf(frequency_hz, gain_db, sample_rate, sign=1.0)


def high_shelf(frequency_hz: float, gain_db: float, sample_rate: int) -> Section:
    """`highShelf` with S = 1: `gain_db` above the corner frequency, half of it there, 0 dB below.

    Args:
        frequency_hz: Corner frequency in Hz, below half the sample rate.
        gain_db: Gain in dB far above the corner.
        sample_rate: Sample rate of the signal in Hz.

    Returns:
        One section, float64 [6], in the layout of `peak`.
    """
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
