"""Levels: peak, true peak, RMS, offset, loudness."""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray

from voirs_vocoder.runtime.audio import AudioBuffer
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.optional import import_optional

__all__ = ["TruePeak", "dc_offset", "level_db", "loudness_lufs", "peak_db", "rms_db", "true_peak_db"]

_OVERSAMPLING = 4
_LEAST_BLOCK_S = 0.4


def level_db(amplitude: float) -> float:
    """Level in dB of an amplitude relative to 1, which is full scale; minus infinity for 0."""
    with np.errstate(divide="ignore"):
        return float(20.0 * np.log10(amplitude))


def peak_db(samples: NDArray[np.float32]) -> float:
    """Largest magnitude in [channels, samples], in dB relative to full scale."""
    return level_db(float(np.max(np.abs(samples), initial=0.0)))


def rms_db(samples: NDArray[np.float32]) -> float:
    """RMS over all of [channels, samples], in dB relative to full scale: -3.01 for a full-scale sine."""
    power = float(np.mean(samples.astype(np.float64) ** 2)) if samples.size else 0.0
    return level_db(power**0.5)


def dc_offset(samples: NDArray[np.float32]) -> float:
    """Mean of one channel of [channels, samples], with its sign: of the channel whose mean is farthest from 0."""
    if not samples.size:
        return 0.0
    means = samples.mean(axis=1, dtype=np.float64)
    return float(means[np.argmax(np.abs(means))])


class TruePeak:
    """Measures the true peak of a signal that comes in blocks: its largest magnitude at four times its sample rate.

    ITU-R BS.1770-4, Annex 2, with soxr's VHQ filter in place of the standard's, which has 48 taps and some ripple.
    """

    def __init__(self, sample_rate: int, channels: int) -> None:
        """Begin a signal.

        Args:
            sample_rate: Sample rate of the signal in Hz.
            channels: Number of channels of the signal.
        """
        self._stream = soxr.ResampleStream(
            sample_rate, _OVERSAMPLING * sample_rate, channels, dtype="float32", quality="VHQ"
        )
        self._channels = channels
        self._peak = 0.0

    def push(self, samples: NDArray[np.float32]) -> None:
        """Measure the next samples, float32 [channels, samples]."""
        self._peak = max(self._peak, float(np.max(np.abs(samples), initial=0.0)))
        self._take(self._stream.resample_chunk(np.ascontiguousarray(samples.T)))

    def finish_db(self) -> float:
        """End the signal; returns its true peak in dB relative to full scale."""
        self._take(self._stream.resample_chunk(np.empty((0, self._channels), np.float32), last=True))
        return level_db(self._peak)

    def _take(self, between: NDArray[np.float32]) -> None:
        self._peak = max(self._peak, float(np.max(np.abs(between), initial=0.0)))


def true_peak_db(audio: AudioBuffer) -> float:
    """True peak of a whole signal in dB relative to full scale, as `TruePeak` measures it."""
    meter = TruePeak(audio.sample_rate, audio.channels)
    meter.push(audio.samples)
    return meter.finish_db()


def loudness_lufs(audio: AudioBuffer) -> float | None:
    """Integrated loudness by ITU-R BS.1770-4 (package `pyloudnorm`).

    Args:
        audio: The signal, with at most 5 channels.

    Returns:
        Loudness in LUFS; None for less than 0.4 s, or when every part of the signal is below the gate.

    Raises:
        InputError: pyloudnorm is not installed.
    """
    if audio.duration_s < _LEAST_BLOCK_S:
        return None
    package = import_optional("pyloudnorm", purpose="loudness", extra="eval", error=InputError)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(
            package.Meter(audio.sample_rate).integrated_loudness(audio.samples.T.astype(np.float64))
        )
    return value if np.isfinite(value) else None
