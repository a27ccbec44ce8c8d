"""Metrics modeled on human perception, from optional packages."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.audio import resample
from voirs_vocoder.runtime.metrics.pair import MetricUnavailableError, MetricUndefinedError, check_pair
from voirs_vocoder.runtime.optional import import_optional

__all__ = ["pesq_wb", "stoi"]

_PESQ_RATE = 16_000
_INT16_MAX = 32767


def pesq_wb(
    reference: NDArray[np.floating[Any]], degraded: NDArray[np.floating[Any]], sample_rate: int
) -> float:
    """Wide-band PESQ (ITU-T P.862.2, package `pesq`): 1.04 to 4.64, higher is better.

    As in github.com/NVIDIA/BigVGAN's train.py, the signals are resampled to 16 kHz and converted to int16.

    Args:
        reference: Float32 or float64 [samples], nominally in [-1, 1].
        degraded: Float32 or float64 [samples], as long as `reference`.
        sample_rate: Sample rate of both signals, in Hz.

    Raises:
        InputError: The signals break a rule of `check_pair`.
        MetricUnavailableError: `pesq` is not installed.
        MetricUndefinedError: PESQ finds no speech, as in silence or under 0.25 s.
    """
    package = _package("pesq")
    clean, other = (
        _int16(resample(signal.astype(np.float32), sample_rate, _PESQ_RATE))
        for signal in check_pair(reference, degraded)
    )
    if not clean.any() or not other.any():
        raise MetricUndefinedError("PESQ is undefined for silence; measure speech")
    try:
        return float(package.pesq(_PESQ_RATE, clean, other, "wb"))
    except package.PesqError as error:
        raise MetricUndefinedError("PESQ finds under 0.25 s, or no speech; measure speech") from error


def stoi(
    reference: NDArray[np.floating[Any]], degraded: NDArray[np.floating[Any]], sample_rate: int
) -> float:
    """Short-time objective intelligibility (package `pystoi`): up to 1, higher is better.

    C. Taal et al., An algorithm for intelligibility prediction of time-frequency weighted noisy speech, IEEE TASLP
    19(7), 2011. The package resamples to 10 kHz.

    Args:
        reference: Float32 or float64 [samples].
        degraded: Float32 or float64 [samples], as long as `reference`.
        sample_rate: Sample rate of both signals, in Hz.

    Raises:
        InputError: The signals break a rule of `check_pair`.
        MetricUnavailableError: `pystoi` is not installed.
        MetricUndefinedError: There are under 0.4 s of speech.
    """
    package = _package("pystoi")
    clean, other = check_pair(reference, degraded)
    if not clean.any():
        raise MetricUndefinedError("STOI is undefined for a silent reference; measure speech")
    with warnings.catch_warnings():
        # pystoi warns and returns 1e-5 where it has too little speech.
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(package.stoi(clean, other, sample_rate))
        except (RuntimeWarning, ValueError) as error:
            raise MetricUndefinedError("STOI is undefined here; measure at least 0.4 s of speech") from error


def _package(name: str) -> Any:
    return import_optional(name, purpose="this metric", extra="eval", error=MetricUnavailableError)


def _int16(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    return (np.clip(samples, -1.0, 1.0) * _INT16_MAX).astype(np.int16)
