"""What is done to audio in memory: channels, levels, fades, filters, joining and cutting."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from voirs_vocoder.runtime.audio.buffer import AudioBuffer, mono
from voirs_vocoder.runtime.audio.resample import resample
from voirs_vocoder.runtime.dsp import butterworth, scipy_signal
from voirs_vocoder.runtime.errors import InputError

__all__ = [
    "Fade",
    "chunks",
    "concatenated",
    "faded",
    "high_passed",
    "low_passed",
    "merged",
    "mixed_to_mono",
    "normalized_peak",
    "normalized_rms",
    "resampled",
    "split_channels",
    "with_gain_db",
]

Fade = Literal["linear", "equal-power"]
"""Amplitude on a straight line, or on a quarter of a sine, whose square adds up to one when two fades cross."""

_FILTER_ORDER = 4


def resampled(audio: AudioBuffer, sample_rate: int) -> AudioBuffer:
    """The same at another rate in Hz (soxr, VHQ)."""
    if sample_rate == audio.sample_rate:
        return audio
    rows = [resample(np.ascontiguousarray(row), audio.sample_rate, sample_rate) for row in audio.samples]
    return AudioBuffer(np.stack(rows), sample_rate)


def mixed_to_mono(audio: AudioBuffer) -> AudioBuffer:
    """One channel, the mean of all."""
    return AudioBuffer(mono(audio.samples)[np.newaxis], audio.sample_rate)


def split_channels(audio: AudioBuffer) -> list[AudioBuffer]:
    """Each channel for itself."""
    return [AudioBuffer(row[np.newaxis].copy(), audio.sample_rate) for row in audio.samples]


def merged(parts: Sequence[AudioBuffer]) -> AudioBuffer:
    """The channels of all, side by side.

    Raises:
        InputError: There are none, or rates or lengths differ.
    """
    _require_alike(parts)
    lengths = {part.samples.shape[1] for part in parts}
    if len(lengths) > 1:
        raise InputError(f"channels must be equally long, got {sorted(lengths)} samples; cut or pad them")
    return AudioBuffer(np.concatenate([part.samples for part in parts]), parts[0].sample_rate)


def concatenated(parts: Sequence[AudioBuffer]) -> AudioBuffer:
    """One after the other.

    Raises:
        InputError: There are none, or rates or channels differ.
    """
    _require_alike(parts)
    channels = {part.channels for part in parts}
    if len(channels) > 1:
        raise InputError(f"parts must have as many channels, got {sorted(channels)}; mix them")
    return AudioBuffer(np.concatenate([part.samples for part in parts], axis=1), parts[0].sample_rate)


def chunks(audio: AudioBuffer, samples: int) -> Iterator[AudioBuffer]:
    """Pieces of so many samples, the last may be shorter.

    Raises:
        InputError: `samples` is not positive.
    """
    if samples < 1:
        raise InputError(f"a chunk has at least one sample, got {samples}")
    for start in range(0, audio.samples.shape[1], samples):
        yield AudioBuffer(audio.samples[:, start : start + samples], audio.sample_rate)


def with_gain_db(audio: AudioBuffer, gain_db: float) -> AudioBuffer:
    """Louder or softer."""
    if not math.isfinite(gain_db):
        raise InputError(f"gain_db must be finite, got {gain_db}")
    return AudioBuffer(audio.samples * np.float32(10.0 ** (gain_db / 20.0)), audio.sample_rate)


def normalized_peak(audio: AudioBuffer, peak_db: float = -1.0) -> AudioBuffer:
    """The largest sample brought to a level in dB relative to full scale; silence stays silence."""
    peak = float(np.max(np.abs(audio.samples), initial=0.0))
    return with_gain_db(audio, peak_db - 20.0 * math.log10(peak)) if peak > 0.0 else audio


def normalized_rms(audio: AudioBuffer, rms_db: float = -20.0) -> AudioBuffer:
    """The RMS over all channels brought to a level in dB relative to full scale; silence stays silence.

    Samples may then be beyond [-1, 1].
    """
    power = float(np.mean(audio.samples.astype(np.float64) ** 2)) if audio.samples.size else 0.0
    return with_gain_db(audio, rms_db - 10.0 * math.log10(power)) if power > 0.0 else audio


def faded(audio: AudioBuffer, in_ms: float = 0.0, out_ms: float = 0.0, shape: Fade = "linear") -> AudioBuffer:
    """Faded in at the beginning and out at the end.

    Args:
        audio: What to fade.
        in_ms: Length of the fade in; longer than the audio is as long as it.
        out_ms: Of the fade out.
        shape: Of both.

    Raises:
        InputError: A length is negative or the shape unknown.
    """
    if min(in_ms, out_ms) < 0 or shape not in ("linear", "equal-power"):
        raise InputError(
            f"fades must not be negative, their shape linear or equal-power, got {in_ms:g}, {out_ms:g} ms, {shape!r}"
        )
    length = audio.samples.shape[1]
    gain = np.ones(length)
    for place, ms in ((slice(None), in_ms), (slice(None, None, -1), out_ms)):
        count = min(length, round(ms * audio.sample_rate / 1000.0))
        ramp = (np.arange(count) + 0.5) / max(1, count)
        gain[place][:count] *= ramp if shape == "linear" else np.sin(ramp * np.pi / 2)
    return AudioBuffer((audio.samples * gain).astype(np.float32), audio.sample_rate)


def low_passed(audio: AudioBuffer, cutoff_hz: float) -> AudioBuffer:
    """Through a Butterworth low-pass of 24 dB per octave, -3 dB at `cutoff_hz`.

    Raises:
        InputError: The rate cannot hold the frequency, or scipy is not installed.
    """
    return _filtered(audio, "lowpass", cutoff_hz)


def high_passed(audio: AudioBuffer, cutoff_hz: float) -> AudioBuffer:
    """Through a Butterworth high-pass of 24 dB per octave, -3 dB at `cutoff_hz`.

    Raises:
        InputError: As `low_passed`.
    """
    return _filtered(audio, "highpass", cutoff_hz)


def _filtered(audio: AudioBuffer, kind: str, cutoff_hz: float) -> AudioBuffer:
    if not 0.0 < cutoff_hz < audio.sample_rate / 2:
        raise InputError(
            f"cutoff_hz must lie in (0, {audio.sample_rate / 2:g}) at {audio.sample_rate} Hz, got {cutoff_hz:g}"
        )
    sections = butterworth(kind, cutoff_hz, _FILTER_ORDER, audio.sample_rate)
    filtered = scipy_signal().sosfilt(sections, audio.samples, axis=1)
    return AudioBuffer(filtered.astype(np.float32), audio.sample_rate)


def _require_alike(parts: Sequence[AudioBuffer]) -> None:
    rates = {part.sample_rate for part in parts}
    if len(rates) != 1:
        raise InputError(f"parts must have one sample rate, got {sorted(rates) or 'no parts'}; resample them")
