"""Containers of chunks: where the samples are, how many bytes are declared, and whether that many are there.

WAV (RIFF, RIFX, RF64), AIFF, Wave64, CAF and AU. Headers of live streams declare a length that is unknown, 0 or
impossibly large; the samples then extend to the end of the file.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from voirs_vocoder.runtime.audio.containers.container import Container, size_of
from voirs_vocoder.runtime.audio.containers.window_file import WindowFile

__all__ = ["chunked_container"]

# Sizes from here on mean that the writer of a 32-bit header did not know the size: 0x7FFFF000, 0x80000000, 0xFFFFFFFF.
_UNKNOWN_32 = 0x7FFF0000
_MOST_CHUNKS = 10_000
_EXTENSIBLE = 0xFFFE


@dataclass(frozen=True)
class _Layout:
    """How the chunks of a container are laid out.

    Attributes:
        first: Position of the first chunk, counted from the beginning of the container.
        header: Identifier and size of a chunk.
        samples: Identifier of the chunk with the samples.
        inclusive: Whether the size of a chunk counts its header.
        alignment: Chunks begin at multiples of this many bytes.
        total: Position of the size of the whole container, and its form; None where there is none.
        total_excludes: Bytes of the container that this size does not count.
    """

    first: int
    header: struct.Struct
    samples: bytes
    inclusive: bool = False
    alignment: int = 2
    total: tuple[int, struct.Struct] | None = None
    total_excludes: int = 8


_LITTLE, _BIG = struct.Struct("<I"), struct.Struct(">I")
_RIFF = _Layout(12, struct.Struct("<4sI"), b"data", total=(4, _LITTLE))
_LAYOUTS = {
    b"RIFF": _RIFF,
    b"RIFX": _Layout(12, struct.Struct(">4sI"), b"data", total=(4, _BIG)),
    b"RF64": _RIFF,
    b"FORM": _Layout(12, struct.Struct(">4sI"), b"SSND", total=(4, _BIG)),
    b"riff": _Layout(
        40,
        struct.Struct("<4s12xQ"),
        b"data",
        inclusive=True,
        alignment=8,
        total=(16, struct.Struct("<Q")),
        total_excludes=0,
    ),
    b"caff": _Layout(8, struct.Struct(">4sQ"), b"data", alignment=1),
}
_AU = {b".snd": struct.Struct(">II"), b"dns.": struct.Struct("<II")}


@dataclass(frozen=True)
class _Chunk:
    """A chunk.

    Attributes:
        name: Identifier.
        start: Position of its content.
        size: Declared size of its content in bytes.
        header: Position of its header.
    """

    name: bytes
    start: int
    size: int
    header: int


def chunked_container(file: io.BufferedReader, start: int) -> Container | None:
    """Examine a container of chunks.

    Args:
        file: File of the container.
        start: Position where the container begins.

    Returns:
        What is known of it; None where it is none of these containers.
    """
    size = size_of(file)
    head = _read(file, start, 12)
    if head[:4] in _AU:
        offset, declared = _AU[head[:4]].unpack(head[4:12].ljust(8, b"\0"))
        unknown = declared == 0xFFFFFFFF
        return _examined(file, declared, size - start - offset, unknown=unknown)
    layout = _LAYOUTS.get(head[:4])
    if layout is None:
        return None
    mask = 0
    wide_size = None
    for chunk in _chunks(file, start, size, layout):
        if chunk.name == b"fmt ":
            mask = _channel_mask(_read(file, chunk.start, 24), layout)
        elif chunk.name == b"ds64":
            wide_size = int.from_bytes(_read(file, chunk.start + 8, 8), "little")
        elif chunk.name == layout.samples:
            available = size - chunk.start
            declared = chunk.size
            if wide_size is not None and declared == 0xFFFFFFFF:
                return _examined(file, wide_size, available, mask=mask)
            if declared == 0 and available and head[:4] == b"RIFF" and not _ends_in_chunks(file, chunk, size):
                stated = _LITTLE.pack(min(available, _UNKNOWN_32))
                replaced = {chunk.start - start - 4: stated}
                return Container(WindowFile(file, start, size, replaced), channel_mask=mask)
            wide = layout.header.size > 8
            unknown = declared >= (1 << 63) if wide else declared >= _UNKNOWN_32
            whole = _total_fits(file, start, chunk.start, size, layout)
            return _examined(file, declared, available, unknown=unknown or whole, mask=mask)
    return _examined(file, 0, 0)


def _examined(
    file: io.BufferedReader, declared: int, available: int, *, unknown: bool = False, mask: int = 0
) -> Container:
    file.seek(0)
    cut = None
    if declared > max(available, 0) and not unknown:
        cut = f"its header declares {declared} bytes of samples, {max(available, 0)} are there"
    return Container(file, cut, mask)


def _chunks(file: io.BufferedReader, start: int, size: int, layout: _Layout) -> Iterator[_Chunk]:
    position = start + layout.first
    for _ in range(_MOST_CHUNKS):
        head = _read(file, position, layout.header.size)
        if len(head) < layout.header.size:
            return
        name, declared = layout.header.unpack(head)
        content = max(0, declared - layout.header.size) if layout.inclusive else declared
        chunk = _Chunk(name, position + layout.header.size, content, position)
        yield chunk
        end = chunk.start + content - start
        position = start + end + -end % layout.alignment
        if position >= size:
            return


def _total_fits(file: io.BufferedReader, start: int, samples: int, size: int, layout: _Layout) -> bool:
    """Whether the size of the whole container agrees with the file; the size of the samples' chunk does not count."""
    if layout.total is None:
        return False
    offset, form = layout.total
    data = _read(file, start + offset, form.size)
    total: int = form.unpack(data)[0] + layout.total_excludes
    return samples - start < total <= size - start


def _ends_in_chunks(file: io.BufferedReader, samples: _Chunk, size: int) -> bool:
    """Whether other chunks, and not samples, follow an empty chunk of samples up to the end of the file."""
    after = _Layout(samples.start, _RIFF.header, b"")
    end = samples.start
    for chunk in _chunks(file, 0, size, after):
        if not chunk.name.isascii() or not chunk.name.decode("ascii").isprintable():
            return False
        end = chunk.start + chunk.size
    return end in (size, size + 1, size - 1)


def _channel_mask(fmt: bytes, layout: _Layout) -> int:
    order = "<" if layout.header.format[0] == "<" else ">"
    if len(fmt) < 24 or struct.unpack_from(f"{order}H", fmt)[0] != _EXTENSIBLE:
        return 0
    mask: int = struct.unpack_from(f"{order}I", fmt, 20)[0]
    return mask


def _read(file: io.BufferedReader, position: int, count: int) -> bytes:
    file.seek(position)
    return file.read(count)
