"""All metrics by name, for validation and reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.mel.convention import MelConvention
from voirs_vocoder.runtime.metrics.cepstral import mcd_db
from voirs_vocoder.runtime.metrics.dnsmos import dnsmos_ovrl_lost
from voirs_vocoder.runtime.metrics.pair import MetricUnavailableError
from voirs_vocoder.runtime.metrics.perceptual import pesq_wb, stoi
from voirs_vocoder.runtime.metrics.pitch import pitch_error_cents, voicing_f1
from voirs_vocoder.runtime.metrics.spectral import lsd, mel_l1, multi_resolution_stft
from voirs_vocoder.runtime.metrics.waveform import max_abs_error, si_sdr_db, snr_db

__all__ = ["METRICS", "measure"]

# In the order of a report.
_METRICS: dict[str, Callable[[Any, Any, int, MelConvention], float]] = {
    "snr_db": lambda reference, degraded, rate, convention: snr_db(reference, degraded),
    "max_abs_error": lambda reference, degraded, rate, convention: max_abs_error(reference, degraded),
    "lsd": lambda reference, degraded, rate, convention: lsd(reference, degraded),
    "multi_resolution_stft": lambda reference, degraded, rate, convention: multi_resolution_stft(
        reference, degraded
    ),
    "mel_l1": mel_l1,
    "pesq_wb": lambda reference, degraded, rate, convention: pesq_wb(reference, degraded, rate),
    "stoi": lambda reference, degraded, rate, convention: stoi(reference, degraded, rate),
    "si_sdr_db": lambda reference, degraded, rate, convention: si_sdr_db(reference, degraded),
    "mcd_db": mcd_db,
    "pitch_error_cents": lambda reference, degraded, rate, convention: pitch_error_cents(
        reference, degraded, rate
    ),
    "voicing_f1": lambda reference, degraded, rate, convention: voicing_f1(reference, degraded, rate),
    "dnsmos_ovrl_lost": lambda reference, degraded, rate, convention: dnsmos_ovrl_lost(
        reference, degraded, rate
    ),
}

METRICS = tuple(_METRICS)


def measure(
    reference: NDArray[np.floating[Any]],
    degraded: NDArray[np.floating[Any]],
    sample_rate: int,
    convention: MelConvention,
    names: Sequence[str] = METRICS,
) -> dict[str, float | None]:
    """Several metrics at once.

    Args:
        reference: Float32 or float64 [samples], mono.
        degraded: The same length.
        sample_rate: Of both, in Hz.
        convention: Of the mels that `mel_l1` compares.
        names: Of the metrics, from `METRICS`.

    Returns:
        Value by name, in the order asked for; None where the metric's package is not installed or it is undefined for
        these signals (`MetricUnavailableError`).

    Raises:
        InputError: A name is unknown, or the signals break a rule of `check_pair`.
    """
    values: dict[str, float | None] = {}
    for name in names:
        if name not in _METRICS:
            raise InputError(f"unknown metric {name!r}; known: {', '.join(METRICS)}")
        try:
            values[name] = _METRICS[name](reference, degraded, sample_rate, convention)
        except MetricUnavailableError:
            values[name] = None
    return values
