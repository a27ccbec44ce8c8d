"""Reading of recordings, whole or in blocks, from untrusted files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from voirs_vocoder.runtime.audio.buffer import AudioBuffer, check_format
from voirs_vocoder.runtime.audio.decoder_av import AV_ENDINGS, AvSoundFile
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.files import require_file

__all__ = ["AudioInfo", "SequentialSoundFile", "audio_blocks", "audio_info", "read_audio"]

_MAX_VALUES = 2**28  # 1 GiB of float32: 3.4 hours of mono at 22,050 Hz
_BLOCK_SAMPLES = 1 << 16
_UNKNOWN_LENGTH = 2**63 - 1  # libsndfile's SF_COUNT_MAX, for streamed FLAC


@dataclass(frozen=True)
class AudioInfo:
    """Size of a recording, found by decoding it.

    Attributes:
        sample_rate: Sample rate in Hz.
        channels: Number of channels.
        samples: Number of samples per channel, counted and not taken from the header.
    """

    sample_rate: int
    channels: int
    samples: int


class SequentialSoundFile(soundfile.SoundFile):  # type: ignore[misc]  # soundfile is not checked
    """A sound file without seeking.

    soundfile otherwise seeks after every read and write to keep its position, which fails at the end of a FLAC stream
    of unknown length, and costs time.
    """

    def seekable(self) -> bool:
        """Whether soundfile may seek in the file: never."""
        return False


def read_audio(path: Path | str) -> AudioBuffer:
    """Read a recording: WAV, FLAC, OGG, Opus, MP3 or another format of libsndfile, or AAC in MP4 (extra `codecs`).

    Args:
        path: Path of a regular file.

    Returns:
        The whole recording, not clipped.

    Raises:
        InputError: The file is missing, empty, not audio, damaged, without samples, holds NaN or infinity, has a
            number of channels or a sample rate out of range, or is longer than 2^28 samples over all channels.
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
    """Decode a recording from beginning to end to find its size.

    Raises:
        InputError: The file is missing, empty, not audio, damaged, without samples, holds NaN or infinity, or has a
            number of channels or a sample rate out of range.
    """
    path = Path(path)
    samples = sum(block.shape[1] for block in audio_blocks(path))
    with _open_audio(path) as sound:
        return AudioInfo(sound.samplerate, sound.channels, samples)


def audio_blocks(path: Path | str) -> Iterator[NDArray[np.float32]]:
    """Decode a recording in blocks.

    An MP3 file may hold fewer samples than its header estimates; a file of another format is then refused as damaged.

    Yields:
        Consecutive float32 [channels, samples], at least one sample each.

    Raises:
        InputError: The file is missing, empty, not audio, damaged, without samples, holds NaN or infinity, or has a
            number of channels or a sample rate out of range.
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
                    f"{path}: audio must be finite, sample {sample} is NaN or infinite; fix the file"
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


def _open_audio(path: Path) -> SequentialSoundFile | AvSoundFile:
    require_file(path)
    if path.suffix.lower() in (".raw", ".pcm"):
        raise InputError(f"{path}: raw PCM declares no rate or channels; wrap it in a .wav file")
    in_mp4 = path.suffix.lower() in AV_ENDINGS
    try:
        # The path as bytes, since soundfile cannot encode names that are not UTF-8.
        sound = AvSoundFile(path) if in_mp4 else SequentialSoundFile(os.fsencode(path))
    except (soundfile.LibsndfileError, TypeError) as error:
        raise InputError(
            f"{path}: not audio that libsndfile reads ({error}); give WAV, FLAC, OGG or MP3"
        ) from error
    try:
        check_format(sound.channels, sound.samplerate, str(path))
    except InputError:
        sound.close()
        raise
    return sound
