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
    """What a file says of itself; an empty text says nothing. Raw PCM has no room for it.

    Attributes:
        title: Of the recording.
        artist: Who speaks.
        comment: Free.
        software: What made it.
    """

    title: str = ""
    artist: str = ""
    comment: str = ""
    software: str = ""


class ByteTarget(Protocol):
    """Where bytes go, as soundfile and PyAV ask for it."""

    def write(self, data: bytes) -> int:
        """Take bytes at the position, give their number."""
        ...

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position, give it."""
        ...

    def tell(self) -> int:
        """The position."""
        ...


class Backend(Protocol):
    """What writes one format."""

    def write(self, values: NDArray[np.int32] | NDArray[np.float32]) -> None:
        """Take [channels, samples]: int32 of the sample format's bits, or float32 in [-1, 1]."""
        ...

    def close(self) -> None:
        """Write what is left."""
        ...
