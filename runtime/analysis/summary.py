"""All measures of a signal that need no reference."""

from __future__ import annotations

import math

import msgspec

from voirs_vocoder.runtime.analysis import levels, spectrum
from voirs_vocoder.runtime.audio import AudioBuffer, mono

__all__ = ["AudioAnalysis", "analyse"]


class AudioAnalysis(msgspec.Struct, frozen=True, kw_only=True):
    """Measures of a signal.

    Attributes:
        duration_s: Length of the signal in seconds.
        sample_rate: Sample rate of the signal in Hz.
        channels: Number of channels.
        peak_db: Largest magnitude of a sample, in dB relative to full scale; None for silence.
        true_peak_db: Largest magnitude at four times the sample rate, in dB relative to full scale; None for silence.
        rms_db: RMS over all channels, in dB relative to full scale; None for silence.
        loudness_lufs: Integrated loudness in LUFS; None for less than 0.4 s, or when all is below the gate.
        dc_offset: Mean of one channel, with its sign: of the channel whose mean is farthest from 0.
        zero_crossings_per_s: Changes of sign per second of the mean of the channels.
        spectral_centroid_hz: Center of gravity of the spectrum of the mean of the channels, in Hz; 0 for silence.
        bark_band_db: Power of the mean of the channels in each of 24 critical bands, in dB.
        masking_threshold_db: Level in dB below which noise is inaudible beside the mean of the channels, in each of 24
            critical bands.
    """

    duration_s: float
    sample_rate: int
    channels: int
    peak_db: float | None
    true_peak_db: float | None
    rms_db: float | None
    loudness_lufs: float | None
    dc_offset: float
    zero_crossings_per_s: float
    spectral_centroid_hz: float
    bark_band_db: tuple[float, ...]
    masking_threshold_db: tuple[float, ...]


def analyse(audio: AudioBuffer) -> AudioAnalysis:
    """Measure a signal.

    Raises:
        InputError: The signal has at most 1024 samples, or pyloudnorm is not installed.
    """
    middle = mono(audio.samples)
    rate = audio.sample_rate
    return AudioAnalysis(
        duration_s=audio.duration_s,
        sample_rate=rate,
        channels=audio.channels,
        peak_db=_finite(levels.peak_db(audio.samples)),
        true_peak_db=_finite(levels.true_peak_db(audio)),
        rms_db=_finite(levels.rms_db(audio.samples)),
        loudness_lufs=levels.loudness_lufs(audio),
        dc_offset=levels.dc_offset(audio.samples),
        zero_crossings_per_s=spectrum.zero_crossings_per_s(middle, rate),
        spectral_centroid_hz=spectrum.spectral_centroid_hz(middle, rate),
        bark_band_db=tuple(spectrum.bark_band_db(middle, rate).tolist()),
        masking_threshold_db=tuple(spectrum.masking_threshold_db(middle, rate).tolist()),
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
