"""How closely audio that a vocoder made follows the recording: spectrum, level and time, in any mel convention."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.mel import mel_spectrogram
from voirs_vocoder.runtime.mel.convention import MelConvention

__all__ = ["Match", "match_of"]

_LARGEST_LAG_FRAMES = 25
_TOP_HZ = 11025.0


@dataclass(frozen=True)
class Match:
    """Agreement of audio with a recording.

    Attributes:
        correlation: Correlation of their log mels over all bands and frames, from -1 to 1.
        distance_nepers: Mean absolute difference of their log mels, in nepers.
        lag_ms: Delay of the audio's envelopes behind the recording's, in milliseconds; negative if they are ahead.
    """

    correlation: float
    distance_nepers: float
    lag_ms: float


def match_of(recording: NDArray[np.float32], made: NDArray[np.float32], rate: int) -> Match:
    """Compare audio with the recording that it should reproduce.

    Args:
        recording: Float32 [samples], at least half a second.
        made: Float32 [samples], as long as `recording`.
        rate: Sample rate of both, in Hz.
    """
    size = 2 ** round(np.log2(0.046 * rate))
    top_hz = min(rate / 2.0, _TOP_HZ)
    neutral = MelConvention(
        id="neutral",
        sample_rate=rate,
        n_fft=size,
        win_length=size,
        hop_length=size // 4,
        n_mels=80 if rate >= 16000 else 40,
        f_min_hz=0.0,
        f_max_hz=top_hz,
        framing="hop-aligned",
        mel_scale="slaney",
        mel_norm="slaney",
        compression="ln",
        floor=1e-5,
    )
    own, other = (mel_spectrogram(audio, rate, neutral).values for audio in (recording, made))
    brief = 2 * round(0.006 * rate)
    quick = msgspec.structs.replace(
        neutral,
        n_fft=brief,
        win_length=brief,
        hop_length=max(1, round(0.001 * rate)),
        n_mels=20,
        f_min_hz=100.0,
        framing="centered",
    )
    envelopes = [mel_spectrogram(audio, rate, quick).values for audio in (recording, made)]
    lag_ms = _lag_frames(*envelopes) * 1000.0 * quick.hop_length / rate
    return Match(_correlation(own, other), float(np.abs(other - own).mean()), lag_ms)


def _correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    centered = [values.astype(np.float64) - values.mean(dtype=np.float64) for values in (a, b)]
    norms = [float(np.sqrt(np.sum(values**2))) for values in centered]
    return float(np.sum(centered[0] * centered[1])) / (norms[0] * norms[1]) if min(norms) > 0 else 0.0


def _lag_frames(own: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Frames by which the bands of the second mel follow those of the first, by their correlation."""
    reach = min(_LARGEST_LAG_FRAMES, own.shape[1] // 4)
    a, b = (_standardized(values) for values in (own, other))
    middle = a[:, reach : a.shape[1] - reach]
    places = range(2 * reach + 1)
    products = [float(np.mean(middle * b[:, at : at + middle.shape[1]])) for at in places]
    peak: int = int(np.argmax(products))
    if not 0 < peak < 2 * reach:
        return float(peak - reach)
    before, at, after = products[peak - 1 : peak + 2]
    # The vertex of the parabola through the largest product and its neighbors.
    curvature = before - 2.0 * at + after
    vertex: float = 0.5 * (before - after) / curvature if curvature else 0.0
    return float(peak - reach) + vertex


def _standardized(values: NDArray[np.float32]) -> NDArray[np.float64]:
    centered = values.astype(np.float64) - values.mean(axis=1, keepdims=True, dtype=np.float64)
    standardized: NDArray[np.float64] = centered / np.maximum(centered.std(axis=1, keepdims=True), 1e-6)
    return standardized
