"""Spectral measures of a signal: zero crossings, centroid, Bark bands, masking threshold."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.dsp import centered_power
from voirs_vocoder.runtime.errors import InputError

__all__ = [
    "BARK_BANDS",
    "bark_band_db",
    "bark_of_hz",
    "masking_threshold_db",
    "spectral_centroid_hz",
    "zero_crossings_per_s",
]

BARK_BANDS = 24
_N_FFT = 2048
_HOP_LENGTH = 512
_FLOOR = 1e-12


def zero_crossings_per_s(samples: NDArray[np.float32], sample_rate: int) -> float:
    """Changes of sign of [samples] per second; a zero counts as positive. Twice the frequency of a pure tone."""
    if samples.size < 2:
        return 0.0
    signs = samples >= 0
    return float(np.count_nonzero(signs[1:] != signs[:-1]) * sample_rate / (samples.size - 1))


def spectral_centroid_hz(samples: NDArray[np.float32], sample_rate: int) -> float:
    """Center of gravity of the spectrum: sum f |X(f)| / sum |X(f)|, over frames weighted by their magnitude.

    G. Peeters, A large set of audio features for sound description, CUIDADO, 2004, section 6.1.1.

    Args:
        samples: Float32 [samples], more than 1024.
        sample_rate: Sample rate of the signal in Hz.

    Returns:
        Frequency in Hz; 0 for silence.

    Raises:
        InputError: The signal has at most 1024 samples.
    """
    magnitude = np.sqrt(_power(samples)).sum(axis=0)
    total = float(magnitude.sum())
    frequencies = np.fft.rfftfreq(_N_FFT, 1.0 / sample_rate)
    return float(np.dot(frequencies, magnitude) / total) if total > 0 else 0.0


def bark_of_hz(frequency_hz: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Critical-band rate in Bark of a frequency f in Hz: 26.81 f / (1960 + f) - 0.53.

    H. Traunmüller, Analytical expressions for the tonotopic sensory scale, JASA 88(1), 1990, equation 6, without its
    corrections at the ends.
    """
    return 26.81 * frequency_hz / (1960.0 + frequency_hz) - 0.53


def bark_band_db(samples: NDArray[np.float32], sample_rate: int) -> NDArray[np.float64]:
    """Mean power in each critical band, in dB, a full-scale sine being about 0.

    Args:
        samples: Float32 [samples], more than 1024.
        sample_rate: Sample rate of the signal in Hz.

    Returns:
        Float64 [24]: bands of 1 Bark from 0 to 24; -120 for silence.

    Raises:
        InputError: The signal has at most 1024 samples.
    """
    return 10.0 * np.log10(np.maximum(_bark_power(samples, sample_rate), _FLOOR))


def masking_threshold_db(samples: NDArray[np.float32], sample_rate: int) -> NDArray[np.float64]:
    """Masking threshold: level in dB below which noise in a critical band is inaudible beside the signal.

    J. Johnston, Transform coding of audio signals using perceptual noise criteria, IEEE JSAC 6(2), 1988: band powers
    spread by M. Schroeder's function, less an offset of t (14.5 + b) + (1 - t) 5.5 dB in band b, where the tonality t
    is the spectral flatness in dB over -60, in [0, 1]; the spreading is normalized by its own sum.

    Args:
        samples: Float32 [samples], more than 1024.
        sample_rate: Sample rate of the signal in Hz.

    Returns:
        Float64 [24]: the threshold in each band, in dB on the scale of `bark_band_db`.

    Raises:
        InputError: The signal has at most 1024 samples.
    """
    band = np.arange(BARK_BANDS)
    distance = band[:, np.newaxis] - band[np.newaxis, :] + 0.474
    spreading = 10.0 ** ((15.81 + 7.5 * distance - 17.5 * np.sqrt(1.0 + distance**2)) / 10.0)
    spreading /= spreading.sum(axis=1, keepdims=True)
    power = np.maximum(_power(samples), _FLOOR)
    flatness_db = 10.0 * np.mean(np.mean(np.log10(power), axis=1) - np.log10(np.mean(power, axis=1)))
    tonality = min(1.0, max(0.0, float(flatness_db) / -60.0))
    offset_db = tonality * (14.5 + band + 1) + (1.0 - tonality) * 5.5
    spread = spreading @ _bark_power(samples, sample_rate)
    threshold: NDArray[np.float64] = 10.0 * np.log10(np.maximum(spread, _FLOOR)) - offset_db
    return threshold


def _bark_power(samples: NDArray[np.float32], sample_rate: int) -> NDArray[np.float64]:
    mean = _power(samples).mean(axis=0)
    # Under a Hann window the power of a full-scale sine sums up to 3/2 (n_fft / 4)^2 over its bins.
    mean /= 1.5 * (_N_FFT / 4.0) ** 2
    bands = np.clip(np.floor(bark_of_hz(np.fft.rfftfreq(_N_FFT, 1.0 / sample_rate))), 0, BARK_BANDS - 1)
    summed: NDArray[np.float64] = np.bincount(bands.astype(int), mean, BARK_BANDS).astype(np.float64)
    return summed


def _power(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """Power spectra of the frames of a signal: float64 [frames, bins]."""
    if samples.ndim != 1 or samples.size <= _N_FFT // 2:
        raise InputError(
            f"a spectrum needs more than {_N_FFT // 2} samples, got shape {samples.shape}; give a longer signal"
        )
    return np.concatenate(list(centered_power(samples, _N_FFT, _N_FFT, _HOP_LENGTH)))
