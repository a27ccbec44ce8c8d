"""The one home of metrics: how far degraded audio is from its reference."""

from voirs_vocoder.runtime.metrics.cepstral import mcd_db
from voirs_vocoder.runtime.metrics.dnsmos import Dnsmos, dnsmos, dnsmos_ovrl_lost
from voirs_vocoder.runtime.metrics.pair import MetricUnavailableError, MetricUndefinedError
from voirs_vocoder.runtime.metrics.perceptual import pesq_wb, stoi
from voirs_vocoder.runtime.metrics.pitch import f0_hz, pitch_error_cents, voicing_f1
from voirs_vocoder.runtime.metrics.spectral import LEAST_SAMPLES, lsd, mel_l1, multi_resolution_stft
from voirs_vocoder.runtime.metrics.table import FIGURES, METRICS, Figure, figure_text, measure, tolerance_of
from voirs_vocoder.runtime.metrics.waveform import max_abs_error, si_sdr_db, snr_db

__all__ = [
    "FIGURES",
    "LEAST_SAMPLES",
    "METRICS",
    "Dnsmos",
    "Figure",
    "MetricUnavailableError",
    "MetricUndefinedError",
    "dnsmos",
    "dnsmos_ovrl_lost",
    "f0_hz",
    "figure_text",
    "lsd",
    "max_abs_error",
    "mcd_db",
    "measure",
    "mel_l1",
    "multi_resolution_stft",
    "pesq_wb",
    "pitch_error_cents",
    "si_sdr_db",
    "snr_db",
    "stoi",
    "tolerance_of",
    "voicing_f1",
]
