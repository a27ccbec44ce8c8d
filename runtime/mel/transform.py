"""Mel frames from audio, block by block, so that a whole recording and a stream share one computation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.audio import AudioBuffer, array_blocks, mono, resampled_blocks
from voirs_vocoder.runtime.dsp import frame_power, hann_window
from voirs_vocoder.runtime.errors import InputError, TooShortError
from voirs_vocoder.runtime.mel.compression import compressed
from voirs_vocoder.runtime.mel.convention import MelConvention, get_convention
from voirs_vocoder.runtime.mel.filters import mel_filters
from voirs_vocoder.runtime.mel.values import MelSpectrogram

__all__ = ["frame_count", "mel_blocks", "mel_padding", "mel_spectrogram", "mel_window"]


def mel_spectrogram(
    audio: NDArray[np.float32], sample_rate: int, convention: str | MelConvention = "hifigan-22k"
) -> MelSpectrogram:
    """Compute the mel spectrogram of a recording.

    Args:
        audio: Float32 [samples] or [channels, samples], nominally in [-1, 1]; channels are averaged.
        sample_rate: Sample rate of the audio in Hz; audio at a rate other than the convention's is resampled by soxr.
        convention: Name of a published convention, or its parameters.

    Returns:
        Values [n_mels, frames]: samples / hop_length frames, one more where the framing is `centered`; without padding
        (samples - n_fft) / hop_length + 1.

    Raises:
        InputError: The audio is not finite, not float32, of another shape or too short, or the convention is unknown.
    """
    chosen = get_convention(convention) if isinstance(convention, str) else convention
    buffer = AudioBuffer(np.atleast_2d(audio), sample_rate)
    if not np.isfinite(buffer.samples).all():
        raise InputError("audio must be finite, got NaN or infinity; fix the recording")
    blocks = resampled_blocks(map(mono, array_blocks(buffer.samples)), sample_rate, chosen.sample_rate)
    return MelSpectrogram(np.concatenate(list(mel_blocks(blocks, chosen)), axis=1), chosen)


def mel_padding(convention: MelConvention) -> int:
    """Samples that frame 0 reaches before the recording: length of the padding at both ends."""
    if convention.padding == "none":
        return 0
    hop_aligned = convention.framing == "hop-aligned"
    return (convention.n_fft - (convention.hop_length if hop_aligned else 0)) // 2


def mel_window(convention: MelConvention) -> NDArray[np.float64]:
    """The Hann window of a convention, centered between zeros: float64 [n_fft]."""
    return hann_window(convention.win_length, convention.n_fft, symmetric=convention.window_symmetric)


def frame_count(samples: int, convention: MelConvention) -> int:
    """Number of mel frames for a number of samples at the convention's sample rate.

    Raises:
        TooShortError: The samples are too few for the reflect padding, or for one frame.
    """
    padding = mel_padding(convention)
    inside = convention.n_fft - 2 * padding
    smallest = max(padding + 1 if convention.padding == "reflect" else 1, inside)
    if samples < smallest:
        raise TooShortError(
            f"audio must have at least {smallest} samples at {convention.sample_rate} Hz for convention "
            f"{convention.id!r}, got {samples}; give more audio"
        )
    return (samples - inside) // convention.hop_length + 1


def mel_blocks(
    samples: Iterable[NDArray[np.float32]], convention: MelConvention
) -> Iterator[NDArray[np.float32]]:
    """Mel frames of audio that arrives in blocks.

    Args:
        samples: Consecutive mono blocks [samples] of any length, at the convention's sample rate.
        convention: Convention of the mel.

    Yields:
        Consecutive frames, float32 [n_mels, frames], at least one each and `frame_count` in all. Their values do not
        depend on the blocks.

    Raises:
        InputError: The samples are too few for the reflect padding, or for one frame.
    """
    window = mel_window(convention)
    hop_length = convention.hop_length
    pending = np.empty(0, np.float32)
    padded = _reflect_padded if convention.padding == "reflect" else _zero_padded
    for block in padded(samples, convention):
        pending = np.concatenate((pending, block))
        frames = (len(pending) - convention.n_fft) // hop_length + 1
        if frames < 1:
            continue
        power = frame_power(pending[: (frames - 1) * hop_length + convention.n_fft], window, hop_length)
        yield _mel_from_power(power, window, convention)
        pending = pending[frames * hop_length :]


def _reflect_padded(
    blocks: Iterable[NDArray[np.float32]], convention: MelConvention
) -> Iterator[NDArray[np.float32]]:
    padding = mel_padding(convention)
    total = 0
    tail = np.empty(0, np.float32)
    started = False
    for block in blocks:
        total += len(block)
        recent = np.concatenate((tail, block))
        tail = recent[max(0, len(recent) - padding - 1) :]
        if started:
            yield block
        elif total > padding:
            # Until here `tail` has dropped nothing, so `recent` is everything so far.
            started = True
            yield np.concatenate((recent[padding:0:-1], recent))
    frame_count(total, convention)
    yield tail[-2 : -padding - 2 : -1]


def _zero_padded(
    blocks: Iterable[NDArray[np.float32]], convention: MelConvention
) -> Iterator[NDArray[np.float32]]:
    """The blocks between zeros, of which there are none without padding."""
    zeros = np.zeros(mel_padding(convention), np.float32)
    total = 0
    yield zeros
    for block in blocks:
        total += len(block)
        yield block
    frame_count(total, convention)
    yield zeros


def _mel_from_power(
    power: NDArray[np.float64], window: NDArray[np.float64], convention: MelConvention
) -> NDArray[np.float32]:
    spectrum = power + convention.magnitude_epsilon
    if convention.window_energy_normalized:
        spectrum /= np.sum(window**2)
    if convention.spectrum == "magnitude":
        spectrum = np.sqrt(spectrum)
    return compressed(mel_filters(convention) @ spectrum.T, convention).astype(np.float32)
