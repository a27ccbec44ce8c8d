"""What commands read: recordings, mels, and raw PCM from a pipe."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.mel import AudioMelSource, MelSource, NpyMelSource
from voirs_vocoder.runtime.mel.convention import MelConvention

__all__ = ["mel_source", "pcm_blocks"]

_BYTES_PER_SAMPLE = 2


def mel_source(path: Path, convention: MelConvention) -> MelSource:
    """The mel in a .npy file, or that of a recording, by position.

    Raises:
        InputError: The file cannot be used.
    """
    if path.suffix.lower() == ".npy":
        return NpyMelSource(path, convention)
    return AudioMelSource(path, convention)


def pcm_blocks(pipe: BinaryIO, block_samples: int) -> Iterator[NDArray[np.float32]]:
    """Raw mono PCM, 16-bit little-endian, as it comes.

    Args:
        pipe: Such as standard input, unbuffered or not.
        block_samples: Most samples of a block; fewer are passed on as soon as the pipe has nothing more for now.

    Yields:
        Float32 [samples] in [-1, 1).

    Raises:
        InputError: The pipe ends within a sample.
    """
    # read1 returns what is there instead of waiting for all of it.
    read = getattr(pipe, "read1", pipe.read)
    rest = b""
    while True:
        data = read(block_samples * _BYTES_PER_SAMPLE)
        if not data:
            break
        data = rest + data
        whole = len(data) - len(data) % _BYTES_PER_SAMPLE
        rest = data[whole:]
        if whole:
            yield np.frombuffer(data[:whole], "<i2").astype(np.float32) / np.float32(32768.0)
    if rest:
        raise InputError(
            f"raw PCM must be 16-bit samples, the input ended within one ({len(rest)} byte left); check its format"
        )
