"""Mel-cepstral distortion."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.mel import mel_spectrogram
from voirs_vocoder.runtime.mel.compression import nepers_per_unit
from voirs_vocoder.runtime.mel.convention import MelConvention
from voirs_vocoder.runtime.metrics.pair import check_pair

__all__ = ["mcd_db"]

_COEFFICIENTS = 13


def mcd_db(
    reference: NDArray[np.floating[Any]],
    degraded: NDArray[np.floating[Any]],
    sample_rate: int,
    convention: MelConvention,
) -> float:
    """Mel-cepstral distortion: mean over frames of (10 / ln 10) sqrt(2 sum_{k=1}^{13} (c_k - c'_k)²), in dB.

    R. Kubichek, Mel-cepstral distance measure for objective speech quality assessment, IEEE Pacific Rim Conference on
    Communications, 1993, equation 1. The c_k are an orthonormal DCT-II of the natural logarithm of the convention's mel
    magnitudes, without c_0, the level. No time warping: both signals are one utterance, frame by frame. Values compare
    with each other, not with those of another cepstral analysis.

    Args:
        reference: Float32 or float64 [samples].
        degraded: Float32 or float64 [samples], as long as `reference`.
        sample_rate: Sample rate of both signals, in Hz.
        convention: Mel convention of the spectrograms that are compared.

    Raises:
        InputError: The signals break a rule of `check_pair`, or do not suit `mel_spectrogram`.
    """
    clean, other = (
        _cepstra(mel_spectrogram(signal.astype(np.float32), sample_rate, convention).values, convention)
        for signal in check_pair(reference, degraded)
    )
    distances = np.sqrt(2.0 * np.sum((clean - other) ** 2, axis=0))
    return float(10.0 / math.log(10.0) * np.mean(distances))


def _cepstra(mel: NDArray[np.float32], convention: MelConvention) -> NDArray[np.float64]:
    """[n_mels, frames] -> [coefficients, frames]."""
    nepers = mel.astype(np.float64) * nepers_per_unit(convention)
    bands = convention.n_mels
    order = np.arange(1, min(_COEFFICIENTS, bands - 1) + 1)[:, np.newaxis]
    basis = np.sqrt(2.0 / bands) * np.cos(np.pi * order * (np.arange(bands) + 0.5) / bands)
    cepstra: NDArray[np.float64] = basis @ nepers
    return cepstra
