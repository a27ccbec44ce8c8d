"""Metrics that compare spectra."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.dsp import centered_power
from voirs_vocoder.runtime.mel import mel_spectrogram
from voirs_vocoder.runtime.mel.convention import MelConvention
from voirs_vocoder.runtime.metrics.pair import MetricUndefinedError, check_pair

__all__ = ["LEAST_SAMPLES", "lsd", "mel_l1", "multi_resolution_stft"]

_LSD_N_FFT = 2048
_LSD_HOP_LENGTH = 512
LEAST_SAMPLES = _LSD_N_FFT // 2 + 1
"""Fewest samples that every metric of spectra takes."""
# Power per bin, an order below that of 16-bit rounding noise (2^-30 / 12 times the window's energy of 768: 6e-8).
_LSD_FLOOR = 1e-8

# FFT size, window length, hop length; then the floor of the power.
_RESOLUTIONS = ((1024, 600, 120), (2048, 1200, 240), (512, 240, 50))
_RESOLUTIONS_FLOOR = 1e-8


def lsd(reference: NDArray[np.floating[Any]], degraded: NDArray[np.floating[Any]]) -> float:
    """Log-spectral distance: mean over frames of sqrt(mean over bins of (log10 |R|² - log10 |D|²)²).

    A. Gray and J. Markel, Distance measures for speech processing, IEEE TASSP 24(5), 1976, with log10 of the power.
    Hann window and FFT of 2048, hop 512, reflected ends, powers floored at 1e-8.

    Args:
        reference: Float32 or float64 [samples], more than 1024.
        degraded: Float32 or float64 [samples], as long as `reference`.

    Returns:
        0 for equal signals; 1 is 10 dB.

    Raises:
        InputError: The signals break a rule of `check_pair`.
    """
    clean, other = check_pair(reference, degraded, LEAST_SAMPLES)
    layout = (_LSD_N_FFT, _LSD_N_FFT, _LSD_HOP_LENGTH)
    distances = [
        np.sqrt(np.mean((_log10_floored(a) - _log10_floored(b)) ** 2, axis=1))
        for a, b in zip(centered_power(clean, *layout), centered_power(other, *layout), strict=True)
    ]
    return float(np.mean(np.concatenate(distances)))


def multi_resolution_stft(reference: NDArray[np.floating[Any]], degraded: NDArray[np.floating[Any]]) -> float:
    """Multi-resolution STFT distance: spectral convergence plus mean |ln |R| - ln |D||, mean of three resolutions.

    R. Yamamoto et al., Parallel WaveGAN, arXiv 1910.11480, equations 3 to 6, with the default sizes of
    `auraloss.freq.MultiResolutionSTFTLoss` 0.4.0 (FFT 1024, 2048, 512; hop 120, 240, 50; Hann window 600, 1200, 240;
    power floored at 1e-8).

    Args:
        reference: Float32 or float64 [samples], more than 1024.
        degraded: Float32 or float64 [samples], as long as `reference`.

    Returns:
        0 for equal signals.

    Raises:
        InputError: The signals break a rule of `check_pair`.
        MetricUndefinedError: The reference is silent, which spectral convergence divides by.
    """
    largest = max(n_fft for n_fft, _, _ in _RESOLUTIONS)
    clean, other = check_pair(reference, degraded, largest // 2 + 1)
    if not clean.any():
        raise MetricUndefinedError("the STFT distance is undefined for a silent reference; measure speech")
    return float(np.mean([_stft_distance(clean, other, *layout) for layout in _RESOLUTIONS]))


def mel_l1(
    reference: NDArray[np.floating[Any]],
    degraded: NDArray[np.floating[Any]],
    sample_rate: int,
    convention: MelConvention,
) -> float:
    """Mean absolute difference of the mels, in the units of the convention (nepers for natural logarithms).

    J. Kong et al., HiFi-GAN, arXiv 2010.05646, equation 4, taken as a mean.

    Args:
        reference: Float32 or float64 [samples].
        degraded: Float32 or float64 [samples], as long as `reference`.
        sample_rate: Sample rate of both signals, in Hz.
        convention: Mel convention of the spectrograms that are compared.

    Raises:
        InputError: The signals break a rule of `check_pair`, or do not suit `mel_spectrogram`.
    """
    clean, other = (
        mel_spectrogram(signal.astype(np.float32), sample_rate, convention).values
        for signal in check_pair(reference, degraded)
    )
    return float(np.mean(np.abs(clean - other), dtype=np.float64))


def _log10_floored(power: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log10(np.maximum(power, _LSD_FLOOR))


def _stft_distance(
    clean: NDArray[np.float64], other: NDArray[np.float64], n_fft: int, win_length: int, hop_length: int
) -> float:
    difference_energy = clean_energy = log_difference = count = 0.0
    layout = (n_fft, win_length, hop_length)
    for a, b in zip(centered_power(clean, *layout), centered_power(other, *layout), strict=True):
        clean_magnitude = np.sqrt(np.maximum(a, _RESOLUTIONS_FLOOR))
        other_magnitude = np.sqrt(np.maximum(b, _RESOLUTIONS_FLOOR))
        difference_energy += float(np.sum((clean_magnitude - other_magnitude) ** 2))
        clean_energy += float(np.sum(clean_magnitude**2))
        log_difference += float(np.sum(np.abs(np.log(clean_magnitude) - np.log(other_magnitude))))
        count += a.size
    return float(np.sqrt(difference_energy / clean_energy)) + log_difference / count
