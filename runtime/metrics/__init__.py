"""The one home of metrics: how far degraded audio is from its reference."""

from voirs_vocoder.runtime.metrics.pair import MetricUnavailableError
from voirs_vocoder.runtime.metrics.perceptual import pesq_wb, stoi
from voirs_vocoder.runtime.metrics.spectral import lsd, mel_l1, multi_resolution_stft
from voirs_vocoder.runtime.metrics.suite import METRICS, measure
from voirs_vocoder.runtime.metrics.waveform import max_abs_error, snr_db

__all__ = [
    "METRICS",
    "MetricUnavailableError",
    "lsd",
    "max_abs_error",
    "measure",
    "mel_l1",
    "multi_resolution_stft",
    "pesq_wb",
    "snr_db",
    "stoi",
]
