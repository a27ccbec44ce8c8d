"""Table of figures: how each is titled, formatted, judged and, if it compares two signals, computed.

A new metric is a function of this package and a row of `FIGURES`; reports, pages, gates and baselines read the row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.mel.convention import MelConvention
from voirs_vocoder.runtime.metrics.cepstral import mcd_db
from voirs_vocoder.runtime.metrics.dnsmos import dnsmos_ovrl_lost
from voirs_vocoder.runtime.metrics.pair import MetricUnavailableError, MetricUndefinedError
from voirs_vocoder.runtime.metrics.perceptual import pesq_wb, stoi
from voirs_vocoder.runtime.metrics.pitch import pitch_error_cents, voicing_f1
from voirs_vocoder.runtime.metrics.spectral import lsd, mel_l1, multi_resolution_stft
from voirs_vocoder.runtime.metrics.waveform import max_abs_error, si_sdr_db, snr_db

__all__ = ["FIGURES", "METRICS", "Figure", "Metric", "figure_text", "measure", "tolerance_of"]

Metric = Callable[[NDArray[Any], NDArray[Any], int, MelConvention], float]
"""Reference, degraded [samples], sample rate in Hz and mel convention to the value of a metric."""


@dataclass(frozen=True)
class Figure:
    """A figure that is measured of audio.

    Attributes:
        title: Header of its column in tables and pages.
        meaning: Explanation in one sentence, for people who read a report.
        form: Format specification of its value, as `format` takes it.
        higher_is_better: True if a larger value is better, False if a smaller value is better.
        tolerance: Positive change for the worse that counts as none, in the figure's unit; None where no change is
            tolerated or none was agreed on.
        metric: Function that computes it from two signals; None for a figure that is derived or timed elsewhere.
    """

    title: str
    meaning: str
    form: str
    higher_is_better: bool
    tolerance: float | None = None
    metric: Metric | None = None

    def is_worse(self, before: float, after: float) -> bool:
        """Whether a value changed for the worse by more than `tolerance`; NaN as the later value is worse.

        Args:
            before: Earlier value, finite.
            after: Later value.
        """
        gain = after - before if self.higher_is_better else before - after
        return not gain >= -(self.tolerance or 0.0)


# In the order of a report.
FIGURES: dict[str, Figure] = {
    "rtf": Figure(
        "RTF",
        "Median real-time factor: seconds of compute per second of audio.",
        ".4f",
        higher_is_better=False,
    ),
    "snr_db": Figure(
        "SNR dB",
        "Signal-to-noise ratio against the reference; higher is closer.",
        ".1f",
        higher_is_better=True,
        tolerance=2.0,
        metric=lambda reference, degraded, rate, convention: snr_db(reference, degraded),
    ),
    "max_abs_error": Figure(
        "largest error",
        "Largest absolute difference of two samples, where 1 is full scale.",
        ".2g",
        higher_is_better=False,
        metric=lambda reference, degraded, rate, convention: max_abs_error(reference, degraded),
    ),
    "pesq_wb": Figure(
        "PESQ",
        "Wide-band PESQ (ITU-T P.862.2) from 1.04 to 4.64; higher is better.",
        ".3f",
        higher_is_better=True,
        tolerance=0.05,
        metric=lambda reference, degraded, rate, convention: pesq_wb(reference, degraded, rate),
    ),
    "pesq_lost": Figure(
        "PESQ lost",
        "PESQ of the reference minus PESQ of the graph, both against the recording; lower is better.",
        "+.3f",
        higher_is_better=False,
    ),
    "stoi": Figure(
        "STOI",
        "Short-time objective intelligibility, at most 1; higher is better.",
        ".3f",
        higher_is_better=True,
        tolerance=0.01,
        metric=lambda reference, degraded, rate, convention: stoi(reference, degraded, rate),
    ),
    "lsd": Figure(
        "LSD",
        "Log-spectral distance, where 1 is 10 dB and 0 is equal; lower is better.",
        ".3f",
        higher_is_better=False,
        tolerance=0.05,
        metric=lambda reference, degraded, rate, convention: lsd(reference, degraded),
    ),
    "multi_resolution_stft": Figure(
        "M-STFT",
        "Multi-resolution STFT distance, where 0 is equal; lower is better.",
        ".3f",
        higher_is_better=False,
        tolerance=0.05,
        metric=lambda reference, degraded, rate, convention: multi_resolution_stft(reference, degraded),
    ),
    "mel_l1": Figure(
        "mel L1",
        "Mean absolute difference of two mels, where 0 is equal; lower is better.",
        ".3f",
        higher_is_better=False,
        tolerance=0.02,
        metric=mel_l1,
    ),
    "si_sdr_db": Figure(
        "SI-SDR dB",
        "Scale-invariant signal-to-distortion ratio; higher is closer.",
        ".1f",
        higher_is_better=True,
        metric=lambda reference, degraded, rate, convention: si_sdr_db(reference, degraded),
    ),
    "mcd_db": Figure(
        "MCD dB",
        "Mel-cepstral distortion, where 0 is equal; lower is better.",
        ".2f",
        higher_is_better=False,
        metric=mcd_db,
    ),
    "pitch_error_cents": Figure(
        "F0 cents",
        "Root mean square error of the pitch, where 100 is a semitone; lower is better.",
        ".0f",
        higher_is_better=False,
        metric=lambda reference, degraded, rate, convention: pitch_error_cents(reference, degraded, rate),
    ),
    "voicing_f1": Figure(
        "voicing F1",
        "Agreement on which frames are voiced, at most 1; higher is better.",
        ".3f",
        higher_is_better=True,
        metric=lambda reference, degraded, rate, convention: voicing_f1(reference, degraded, rate),
    ),
    "dnsmos_ovrl_lost": Figure(
        "DNSMOS lost",
        "DNSMOS P.835 overall quality of the reference minus that of the graph; lower is better.",
        "+.3f",
        higher_is_better=False,
        metric=lambda reference, degraded, rate, convention: dnsmos_ovrl_lost(reference, degraded, rate),
    ),
}
"""Figures by the names that reports use."""

METRICS = tuple(name for name, figure in FIGURES.items() if figure.metric is not None)
"""Names of the figures that `measure` computes."""


def figure_text(name: str, value: float | None) -> str:
    """A figure's value as text.

    Args:
        name: One of `FIGURES`.
        value: Value of the figure; None and NaN give `-`.
    """
    return "-" if value is None or math.isnan(value) else format(value, FIGURES[name].form)


def tolerance_of(name: str) -> float:
    """Change for the worse of a figure that counts as none.

    Args:
        name: One of `FIGURES` that has a tolerance.

    Raises:
        InputError: The figure has none.
    """
    tolerance = FIGURES[name].tolerance
    if tolerance is None:
        raise InputError(f"a figure needs a tolerance, {name} has none; give one to its row of FIGURES")
    return tolerance


def measure(
    reference: NDArray[np.floating[Any]],
    degraded: NDArray[np.floating[Any]],
    sample_rate: int,
    convention: MelConvention,
    names: Sequence[str] = METRICS,
) -> dict[str, float | None]:
    """Compute several metrics of one pair of signals.

    Args:
        reference: Float32 or float64 [samples], mono, finite.
        degraded: Float32 or float64 [samples], as long as `reference`, finite.
        sample_rate: Sample rate of both signals, in Hz.
        convention: Mel convention of `mel_l1` and `mcd_db`.
        names: Metrics to compute, from `METRICS`.

    Returns:
        Value by name, in the order of `names`; None where the metric's package is not installed, NaN where the metric
        is undefined for these signals (`MetricUndefinedError`).

    Raises:
        InputError: A name is unknown, or the signals break a rule of `check_pair`.
    """
    values: dict[str, float | None] = {}
    for name in names:
        metric = FIGURES[name].metric if name in FIGURES else None
        if metric is None:
            raise InputError(f"unknown metric {name!r}; known: {', '.join(METRICS)}")
        try:
            values[name] = metric(reference, degraded, sample_rate, convention)
        except MetricUndefinedError:
            values[name] = math.nan
        except MetricUnavailableError:
            values[name] = None
    return values
