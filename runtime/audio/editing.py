"""Editing of audio in memory: channels, levels, fades, filters, joining and cutting."""

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
"""Shape of a fade: amplitude on a straight line, or a quarter of a sine: the powers of crossing fades add up to 1."""

_FILTER_ORDER = 4


def resampled(audio: AudioBuffer, sample_rate: int) -> AudioBuffer:
    """Convert audio to another sample rate (soxr, VHQ).

    Args:
        audio: The audio to convert.
        sample_rate: The new sample rate in Hz; that of the audio returns the audio itself.
    """
    if sample_rate == audio.sample_rate:
        return audio
    rows = [resample(np.ascontiguousarray(row), audio.sample_rate, sample_rate) for row in audio.samples]
    return AudioBuffer(np.stack(rows), sample_rate)


def mixed_to_mono(audio: AudioBuffer) -> AudioBuffer:
    """Mix all channels down to one, their mean."""
    return AudioBuffer(mono(audio.samples)[np.newaxis], audio.sample_rate)


def split_channels(audio: AudioBuffer) -> list[AudioBuffer]:
    """Split audio into its channels, one buffer each."""
    return [AudioBuffer(row[np.newaxis].copy(), audio.sample_rate) for row in audio.samples]


def merged(parts: Sequence[AudioBuffer]) -> AudioBuffer:
    """Merge the channels of several buffers into one buffer.

    Raises:
        InputError: There are no buffers, or their sample rates or lengths differ.
    """
    _require_equal_rates(parts)
    lengths = {part.samples.shape[1] for part in parts}
    if len(lengths) > 1:
        raise InputError(f"channels must be equally long, got {sorted(lengths)} samples; cut or pad them")
    return AudioBuffer(np.concatenate([part.samples for part in parts]), parts[0].sample_rate)


def concatenated(parts: Sequence[AudioBuffer]) -> AudioBuffer:
    """Join buffers one after the other.

    Raises:
        InputError: There are no buffers, or their sample rates or numbers of channels differ.
    """
    _require_equal_rates(parts)
    channels = {part.channels for part in parts}
    if len(channels) > 1:
        raise InputError(f"parts must have equally many channels, got {sorted(channels)}; mix them down")
    return AudioBuffer(np.concatenate([part.samples for part in parts], axis=1), parts[0].sample_rate)


def chunks(audio: AudioBuffer, samples: int) -> Iterator[AudioBuffer]:
    """Cut audio into pieces of `samples` samples; the last may be shorter. The pieces are views.

    Raises:
        InputError: `samples` is not positive.
    """
    if samples < 1:
        raise InputError(f"samples must be at least 1, got {samples}")
    for start in range(0, audio.samples.shape[1], samples):
        yield AudioBuffer(audio.samples[:, start : start + samples], audio.sample_rate)


def with_gain_db(audio: AudioBuffer, gain_db: float) -> AudioBuffer:
    """Apply a constant gain in dB; the result is not clipped.

    Raises:
        InputError: The gain is not finite.
    """
    if not math.isfinite(gain_db):
        raise InputError(f"gain_db must be finite, got {gain_db}")
    return AudioBuffer(audio.samples * np.float32(10.0 ** (gain_db / 20.0)), audio.sample_rate)


def normalized_peak(audio: AudioBuffer, peak_db: float = -1.0) -> AudioBuffer:
    """Bring the largest magnitude to `peak_db`, in dB relative to full scale; silence is returned unchanged."""
    peak = float(np.max(np.abs(audio.samples), initial=0.0))
    return with_gain_db(audio, peak_db - 20.0 * math.log10(peak)) if peak > 0.0 else audio


def normalized_rms(audio: AudioBuffer, rms_db: float = -20.0) -> AudioBuffer:
    """Bring the RMS over all channels to `rms_db`, in dB relative to full scale; silence is returned unchanged.

    The result is not clipped, so its samples may be beyond [-1, 1].
    """
    power = float(np.mean(audio.samples.astype(np.float64) ** 2)) if audio.samples.size else 0.0
    return with_gain_db(audio, rms_db - 10.0 * math.log10(power)) if power > 0.0 else audio


def faded(audio: AudioBuffer, in_ms: float = 0.0, out_ms: float = 0.0, shape: Fade = "linear") -> AudioBuffer:
    """Fade audio in at the beginning and out at the end.

    Args:
        audio: The audio to fade.
        in_ms: Length of the fade-in in ms, limited to the length of the audio.
        out_ms: Length of the fade-out in ms, limited to the length of the audio.
        shape: Shape of both fades: `linear` or `equal-power`.

    Raises:
        InputError: A length is negative or the shape is unknown.
    """
    if min(in_ms, out_ms) < 0 or shape not in ("linear", "equal-power"):
        raise InputError(
            f"in_ms and out_ms must not be negative, shape must be linear or equal-power, got {in_ms:g}, {out_ms:g}, "
            f"{shape!r}"
        )
    length = audio.samples.shape[1]
    gain = np.ones(length)
    for place, ms in ((slice(None), in_ms), (slice(None, None, -1), out_ms)):
        count = min(length, round(ms * audio.sample_rate / 1000.0))
        ramp = (np.arange(count) + 0.5) / max(1, count)
        gain[place][:count] *= ramp if shape == "linear" else np.sin(ramp * np.pi / 2)
    return AudioBuffer((audio.samples * gain).astype(np.float32), audio.sample_rate)


def low_passed(audio: AudioBuffer, cutoff_hz: float) -> AudioBuffer:
    """Filter with a Butterworth low-pass of 24 dB per octave, -3 dB at `cutoff_hz`.

    Raises:
        InputError: The cutoff is not between 0 and half the sample rate, or scipy is not installed.
    """
    return _filtered(audio, "lowpass", cutoff_hz)


def high_passed(audio: AudioBuffer, cutoff_hz: float) -> AudioBuffer:
    """Filter with a Butterworth high-pass of 24 dB per octave, -3 dB at `cutoff_hz`.

    Raises:
        InputError: The cutoff is not between 0 and half the sample rate, or scipy is not installed.
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


def _require_equal_rates(parts: Sequence[AudioBuffer]) -> None:
    rates = {part.sample_rate for part in parts}
    if len(rates) != 1:
        raise InputError(f"parts must have one sample rate, got {sorted(rates) or 'no parts'}; resample them")
