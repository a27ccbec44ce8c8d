"""What is known of a recording's file before it is decoded."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass

__all__ = ["Container", "size_of"]


@dataclass(frozen=True)
class Container:
    """A recording's file, examined.

    Attributes:
        file: File to decode, at its beginning.
        cut: Reason why the file is known to end too early; None where nothing shows it.
        channel_mask: Speakers of the channels as WAV states them, bit 0 being the left front; 0 where it states none.
    """

    file: io.BufferedReader | io.RawIOBase
    cut: str | None = None
    channel_mask: int = 0

    def read_to_end(self) -> bool:
        """Whether the decoder has read the file to its end; never of a `WindowFile`."""
        if not isinstance(self.file, io.BufferedReader):
            return False
        descriptor = self.file.fileno()
        return os.lseek(descriptor, 0, os.SEEK_CUR) >= os.fstat(descriptor).st_size


def size_of(file: io.BufferedReader) -> int:
    """Size of a file in bytes; the position moves to its end."""
    return file.seek(0, io.SEEK_END)
