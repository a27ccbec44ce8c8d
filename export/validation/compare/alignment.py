"""Two recordings brought to one rate, one beginning and one length, or refused."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.audio import AudioBuffer, mono, resample
from voirs_vocoder.runtime.errors import InputError

__all__ = ["Aligned", "aligned"]

_TOLERATED_MS = 50.0
_MAX_SHIFT_MS = 500.0
_REMEDY = "align=True resamples and moves them"


@dataclass(frozen=True, eq=False)
class Aligned:
    """Two signals that can be compared.

    Attributes:
        reference: Float32 [samples], mono.
        degraded: Float32 [samples], mono, as long as `reference`.
        sample_rate: Sample rate of both signals, in Hz.
        notes: Changes that were made to the signals, a line each.
    """

    reference: NDArray[np.float32]
    degraded: NDArray[np.float32]
    sample_rate: int
    notes: tuple[str, ...]


def aligned(name: str, reference: AudioBuffer, degraded: AudioBuffer, *, align: bool) -> Aligned:
    """Make a pair comparable.

    Channels are mixed. Without `align`, rates must be equal, and lengths within 50 ms, as after a vocoder that fills
    its last frame: the longer is cut. With it, the degraded recording is resampled to the reference's rate, and moved
    by up to 500 ms to where the cross-correlation of the two is largest in magnitude.

    Args:
        name: Name of the pair in messages.
        reference: Recording that counts as correct.
        degraded: Recording that is judged.
        align: Whether the recordings may be resampled and shifted.

    Raises:
        InputError: Rates or lengths differ by more than that.
    """
    notes = []
    rate = reference.sample_rate
    clean, other = mono(reference.samples), mono(degraded.samples)
    if degraded.sample_rate != rate:
        if not align:
            raise InputError(
                f"{name}: the rates must be equal, got {rate} and {degraded.sample_rate} Hz; {_REMEDY}"
            )
        other = resample(other, degraded.sample_rate, rate)
        notes.append(f"{name}: resampled from {degraded.sample_rate} to {rate} Hz")
    if align:
        shift = _shift(clean, other, round(_MAX_SHIFT_MS * rate / 1000))
        if shift:
            clean, other = clean[max(0, -shift) :], other[max(0, shift) :]
            notes.append(f"{name}: moved by {1000 * shift / rate:.1f} ms")
    difference_ms = 1000 * abs(clean.size - other.size) / rate
    if difference_ms > _TOLERATED_MS and not align:
        raise InputError(
            f"{name}: the lengths must agree within {_TOLERATED_MS:g} ms, got {clean.size / rate:.3f} and "
            f"{other.size / rate:.3f} s; {_REMEDY}"
        )
    if difference_ms:
        notes.append(f"{name}: the longer was cut by {difference_ms:.1f} ms")
    length = min(clean.size, other.size)
    if not length:
        raise InputError(f"{name}: nothing in common is left to compare; check that they belong together")
    return Aligned(clean[:length], other[:length], rate, tuple(notes))


def _shift(reference: NDArray[np.float32], degraded: NDArray[np.float32], most_samples: int) -> int:
    """By how many samples the degraded signal is late, from the peak of the cross-correlation by FFT."""
    size = 1 << (reference.size + degraded.size).bit_length()
    product = np.fft.rfft(degraded, size) * np.conj(np.fft.rfft(reference, size))
    correlation = np.abs(np.fft.irfft(product, size))
    late, early = correlation[: most_samples + 1], correlation[size - most_samples :]
    around = np.concatenate([early, late])
    return int(np.argmax(around)) - most_samples
