"""What a chain does to a tone: harmonics, distortion, noise floor, dynamic range."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.analysis.levels import level_db
from voirs_vocoder.runtime.errors import InputError

__all__ = ["Harmonics", "dynamic_range_db", "harmonics", "thd_n_percent"]

_LOWEST_HZ = 20.0
_LEAST_SAMPLES = 4096
# The skirts of such a line are 200 dB below it, the line itself reaches 9 bins to each side.
_KAISER_BETA = 28.0
_LINE_BINS = 10
_HARMONICS = 10
_TEST_LEVEL_DB = 60.0


@dataclass(frozen=True)
class Harmonics:
    """A tone and what is not it.

    Attributes:
        frequency_hz: Of the tone, to a bin.
        level_db: Of the tone, a full-scale sine being 0.
        harmonics_db: Of its harmonics from the second on, relative to it.
        noise_floor_db: All that is neither tone nor harmonic, relative to a full-scale sine.
        thd_n_percent: Root of the power of all that is not the tone over that of the tone, times 100.
    """

    frequency_hz: float
    level_db: float
    harmonics_db: tuple[float, ...]
    noise_floor_db: float
    thd_n_percent: float


def harmonics(samples: NDArray[np.float32], sample_rate: int) -> Harmonics:
    """Take a tone apart.

    The strongest line of a spectrum under a Kaiser window is the tone. THD+N as in AES17-2020, section 6.3,
    from 20 Hz to half the rate.

    Args:
        samples: Float32 [samples], a steady tone.
        sample_rate: In Hz.

    Raises:
        InputError: There are under 4096 samples, or silence.
    """
    if samples.ndim != 1 or samples.size < _LEAST_SAMPLES:
        raise InputError(
            f"a tone is measured on at least {_LEAST_SAMPLES} samples, got shape {samples.shape}"
        )
    power = _spectrum(samples.astype(np.float64))
    bin_hz = sample_rate / samples.size
    power[: max(1, round(_LOWEST_HZ / bin_hz))] = 0.0
    if not power.any():
        raise InputError("a tone is measured on sound, got silence")
    place = int(np.argmax(power))
    rest = power.copy()
    tone = _take(rest, place)
    not_tone = float(rest.sum())
    lines = [_take(rest, k * place) for k in range(2, _HARMONICS + 1) if k * place + _LINE_BINS < rest.size]
    return Harmonics(
        frequency_hz=place * bin_hz,
        level_db=level_db(tone**0.5),
        harmonics_db=tuple(level_db((line / tone) ** 0.5) for line in lines),
        noise_floor_db=level_db(float(rest.sum()) ** 0.5),
        thd_n_percent=100.0 * (not_tone / tone) ** 0.5,
    )


def thd_n_percent(samples: NDArray[np.float32], sample_rate: int) -> float:
    """Total harmonic distortion and noise of a tone. See `harmonics`."""
    return harmonics(samples, sample_rate).thd_n_percent


def dynamic_range_db(samples: NDArray[np.float32], sample_rate: int) -> float:
    """Dynamic range by AES17-2020, section 6.4: of a tone at -60 dB, the level of what is not it, plus 60 dB.

    Args:
        samples: Float32 [samples], a tone 60 dB below full scale that went through what is measured.
        sample_rate: In Hz.

    Raises:
        InputError: As `harmonics`, or the tone is not at -60 dB within 1 dB.
    """
    found = harmonics(samples, sample_rate)
    if abs(found.level_db + _TEST_LEVEL_DB) > 1.0:
        raise InputError(
            f"dynamic range is measured with a tone at -60 dB, got {found.level_db:.1f} dB; change its level"
        )
    return -level_db(found.thd_n_percent / 100.0) - found.level_db


def _spectrum(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Power by bin, such that a line of a full-scale sine sums up to 1."""
    window = np.kaiser(samples.size, _KAISER_BETA)
    power = np.abs(np.fft.rfft(samples * window)) ** 2
    # By Parseval a sine of amplitude 1 puts sum(window^2) / 4 times the length into one side.
    scaled: NDArray[np.float64] = power * 4.0 / (samples.size * np.sum(window**2))
    return scaled


def _take(power: NDArray[np.float64], place: int) -> float:
    """The power of a line, which is then gone."""
    low, high = max(0, place - _LINE_BINS), place + _LINE_BINS + 1
    taken = float(power[low:high].sum())
    power[low:high] = 0.0
    return taken
