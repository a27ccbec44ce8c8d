"""Ogg: pages whose checksums reveal damage, and an end-of-stream page that a file which was cut off lacks.

Format: RFC 3533.
"""

from __future__ import annotations

import io
import struct
import zlib

from voirs_vocoder.runtime.audio.containers.container import Container, size_of
from voirs_vocoder.runtime.errors import InputError

__all__ = ["ogg_container"]

_HEADER = struct.Struct("<4sBBqIIIB")
_CHECKSUM = slice(22, 26)
_BEGIN, _END = 0x02, 0x04
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def ogg_container(file: io.BufferedReader, start: int, where: str) -> Container:
    """Examine an Ogg file page by page.

    Args:
        file: File with Ogg pages.
        start: Position of the first page.
        where: Beginning of the error message, such as the path of the file.

    Raises:
        InputError: A page is damaged, or pages are missing between others.
    """
    size = size_of(file)
    position = start
    open_streams: set[int] = set()
    pages: dict[int, int] = {}
    cut = None
    while position < size:
        file.seek(position)
        head = file.read(_HEADER.size)
        if len(head) < _HEADER.size:
            cut = f"its last page ends within the header, at byte {size}"
            break
        capture, version, flags, _, serial, number, _, segments = _HEADER.unpack(head)
        if capture != b"OggS" or version != 0:
            if pages and not open_streams:
                break  # what follows the end of the streams is not Ogg
            raise _damaged(where, position)
        lacing = file.read(segments)
        body = file.read(sum(lacing))
        if len(lacing) < segments or len(body) < sum(lacing):
            cut = f"its last page ends early, at byte {size}"
            break
        page = bytearray(head + lacing + body)
        stated = bytes(page[_CHECKSUM])
        page[_CHECKSUM] = bytes(4)
        if struct.pack("<I", _checksum(page)) != stated:
            raise _damaged(where, position)
        if flags & _BEGIN:
            open_streams.add(serial)
        elif serial in pages and number != (pages[serial] + 1) & 0xFFFFFFFF:
            raise InputError(
                f"{where}: damaged before byte {position}: pages {pages[serial] + 1} to {number - 1} are missing; "
                "replace the file"
            )
        pages[serial] = number
        if flags & _END:
            open_streams.discard(serial)
        position += len(page)
    if cut is None and open_streams:
        cut = f"it has no end-of-stream page, its pages end at byte {position}"
    file.seek(0)
    return Container(file, cut)


def _checksum(page: bytearray) -> int:
    # CRC-32 of the polynomial that zlib has, with the bits in the other order, and neither start value nor complement.
    mirrored = zlib.crc32(page.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)


def _damaged(where: str, position: int) -> InputError:
    return InputError(
        f"{where}: damaged at byte {position}: the Ogg page there is not whole; replace the file"
    )
