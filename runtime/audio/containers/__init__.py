"""Containers of recordings, examined before they are decoded: damage, cut ends, and headers that decoders misread."""

from __future__ import annotations

import io

from voirs_vocoder.runtime.audio.containers.chunked import chunked_container
from voirs_vocoder.runtime.audio.containers.container import Container
from voirs_vocoder.runtime.audio.containers.mp4 import is_mp4, mp4_container
from voirs_vocoder.runtime.audio.containers.mpeg import id3_bytes, mpeg_container
from voirs_vocoder.runtime.audio.containers.ogg import ogg_container

__all__ = ["Container", "container_of"]

_HEAD_BYTES = 12
_MOST_TAGS = 16


def container_of(file: io.BufferedReader, where: str) -> Container:
    """Examine a recording's file by its content; its name does not count.

    Args:
        file: File of the recording.
        where: Beginning of error messages, such as the path of the file.

    Raises:
        InputError: The file is damaged.
    """
    start = 0
    head = _read(file, start)
    for _ in range(_MOST_TAGS):
        tag = id3_bytes(head)
        if not tag:
            break
        start += tag
        head = _read(file, start)
    if start == 0 and is_mp4(head):
        return mp4_container(file, where)
    if head[:4] == b"OggS":
        return ogg_container(file, start, where)
    found = chunked_container(file, start) or mpeg_container(file, start, where)
    file.seek(0)
    return found or Container(file)


def _read(file: io.BufferedReader, position: int) -> bytes:
    file.seek(position)
    return file.read(_HEAD_BYTES)
