"""Files: a user's file is checked before it is read; a written file appears whole or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from voirs_vocoder.runtime.errors import InputError

__all__ = [
    "draft_path",
    "indented_json",
    "read_bounded",
    "require_file",
    "require_writable_file",
    "whole_file",
    "write_synced",
    "write_whole",
]


def require_file(path: Path) -> int:
    """Check that a path can be read from beginning to end.

    Args:
        path: Path of the file.

    Returns:
        Size of the file in bytes, at least 1.

    Raises:
        InputError: The path is missing, not a regular file (reading a pipe would block), or empty.
    """
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; check the path") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); check the path") from error
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path}: input must be a regular file; give the path of one")
    if status.st_size == 0:
        raise InputError(f"{path}: the file is empty; give one with content")
    return status.st_size


def read_bounded(path: Path, most_bytes: int) -> bytes:
    """Read a small file.

    Args:
        path: Path of a regular file.
        most_bytes: Largest size in bytes that a file of the expected kind may have.

    Raises:
        InputError: The file is missing, not regular, empty, larger than `most_bytes`, or cannot be read.
    """
    require_file(path)
    try:
        with path.open("rb") as file:
            data = file.read(most_bytes + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error}); check the path") from error
    if len(data) > most_bytes:
        raise InputError(f"{path}: takes at most {most_bytes} bytes, got more; this is another file")
    return data


def require_writable_file(path: Path) -> None:
    """Check, before long work, that a file may be written.

    Args:
        path: Path of the file to write.

    Raises:
        InputError: The folder is missing or read-only, or the path is a folder.
    """
    if not path.parent.is_dir():
        raise InputError(f"{path}: cannot be written: there is no folder {path.parent}; create it")
    if path.is_dir():
        raise InputError(f"{path}: cannot be written: it is a folder; give the path of a file")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"{path}: cannot be written: its folder is read-only; choose another path")


def write_whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; an existing file is replaced.

    Args:
        path: Path of the file to write.
        data: Content of the file.

    Raises:
        InputError: The file cannot be written, as on a full disk; an existing file stays as it was.
    """
    try:
        with whole_file(path) as draft:
            write_synced(draft, data)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written: {error.strerror}; free space or choose another path"
        ) from error


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Write a file by other means, whole or not at all: a draft in the same folder takes its place at the end.

    Args:
        path: Path of the file to write; an existing file is replaced.

    Yields:
        Path of the draft to write. It is deleted when the `with` block raises.

    Raises:
        OSError: The draft cannot take its place; an existing file stays as it was.
    """
    draft = draft_path(path)
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_synced(path: Path, data: bytes) -> None:
    """Write a file and wait until the disk has it. On an error the file may be incomplete.

    Args:
        path: Path of the file to write.
        data: Content of the file.

    Raises:
        OSError: The file cannot be written.
    """
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def draft_path(path: Path) -> Path:
    """Choose an unused name, in the same folder, for a file that is not complete yet."""
    return path.with_name(f".voirs-{os.urandom(8).hex()}.part")


def indented_json(value: object, *, order: Literal["deterministic"] | None = None) -> bytes:
    """Encode a value as the content of a JSON file.

    Args:
        value: Any value that msgspec encodes. A float that is not finite becomes null.
        order: `deterministic` sorts the keys of dicts; None keeps their order.

    Returns:
        UTF-8 text, indented by 2, with a newline at the end.
    """
    return msgspec.json.format(msgspec.json.encode(value, order=order), indent=2) + b"\n"
