"""Recordings: read whole or in blocks, from files that nobody vouches for, and changed in rate."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.input_file import require_file

__all__ = [
    "AUDIO_ENDINGS",
    "AudioBuffer",
    "AudioInfo",
    "SequentialSoundFile",
    "array_blocks",
    "audio_blocks",
    "audio_info",
    "mono",
    "read_audio",
    "resample",
    "resampled_blocks",
    "resampled_length",
]

AUDIO_ENDINGS = (".wav", ".flac", ".ogg", ".mp3")
"""Of the files in a folder that are taken for recordings."""

_MAX_CHANNELS = 64
_SAMPLE_RATES = range(1_000, 768_001)
_MAX_VALUES = 2**28  # 1 GiB of float32: 3.4 hours of mono at 22,050 Hz
_BLOCK_SAMPLES = 1 << 16
_UNKNOWN_LENGTH = 2**63 - 1  # libsndfile's SF_COUNT_MAX, for streamed FLAC


@dataclass(frozen=True, eq=False)
class AudioBuffer:
    """Audio in memory.

    Attributes:
        samples: Float32 [channels, samples], nominally in [-1, 1] and not clipped.
        sample_rate: In Hz.

    Raises:
        InputError: The samples have another type or shape, or channels or rate are beyond reason.
    """

    samples: NDArray[np.float32]
    sample_rate: int

    def __post_init__(self) -> None:
        """Check type, shape and rate."""
        kind = getattr(self.samples, "dtype", type(self.samples).__name__)
        if kind != np.float32:
            raise InputError(f"audio must be a float32 array, got {kind}; convert with .astype(np.float32)")
        if self.samples.ndim != 2:
            raise InputError(f"audio must be [channels, samples], got shape {self.samples.shape}; reshape it")
        _check_format(self.channels, self.sample_rate, "audio")

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(self.samples.shape[0])

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return float(self.samples.shape[1]) / self.sample_rate


@dataclass(frozen=True)
class AudioInfo:
    """What decoding a file showed.

    Attributes:
        sample_rate: In Hz.
        channels: Number of channels.
        samples: Per channel, counted rather than taken from the header.
    """

    sample_rate: int
    channels: int
    samples: int


class SequentialSoundFile(soundfile.SoundFile):  # type: ignore[misc]  # soundfile is not checked
    """A sound file that is never sought in.

    soundfile otherwise seeks after every read and write to keep its position, which fails at the end of a FLAC stream
    of unknown length, and costs time.
    """

    def seekable(self) -> bool:
        """Never, whatever the file could do."""
        return False


def read_audio(path: Path | str) -> AudioBuffer:
    """Read a recording: WAV, FLAC, OGG, MP3 or what else libsndfile knows.

    Args:
        path: A regular file.

    Raises:
        InputError: The file is missing, empty, not audio, damaged, without samples, holds NaN or infinity, declares
            channels or a rate beyond reason, or is too long to hold in memory.
    """
    path = Path(path)
    values = 0
    blocks = []
    for block in audio_blocks(path):
        values += block.size
        if values > _MAX_VALUES:
            raise InputError(
                f"{path}: longer than {_MAX_VALUES} samples over all channels; split the recording"
            )
        blocks.append(block)
    with _open_audio(path) as sound:
        return AudioBuffer(np.concatenate(blocks, axis=1), sound.samplerate)


def audio_info(path: Path | str) -> AudioInfo:
    """Decode a recording from beginning to end, keeping only its size.

    Raises:
        InputError: As `read_audio`, but for the length.
    """
    path = Path(path)
    samples = sum(block.shape[1] for block in audio_blocks(path))
    with _open_audio(path) as sound:
        return AudioInfo(sound.samplerate, sound.channels, samples)


def audio_blocks(path: Path | str) -> Iterator[NDArray[np.float32]]:
    """Decode a recording in blocks.

    An MP3 file may hold fewer samples than its header estimates; any other that does is damaged.

    Yields:
        Float32 [channels, samples], at least one sample each.

    Raises:
        InputError: As `read_audio`, but for the length.
    """
    path = Path(path)
    position = 0
    with _open_audio(path) as sound:
        while True:
            try:
                block = sound.read(_BLOCK_SAMPLES, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                raise InputError(
                    f"{path}: damaged after sample {position} ({error}); replace the file"
                ) from error
            if len(block) == 0:
                break
            bad = ~np.isfinite(block).all(axis=1)
            if bad.any():
                sample = position + int(np.argmax(bad))
                raise InputError(
                    f"{path}: audio must be finite, sample {sample} is NaN or infinite; mend the file"
                )
            position += len(block)
            yield np.ascontiguousarray(block.T)
        declared = sound.frames
        if position == 0:
            raise InputError(f"{path}: the recording has no samples; give one with audio")
        if position < declared != _UNKNOWN_LENGTH and sound.format != "MP3":
            raise InputError(
                f"{path}: the header declares {declared} samples, {position} could be read; replace the file"
            )


def array_blocks(samples: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Cut [channels, samples] into views of bounded length."""
    for start in range(0, samples.shape[1], _BLOCK_SAMPLES):
        yield samples[:, start : start + _BLOCK_SAMPLES]


def mono(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of the channels: [channels, samples] -> [samples]."""
    mean: NDArray[np.float32] = samples.mean(axis=0, dtype=np.float32)
    return mean


def resampled_blocks(
    blocks: Iterable[NDArray[np.float32]], from_rate: int, to_rate: int
) -> Iterator[NDArray[np.float32]]:
    """Change the rate of mono audio that arrives in blocks (soxr, VHQ).

    Args:
        blocks: Consecutive [samples] of any length.
        from_rate: Their rate in Hz.
        to_rate: The rate wanted, in Hz.

    Yields:
        Consecutive [samples], together `resampled_length` of them, the same for any blocks.
    """
    if from_rate == to_rate:
        yield from blocks
        return
    stream = soxr.ResampleStream(from_rate, to_rate, 1, dtype="float32", quality="VHQ")
    for block in blocks:
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.empty(0, np.float32), last=True)


def resampled_length(samples: int, from_rate: int, to_rate: int) -> int:
    """How many samples `resampled_blocks` gives: rounded to nearest, halves up, as soxr does."""
    return (2 * samples * to_rate + from_rate) // (2 * from_rate)


def resample(samples: NDArray[np.float32], from_rate: int, to_rate: int) -> NDArray[np.float32]:
    """Change the rate of mono audio [samples] in memory."""
    blocks = (block[0] for block in array_blocks(samples[np.newaxis]))
    return np.concatenate([np.empty(0, np.float32), *resampled_blocks(blocks, from_rate, to_rate)])


def _open_audio(path: Path) -> SequentialSoundFile:
    require_file(path)
    if path.suffix.lower() in (".raw", ".pcm"):
        raise InputError(f"{path}: raw PCM declares no rate or channels; wrap it in a .wav file")
    try:
        # As bytes, since soundfile cannot encode names that are not UTF-8.
        sound = SequentialSoundFile(os.fsencode(path))
    except (soundfile.LibsndfileError, TypeError) as error:
        raise InputError(
            f"{path}: not audio that libsndfile reads ({error}); give WAV, FLAC, OGG or MP3"
        ) from error
    try:
        _check_format(sound.channels, sound.samplerate, str(path))
    except InputError:
        sound.close()
        raise
    return sound


def _check_format(channels: int, sample_rate: int, where: str) -> None:
    if not 1 <= channels <= _MAX_CHANNELS:
        raise InputError(
            f"{where}: audio must have 1 to {_MAX_CHANNELS} channels, got {channels}; mix it down"
        )
    if sample_rate not in _SAMPLE_RATES:
        low, high = _SAMPLE_RATES[0], _SAMPLE_RATES[-1]
        raise InputError(
            f"{where}: the rate must be {low} to {high} Hz, got {sample_rate}; resample the audio"
        )
