"""Measures of a tone after processing: harmonics, distortion, noise floor, dynamic range."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.analysis.levels import level_db
from voirs_vocoder.runtime.errors import InputError

__all__ = ["Harmonics", "dynamic_range_db", "harmonics", "thd_n_percent"]

_LOWEST_HZ = 20.0
_LEAST_SAMPLES = 4096
# With this window the side lobes are 200 dB below a line, whose main lobe is 9 bins wide on each side.
_KAISER_BETA = 28.0
_LINE_BINS = 10
_HARMONICS = 10
_TEST_LEVEL_DB = 60.0


@dataclass(frozen=True)
class Harmonics:
    """Measures of a tone, its harmonics and the remaining noise.

    Attributes:
        frequency_hz: Frequency of the tone in Hz, to the resolution of a bin.
        level_db: Level of the tone in dB relative to a full-scale sine.
        harmonics_db: Levels of the harmonics from the second to the tenth, in dB relative to the tone.
        noise_floor_db: Level of everything but the tone and its harmonics, in dB relative to a full-scale sine.
        thd_n_percent: Amplitude of everything but the tone over that of the tone, in percent.
    """

    frequency_hz: float
    level_db: float
    harmonics_db: tuple[float, ...]
    noise_floor_db: float
    thd_n_percent: float


def harmonics(samples: NDArray[np.float32], sample_rate: int) -> Harmonics:
    """Separate a tone from its harmonics and from noise.

    The tone is the strongest line of the spectrum, which is computed with a Kaiser window. THD+N follows AES17-2020,
    section 6.3, from 20 Hz to half the sample rate.

    Args:
        samples: A steady tone, float32 [samples], at least 4096.
        sample_rate: Sample rate of the signal in Hz.

    Raises:
        InputError: The signal has less than 4096 samples, or is silent.
    """
    if samples.ndim != 1 or samples.size < _LEAST_SAMPLES:
        raise InputError(
            f"a tone needs at least {_LEAST_SAMPLES} samples, got shape {samples.shape}; give a longer signal"
        )
    power = _spectrum(samples.astype(np.float64))
    bin_hz = sample_rate / samples.size
    power[: max(1, round(_LOWEST_HZ / bin_hz))] = 0.0
    if not power.any():
        raise InputError("a tone cannot be measured in silence; give a signal with a tone")
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
    """Total harmonic distortion and noise of a steady tone, in percent of its amplitude.

    Args:
        samples: A steady tone, float32 [samples], at least 4096.
        sample_rate: Sample rate of the signal in Hz.

    Raises:
        InputError: The signal has less than 4096 samples, or is silent.
    """
    return harmonics(samples, sample_rate).thd_n_percent


def dynamic_range_db(samples: NDArray[np.float32], sample_rate: int) -> float:
    """Dynamic range in dB by AES17-2020, section 6.4: full scale over the noise beside a tone at -60 dB.

    Args:
        samples: Output of the system under test for a tone 60 dB below full scale, float32 [samples], at least 4096.
        sample_rate: Sample rate of the signal in Hz.

    Raises:
        InputError: The signal has less than 4096 samples, is silent, or its level is not -60 dB within 1 dB.
    """
    found = harmonics(samples, sample_rate)
    if abs(found.level_db + _TEST_LEVEL_DB) > 1.0:
        raise InputError(
            f"dynamic range is measured with a tone at -60 dB, got {found.level_db:.1f} dB; change its level"
        )
    return -level_db(found.thd_n_percent / 100.0) - found.level_db


def _spectrum(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Power in each bin, scaled so that the bins of a full-scale sine sum up to 1."""
    window = np.kaiser(samples.size, _KAISER_BETA)
    power = np.abs(np.fft.rfft(samples * window)) ** 2
    # By Parseval, the bins of a sine of amplitude 1 sum up to sum(window^2) / 4 times the length.
    scaled: NDArray[np.float64] = power * 4.0 / (samples.size * np.sum(window**2))
    return scaled


def _take(power: NDArray[np.float64], place: int) -> float:
    """Sum the power of a line and set its bins to 0."""
    low, high = max(0, place - _LINE_BINS), place + _LINE_BINS + 1
    taken = float(power[low:high].sum())
    power[low:high] = 0.0
    return taken
