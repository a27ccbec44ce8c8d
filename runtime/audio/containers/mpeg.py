"""MPEG audio (MP3 and layers I and II): its frames are counted, since a file without a header has no length.

Format: ISO/IEC 11172-3 and 13818-3; the header of the encoder (`Xing`, `Info`) as LAME writes it.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

from voirs_vocoder.runtime.audio.containers.container import Container, size_of
from voirs_vocoder.runtime.audio.containers.window_file import WindowFile
from voirs_vocoder.runtime.errors import InputError

__all__ = ["begins_with_frames", "id3_bytes", "mpeg_container"]

_RATES_HZ = (44_100, 48_000, 32_000)
_VERSION_1, _VERSION_2 = 3, 2  # as in the header; 0 is version 2.5, 1 none
_KBPS = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_SEARCH_BYTES = 1 << 16
_ENDLESS_BYTES = 1 << 40
_TAGS_AT_END = (b"TAG", b"APETAGEX", b"LYRICSBEGIN")


@dataclass(frozen=True)
class _Frame:
    """The header of a frame.

    Attributes:
        size: Size of the frame in bytes, header included.
        stream: What all frames of a stream share: version, layer, rate, and whether it is mono.
        info: Position of an encoder's header within the frame.
    """

    size: int
    stream: tuple[int, int, int, bool]
    info: int


def id3_bytes(head: bytes) -> int:
    """Size of the ID3v2 tag that begins here, given its first 10 bytes; 0 for none."""
    if len(head) < 10 or head[:3] != b"ID3" or max(head[6:10]) > 0x7F:
        return 0
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte
    return 10 + size + (10 if head[5] & 0x10 else 0)


def begins_with_frames(data: bytes) -> bool:
    """Whether data begins with two frames of MPEG audio in a row."""
    first = _frame(data[:4])
    second = None if first is None else _frame(data[first.size : first.size + 4])
    return first is not None and second is not None and second.stream == first.stream


def mpeg_container(file: io.BufferedReader, start: int, where: str) -> Container | None:
    """Count the frames of MPEG audio.

    The decoder gets nothing but the frames, and a length that it cannot fall short of: by itself it takes the length
    of a file without an encoder's header from the first frames' bit rate, and leaves the rest unread.

    Args:
        file: File of the recording.
        start: Position after the tags at its beginning.
        where: Beginning of the error message, such as the path of the file.

    Returns:
        What is known of it; None where no frame begins at `start`.

    Raises:
        InputError: Something that is no frame lies between frames.
    """
    size = size_of(file)
    first = _frame(_read(file, start, 4))
    if first is None or start + first.size > size:
        return None
    position, frames, cut = start, 0, None
    while True:
        head = _read(file, position, 11)
        frame = _frame(head)
        if frame is not None and frame.stream == first.stream:
            if position + frame.size > size:
                cut = f"its last frame declares {frame.size} bytes, {size - position} are there"
                break
            position += frame.size
            frames += 1
        elif tag := id3_bytes(head):
            if position + tag >= size:
                break
            position += tag
        elif _ends_at(file, position, size, head):
            break
        else:
            place = _next_frames(file, position, first)
            if place is None:
                break
            raise InputError(
                f"{where}: damaged at byte {position}: {place - position} bytes there are no MPEG frame; "
                "replace the file"
            )
    return _decodable(file, (start, position), first, frames, cut)


def _decodable(
    file: io.BufferedReader, window: tuple[int, int], first: _Frame, frames: int, cut: str | None
) -> Container:
    start, stop = window
    data = _read(file, start, first.size)
    if data[first.info : first.info + 4] not in (b"Xing", b"Info"):
        return Container(WindowFile(file, start, stop, {}, _ENDLESS_BYTES), cut)
    # The encoder's header is a frame of silence that does not count.
    flags = int.from_bytes(data[first.info + 4 : first.info + 8], "big")
    place = first.info + 8
    replaced = {}
    if flags & 1:
        declared = int.from_bytes(data[place : place + 4], "big")
        if declared < frames - 1:  # of a part only, such as the first of two files in a row
            return Container(WindowFile(file, start + first.size, stop, {}, _ENDLESS_BYTES), cut)
        if declared > frames and cut is None:
            cut = f"its header declares {declared} frames, {frames - 1} are there"
        replaced[place] = (frames - 1).to_bytes(4, "big")
        place += 4
    if flags & 2:
        replaced[place] = (stop - start).to_bytes(4, "big")
        place += 4
    place += 100 * bool(flags & 4) + 4 * bool(flags & 8)
    if cut is not None and place + 24 <= len(data):
        # The padding after the last sample was cut off too.
        replaced[place + 22] = bytes((data[place + 22] & 0xF0, 0))
    stated = None if flags & 1 else _ENDLESS_BYTES
    return Container(WindowFile(file, start, stop, replaced, stated), cut)


def _frame(head: bytes) -> _Frame | None:
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    kbps_index, rate_index = head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 4 or kbps_index in (0, 15) or rate_index == 3:
        return None
    first_version = version == _VERSION_1
    rate = _RATES_HZ[rate_index] >> (0 if first_version else 1 if version == _VERSION_2 else 2)
    bits = 1000 * _KBPS[1 if first_version else 2, layer][kbps_index - 1]
    padding = head[2] >> 1 & 1
    if layer == 1:
        size = (12 * bits // rate + padding) * 4
    else:
        size = (72 if layer == 3 and not first_version else 144) * bits // rate + padding
    mono = head[3] >> 6 == 3
    side = (17 if mono else 32) if first_version else (9 if mono else 17)
    return _Frame(size, (version, layer, rate, mono), 4 + side)


def _ends_at(file: io.BufferedReader, position: int, size: int, head: bytes) -> bool:
    """Whether the audio ends at a position: at the end of the file, or where tags or zeros follow."""
    if not head or head.startswith(_TAGS_AT_END):
        return True
    return not any(head) and not any(_read(file, position, min(size - position, _SEARCH_BYTES)))


def _next_frames(file: io.BufferedReader, position: int, first: _Frame) -> int | None:
    """Position of the next two frames in a row; None where none follow within 64 KiB."""
    data = _read(file, position, _SEARCH_BYTES)
    place = data.find(b"\xff", 1)
    while place >= 0:
        frame = _frame(data[place : place + 4])
        if frame is not None and frame.stream == first.stream:
            follower = _frame(_read(file, position + place + frame.size, 4))
            if follower is not None and follower.stream == first.stream:
                return position + place
        place = data.find(b"\xff", place + 1)
    return None


def _read(file: io.BufferedReader, position: int, count: int) -> bytes:
    file.seek(position)
    return file.read(count)
