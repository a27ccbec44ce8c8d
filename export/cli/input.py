"""What commands read: recordings, mels, and raw PCM from a pipe, such as standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.audio.containers.mpeg import begins_with_frames
from voirs_vocoder.runtime.content import HEAD_BYTES, kind_of
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.mel import AudioMelSource, MelSource, NpyMelSource
from voirs_vocoder.runtime.mel.convention import MelConvention

__all__ = ["mel_source", "pcm_blocks", "standard_input"]

_BYTES_PER_SAMPLE = 2
_LARGEST_FRAMES_BYTES = 4096  # two MPEG frames


def mel_source(path: Path, convention: MelConvention) -> MelSource:
    """The mel in a .npy file, or that of a recording, by position.

    A mel is known by the ending of its file's name, a recording by its content.

    Args:
        path: Path of the file.
        convention: Convention of the mel.

    Raises:
        InputError: The file cannot be used.
    """
    if path.suffix.lower() == ".npy":
        return NpyMelSource(path, convention)
    return AudioMelSource(path, convention)


def standard_input() -> BinaryIO:
    """Standard input.

    Raises:
        InputError: It is closed.
    """
    if sys.stdin is None:
        raise InputError("standard input is closed, so - cannot be read; give the path of a file")
    return sys.stdin.buffer


def pcm_blocks(pipe: BinaryIO, block_samples: int) -> Iterator[NDArray[np.float32]]:
    """Raw mono PCM, 16-bit little-endian, as it comes.

    Args:
        pipe: Such as standard input, unbuffered or not.
        block_samples: Most samples of a block; fewer are passed on as soon as the pipe has nothing more for now.

    Yields:
        Float32 [samples] in [-1, 1).

    Raises:
        InputError: The pipe ends within a sample, or a file of another kind comes through it.
    """
    # read1 returns what is there instead of waiting for all of it.
    read = getattr(pipe, "read1", pipe.read)
    head = rest = b""
    while True:
        data = read(block_samples * _BYTES_PER_SAMPLE)
        if not data:
            break
        if len(head) < HEAD_BYTES:
            head = (head + data)[:_LARGEST_FRAMES_BYTES]
            _require_raw(head)
        data = rest + data
        whole = len(data) - len(data) % _BYTES_PER_SAMPLE
        rest = data[whole:]
        if whole:
            yield np.frombuffer(data[:whole], "<i2").astype(np.float32) / np.float32(32768.0)
    if rest:
        raise InputError(
            f"raw PCM must be 16-bit samples, the input ended within one ({len(rest)} byte left); check its format"
        )


def _require_raw(head: bytes) -> None:
    """Refuse the beginning of a file that is not raw PCM, which would sound as noise."""
    kind = kind_of(head) or ("an MP3 file" if begins_with_frames(head) else None)
    if kind is not None:
        raise InputError(
            f"standard input must be raw PCM, 16-bit little-endian mono, got {kind}; give its path instead of -"
        )
