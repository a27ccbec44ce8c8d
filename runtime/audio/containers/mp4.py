"""MP4: whether its boxes are all there, and whether the samples they declare can be.

Format: ISO/IEC 14496-12. FFmpeg makes a table of as many samples as a box declares, before it looks for them.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

from voirs_vocoder.runtime.audio.containers.container import Container, size_of
from voirs_vocoder.runtime.errors import InputError

__all__ = ["is_mp4", "mp4_container"]

_MOST_BOXES = 100_000
_PARENTS = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"moof", b"traf")
# Boxes with a number of samples, and its position behind the box's header.
_COUNTS = {b"trun": 4, b"stsz": 8, b"stz2": 8}
# Boxes with a table of runs, whose entries begin with a number of samples.
_RUNS = (b"stts", b"ctts")
_RUN_BYTES = 8
_MOST_RUN_BYTES = 1 << 20


@dataclass(frozen=True)
class _Box:
    kind: bytes
    start: int
    content: int
    stop: int


def is_mp4(head: bytes) -> bool:
    """Whether a file that begins with these bytes is an MP4 file."""
    return head[4:8] == b"ftyp"


def mp4_container(file: io.BufferedReader, where: str) -> Container:
    """Examine an MP4 file box by box.

    Args:
        file: File that begins with the box `ftyp`.
        where: Beginning of the error message, such as the path of the file.

    Raises:
        InputError: A box declares more samples than the file has bytes, or there are too many boxes.
    """
    size = size_of(file)
    cut = None
    seen = 0
    # Boxes that are still to be looked into: where they begin and end.
    waiting = [(0, size)]
    while waiting:
        start, stop = waiting.pop()
        for box in _boxes(file, start, stop):
            seen += 1
            if seen > _MOST_BOXES:
                raise InputError(
                    f"{where}: takes at most {_MOST_BOXES} MP4 boxes, got more; replace the file"
                )
            if box.stop > size and stop == size:
                cut = f"its last box declares {box.stop - box.start} bytes, {size - box.start} are there"
            if box.kind in _PARENTS:
                waiting.append((box.content, min(box.stop, size)))
            elif (samples := _samples(file, box)) > size:
                raise InputError(
                    f"{where}: damaged at byte {box.start}: the MP4 box there declares {samples} samples, the file has "
                    f"{size} bytes; replace the file"
                )
    file.seek(0)
    return Container(file, cut)


def _boxes(file: io.BufferedReader, start: int, stop: int) -> Iterator[_Box]:
    while start + 8 <= stop:
        file.seek(start)
        head = file.read(16)
        length, header = int.from_bytes(head[:4], "big"), 8
        if length == 1:
            length, header = int.from_bytes(head[8:16], "big"), 16
        elif length == 0:  # to the end of what contains it
            length = stop - start
        if length < header:
            return
        yield _Box(head[4:8], start, start + header, start + length)
        start += length


def _samples(file: io.BufferedReader, box: _Box) -> int:
    if box.kind in _COUNTS:
        file.seek(box.content + _COUNTS[box.kind])
        return int.from_bytes(file.read(4), "big")
    if box.kind in _RUNS:
        file.seek(box.content + 8)
        runs = file.read(min(_MOST_RUN_BYTES, max(0, box.stop - box.content - 8)))
        return sum(
            int.from_bytes(runs[place : place + 4], "big") for place in range(0, len(runs) - 7, _RUN_BYTES)
        )
    return 0
