"""Removes the constant noise that a flow adds to its audio: the spectrum of its silence, subtracted frame by frame.

After `Denoiser` of github.com/NVIDIA/waveglow at 8afb643: with an STFT of 1024 samples and a hop of 256, the magnitudes
of the first frame of the audio that the model makes from a mel of zeros without noise, times a strength, are
subtracted; phases stay. The result does not depend on how the audio is split.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.dsp import hann_window

__all__ = ["DENOISER_DELAY_SAMPLES", "SILENT_FRAMES", "Denoiser", "bias_spectrum", "denoised"]

SILENT_FRAMES = 88
"""Number of mel frames of zeros that the bias is measured on, as in the official code."""

_N_FFT = 1024
_HOP = 256
_PADDING = _N_FFT // 2
DENOISER_DELAY_SAMPLES = _N_FFT - 1
"""Largest delay in samples: the last sample of a frame waits for no other, its first for all."""
_WINDOW = hann_window(_N_FFT, _N_FFT)
_SMALLEST_WEIGHT = 1e-8


def bias_spectrum(silence: NDArray[np.float32]) -> NDArray[np.float64]:
    """Magnitudes of the first frame, centered on the first sample.

    Args:
        silence: Audio [samples] that the model makes from `SILENT_FRAMES` mel frames of zeros without noise.

    Returns:
        Bias spectrum, float64 [513].
    """
    first = np.pad(silence.astype(np.float64), (_PADDING, 0), mode="reflect")[:_N_FFT]
    return np.abs(np.fft.rfft(first * _WINDOW))


class Denoiser:
    """Subtracts the bias spectrum from one utterance, piece by piece.

    Args:
        bias: Bias spectrum of the model, float64 [513]; see `bias_spectrum`.
        strength: Factor on the bias spectrum; no magnitude falls below zero.
    """

    def __init__(self, bias: NDArray[np.float64], strength: float) -> None:
        """Start at the beginning of an utterance."""
        self._removed = strength * bias
        self._waiting = np.empty(0)
        self._started = False
        self._added: NDArray[np.float64] = np.zeros((2, _N_FFT - _HOP))
        self._to_skip = _PADDING

    def push(self, audio: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take the next samples.

        Args:
            audio: Next samples, float32 [samples]; all pieces together are a multiple of 256 samples.

        Returns:
            Finished audio, float32 [samples], at most `DENOISER_DELAY_SAMPLES` behind the input.
        """
        return self._advanced(audio.astype(np.float64), at_end=False)

    def finish(self) -> NDArray[np.float32]:
        """End the utterance and return the rest of its audio."""
        return self._advanced(np.empty(0), at_end=True)

    def _advanced(self, piece: NDArray[np.float64], *, at_end: bool) -> NDArray[np.float32]:
        waiting = np.concatenate((self._waiting, piece))
        if not self._started and (waiting.size > _PADDING or (at_end and waiting.size)):
            waiting = np.pad(waiting, (_PADDING, 0), mode="reflect")
            self._started = True
        if at_end and self._started:
            waiting = np.pad(waiting, (0, _PADDING), mode="reflect")
        self._waiting = waiting
        if not self._started or waiting.size < _N_FFT:
            return np.empty(0, np.float32)
        finished, self._added, frames = _overlap_add(waiting, self._added, self._removed)
        self._waiting = waiting[frames * _HOP :]
        if at_end:
            # Drops the padding at the end as that at the start; half a frame of it has been added up.
            finished = np.concatenate((finished, self._added), axis=1)[
                :, : finished.shape[1] + _PADDING - _HOP
            ]
        audio: NDArray[np.float32] = (finished[0] / np.maximum(finished[1], _SMALLEST_WEIGHT)).astype(
            np.float32
        )
        skipped = min(self._to_skip, audio.size)
        self._to_skip -= skipped
        return audio[skipped:]


def denoised(
    pieces: Iterable[NDArray[np.float32]], bias: NDArray[np.float64], strength: float
) -> Iterator[NDArray[np.float32]]:
    """Subtract the bias spectrum from the audio of an utterance.

    Args:
        pieces: Consecutive audio, [samples] each; together a multiple of 256 samples.
        bias: Bias spectrum of the model, float64 [513].
        strength: Factor on the bias spectrum.

    Yields:
        Consecutive audio, float32 [samples]; together as long as the input.
    """
    denoiser = Denoiser(bias, strength)
    for piece in pieces:
        audio = denoiser.push(piece)
        if audio.size:
            yield audio
    yield denoiser.finish()


def _overlap_add(
    padded: NDArray[np.float64], added: NDArray[np.float64], removed: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """All whole frames of `padded`, made quieter and put together again.

    Args:
        padded: [samples], at least a frame.
        added: [2, 768], what earlier frames left: signal, and the sum of the squared windows.
        removed: [513].

    Returns:
        What is complete, [2, frames * 256], what it leaves, and the number of frames.
    """
    frames = (padded.size - _N_FFT) // _HOP + 1
    view = np.lib.stride_tricks.sliding_window_view(padded, _N_FFT)[::_HOP][:frames]
    spectrum = np.fft.rfft(view * _WINDOW, axis=-1)
    magnitude = np.abs(spectrum)
    # A magnitude of zero has no phase to keep.
    gain = np.maximum(magnitude - removed, 0.0) / np.maximum(magnitude, np.finfo(np.float64).tiny)
    quieter = np.fft.irfft(spectrum * gain, n=_N_FFT, axis=-1) * _WINDOW
    total = np.zeros((2, (frames - 1) * _HOP + _N_FFT))
    total[:, : added.shape[1]] = added
    for frame in range(frames):
        place = slice(frame * _HOP, frame * _HOP + _N_FFT)
        total[0, place] += quieter[frame]
        total[1, place] += _WINDOW**2
    complete = frames * _HOP
    return total[:, :complete], total[:, complete:].copy(), frames
