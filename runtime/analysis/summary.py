"""All that can be said of a signal by itself."""

from __future__ import annotations

import math

import msgspec

from voirs_vocoder.runtime.analysis import levels, spectrum
from voirs_vocoder.runtime.audio import AudioBuffer, mono

__all__ = ["AudioAnalysis", "analyse"]


class AudioAnalysis(msgspec.Struct, frozen=True, kw_only=True):
    """A signal in numbers; None where one is not defined, as the level of silence in dB.

    Attributes:
        duration_s: In seconds.
        sample_rate: In Hz.
        channels: How many.
        peak_db: Largest sample.
        true_peak_db: Largest value between samples.
        rms_db: Over all channels.
        loudness_lufs: Integrated.
        dc_offset: Mean of the channel that is farthest from 0.
        zero_crossings_per_s: Of the mean of the channels, as all below.
        spectral_centroid_hz: Centre of the spectrum.
        bark_band_db: Power in each of 24 critical bands.
        masking_threshold_db: Below which noise in each is not heard.
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
        InputError: There are under 1025 samples, or pyloudnorm is not installed.
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
