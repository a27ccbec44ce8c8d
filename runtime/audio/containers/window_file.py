"""A part of a file as a file of its own, some of whose bytes are replaced."""

from __future__ import annotations

import io
from collections.abc import Mapping

__all__ = ["WindowFile"]

_TAIL_BYTES = 128  # an ID3v1 tag, which MP3 decoders look for at the end


class WindowFile(io.RawIOBase):
    """Bytes `start` to `stop` of another file, for a decoder that would misread the whole."""

    def __init__(
        self,
        file: io.BufferedReader,
        start: int,
        stop: int,
        replaced: Mapping[int, bytes],
        stated_bytes: int | None = None,
    ) -> None:
        """Open the window at its beginning.

        Args:
            file: File that the bytes come from; it stays open.
            start: Position of the first byte in the file.
            stop: Position after the last byte in the file.
            replaced: Position in the window to the bytes that are read there instead of the file's.
            stated_bytes: Size in bytes that the decoder learns, at least that of the window; None states the true size.
        """
        self._file = file
        self._start = start
        self._size = stop - start
        self._replaced = replaced
        self._stated = self._size if stated_bytes is None else stated_bytes
        self._position = 0

    def readable(self) -> bool:
        """Whether the window can be read: always."""
        return True

    def seekable(self) -> bool:
        """Whether the window has positions: always."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position; `io.SEEK_END` counts from the stated size."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._stated}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """Position in the window."""
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # any writable buffer
        """Fill a buffer from the position; returns how many bytes, 0 behind the end."""
        count = min(len(buffer), self._size - self._position)
        if count <= 0:
            return self._blank_tail(buffer)
        self._file.seek(self._start + self._position)
        data = bytearray(self._file.read(count))
        for place, replacement in self._replaced.items():
            for index, byte in enumerate(replacement, place - self._position):
                if 0 <= index < len(data):
                    data[index] = byte
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _blank_tail(self, buffer: memoryview) -> int:
        # Where the stated size exceeds the true one, a decoder that looks for a tag at the end finds none.
        if self._stated == self._size or self._position != self._stated - _TAIL_BYTES:
            return 0
        count = min(len(buffer), _TAIL_BYTES)
        buffer[:count] = bytes(count)
        self._position += count
        return count
