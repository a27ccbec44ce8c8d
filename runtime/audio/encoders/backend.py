"""The contract of an encoder backend: tags and samples in, bytes of one file format out."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["AudioTags", "Backend", "ByteTarget"]


@dataclass(frozen=True)
class AudioTags:
    """Tags of an audio file; an empty text writes no tag. Raw PCM has no tags.

    Attributes:
        title: Title of the recording.
        artist: Name of the speaker or artist.
        comment: Any text.
        software: Name of the program that made the file.
    """

    title: str = ""
    artist: str = ""
    comment: str = ""
    software: str = ""


class ByteTarget(Protocol):
    """Target of encoded bytes: the part of a binary file that soundfile and PyAV need."""

    def write(self, data: bytes) -> int:
        """Write bytes at the position and move it behind them; returns their number."""
        ...

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position in bytes, relative to `whence`; returns the new position from the beginning."""
        ...

    def tell(self) -> int:
        """Position in bytes from the beginning."""
        ...


class Backend(Protocol):
    """Encoder of one output, by one library."""

    def write(self, values: NDArray[np.int32] | NDArray[np.float32]) -> None:
        """Encode the next [channels, samples]: int32 in the range of the sample format, or float32 in [-1, 1]."""
        ...

    def close(self) -> None:
        """Encode the remaining samples and end the output; the target stays open."""
        ...
