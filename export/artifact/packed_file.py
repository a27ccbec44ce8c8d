"""The packed form of an artifact: a tar archive in one Zstandard frame, of which every byte follows from the artifact.

The archive holds manifest.json, then model.sig if the artifact is signed, then the listed files by path. Each header
follows from the path and size of its file alone, so a reader that knows the manifest knows which header must come next,
and compares bytes. Links, devices and other entries cannot occur: there is no header that would be read for one.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from voirs_vocoder.runtime.errors import ArtifactError, InputError
from voirs_vocoder.runtime.files import open_regular
from voirs_vocoder.runtime.optional import import_optional

__all__ = ["ARCHIVE_END", "PackedReader", "compressed", "entry_header", "padding", "reading_packed"]

ARCHIVE_END = bytes(1024)
"""What an archive ends with: two empty blocks."""

_BLOCK_BYTES = 512
_LEVEL = 9
# Also the memory that reading needs; a frame that asks for more is refused.
_WINDOW_LOG = 23
_LONGEST_NAME = 100
# Above it a size does not fit its eleven octal digits.
_LARGEST_SIZE = (1 << 33) - 1
_PIECE_BYTES = 1 << 17
_LONGEST_FRAME_HEADER, _BLOCK_HEADER_BYTES, _CHECKSUM_BYTES = 18, 3, 4
# Kind of a block that holds one byte, however often it is repeated.
_REPEATED_BYTE = 1
_FILE, _EXTENDED = b"0", b"x"
_REMEDY = "get the file again, or pack the artifact again"


def entry_header(path: str, size_bytes: int) -> bytes:
    """Bytes before the content of a file: its header, after one of POSIX.1-2001 for a long or non-ASCII path.

    Args:
        path: Path in the artifact.
        size_bytes: Length of the file.
    """
    plain = path.encode()
    records = []
    if len(plain) > _LONGEST_NAME or not path.isascii():
        records.append(_record("path", path))
        plain = hashlib.sha256(plain).hexdigest().encode()
    if size_bytes > _LARGEST_SIZE:
        records.append(_record("size", str(size_bytes)))
        size_bytes = 0
    header = _header(plain, size_bytes, _FILE)
    if not records:
        return header
    extended = b"".join(records)
    return _header(b"PaxHeader", len(extended), _EXTENDED) + extended + padding(len(extended)) + header


def padding(size_bytes: int) -> bytes:
    """Zeros that follow a content up to the next whole block.

    Args:
        size_bytes: Length of the content.
    """
    return bytes(-size_bytes % _BLOCK_BYTES)


@contextmanager
def compressed(file: BinaryIO) -> Iterator[BinaryIO]:
    """Compress on one thread, with settings that never change.

    Args:
        file: Receives the frame.

    Yields:
        Stream to write the archive to.

    Raises:
        InputError: `zstandard` is not installed.
    """
    library = _library()
    settings = library.ZstdCompressionParameters.from_level(
        _LEVEL, window_log=_WINDOW_LOG, write_checksum=1, threads=0
    )
    compressor = library.ZstdCompressor(compression_params=settings)
    with compressor.stream_writer(file, closefd=False) as stream:
        yield stream


@contextmanager
def reading_packed(path: Path) -> Iterator[PackedReader]:
    """Open a packed artifact.

    Args:
        path: Path of the file.

    Yields:
        Reader at the beginning of the archive.

    Raises:
        InputError: The file cannot be read, or `zstandard` is not installed.
    """
    with open_regular(path) as file:
        yield PackedReader(file, os.fstat(file.fileno()).st_size, str(path))


class PackedReader:
    """Reads an archive from beginning to end, in bounded memory."""

    def __init__(self, file: BinaryIO, size_bytes: int, where: str) -> None:
        """Begin.

        Args:
            file: Packed file at its beginning.
            size_bytes: Length of the file.
            where: Name of the file in errors.
        """
        library = _library()
        self._error: type[Exception] = library.ZstdError
        self._file, self._size_bytes, self._where = file, size_bytes, where
        decompressor = library.ZstdDecompressor(max_window_size=1 << _WINDOW_LOG)
        self._stream = decompressor.stream_reader(file, closefd=False)

    def block(self) -> bytes:
        """The next block, which may be a header.

        Raises:
            ArtifactError: The file is damaged or ends before it.
        """
        return self._read(_BLOCK_BYTES)

    def rest_of_header(self, path: str, size_bytes: int, begun: bytes) -> None:
        """Read what is left of a file's header, and check all of it.

        Args:
            path: Path of the file that must come next.
            size_bytes: Length of that file.
            begun: What has been read of the header.

        Raises:
            ArtifactError: The header is another one, or the file is damaged or ends before it.
        """
        wanted = entry_header(path, size_bytes)
        if begun + self._read(len(wanted) - len(begun)) != wanted:
            raise self.problem(f"{path!r} with {size_bytes} bytes must come next, and something else does")

    def content(self, size_bytes: int) -> Iterator[bytes]:
        """Content of a file, piece by piece, and the zeros behind it.

        Args:
            size_bytes: Length of the file.

        Yields:
            Pieces of the content.

        Raises:
            ArtifactError: The file is damaged or ends before it.
        """
        left_bytes = size_bytes
        while left_bytes:
            piece = self._read(min(left_bytes, _PIECE_BYTES))
            left_bytes -= len(piece)
            yield piece
        if any(self._read(len(padding(size_bytes)))):
            raise self.problem("only zeros may stand between two files")

    def finish(self, begun: bytes = b"") -> None:
        """Check that the archive and the file end here.

        Args:
            begun: What has been read of the archive's end.

        Raises:
            ArtifactError: There is more, or the end is cut off or damaged.
        """
        if begun + self._read(len(ARCHIVE_END) - len(begun)) != ARCHIVE_END or self._some(1):
            raise self.problem("there must be nothing behind the last file of the manifest")
        # The decompressor has no word for a frame whose last bytes are missing.
        if self._frame_end() != self._size_bytes:
            raise self.problem("the file is cut off, or there is something behind the archive")

    def problem(self, text: str) -> ArtifactError:
        """The error for a file that is not as `pack` writes it.

        Args:
            text: What is wrong.
        """
        return ArtifactError(f"{self._where}: not a packed artifact: {text}; {_REMEDY}")

    def _frame_end(self) -> int:
        """Place behind the first frame of the file, from the sizes of its blocks (RFC 8878, section 3.1.1)."""
        library = _library()
        self._file.seek(0)
        beginning = self._file.read(_LONGEST_FRAME_HEADER)
        place: int = library.frame_header_size(beginning)
        while True:
            self._file.seek(place)
            header = int.from_bytes(self._file.read(_BLOCK_HEADER_BYTES), "little")
            is_last, kind, size_bytes = header & 1, header >> 1 & 3, header >> 3
            place += _BLOCK_HEADER_BYTES + (1 if kind == _REPEATED_BYTE else size_bytes)
            if is_last or place >= self._size_bytes:
                break
        has_checksum: bool = library.get_frame_parameters(beginning).has_checksum
        return place + (_CHECKSUM_BYTES if has_checksum else 0)

    def _read(self, size_bytes: int) -> bytes:
        data = self._some(size_bytes)
        while len(data) < size_bytes:
            more = self._some(size_bytes - len(data))
            if not more:
                raise self.problem("the file is cut off")
            data += more
        return data

    def _some(self, size_bytes: int) -> bytes:
        try:
            data: bytes = self._stream.read(size_bytes)
        except self._error as error:
            raise self.problem(f"damaged, or no Zstandard file of ours ({error})") from error
        except OSError as error:
            raise InputError(f"{self._where}: cannot be read: {error.strerror}; check the file") from error
        return data


def _library() -> Any:
    return import_optional(
        "zstandard", purpose="packing and unpacking artifacts", extra="pack", error=InputError
    )


def _record(key: str, value: str) -> bytes:
    """Record of an extended header; it begins with its own length in digits."""
    content = f" {key}={value}\n".encode()
    length = len(content)
    while length != len(content) + len(str(length)):
        length = len(content) + len(str(length))
    return b"%d%s" % (length, content)


def _header(name: bytes, size_bytes: int, kind: bytes) -> bytes:
    """Header of POSIX.1-1988 (ustar): no owner, no date, mode 644."""
    before = b"%s0000644\0%s%s%011o\0%011o\0" % (
        name.ljust(_LONGEST_NAME, b"\0"),
        b"0000000\0",
        b"0000000\0",
        size_bytes,
        0,
    )
    after = kind.ljust(1 + _LONGEST_NAME, b"\0") + b"ustar\00000".ljust(8 + 64, b"\0") + b"0000000\0" * 2
    checksum = sum(before) + sum(b" " * 8) + sum(after)
    return (before + b"%06o\0 " % checksum + after).ljust(_BLOCK_BYTES, b"\0")
