"""The checks that every file given by a user passes: it is there, regular, not empty, and no larger than it may be."""

from __future__ import annotations

import stat
from pathlib import Path

from voirs_vocoder.runtime.errors import InputError

__all__ = ["read_bounded", "require_file"]


def require_file(path: Path) -> int:
    """Check that a path can be read from beginning to end.

    Returns:
        The file's size in bytes, at least 1.

    Raises:
        InputError: The path is missing, no regular file (reading a pipe would block), or empty.
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
    """The content of a small file.

    Args:
        path: A regular file.
        most_bytes: What is still believed to be one of its kind.

    Raises:
        InputError: As `require_file`, or it is larger, or cannot be read.
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
