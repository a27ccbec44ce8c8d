"""The check that every file given by a user passes before it is opened: it is there, regular and not empty."""

from __future__ import annotations

import stat
from pathlib import Path

from voirs_vocoder.runtime.errors import InputError

__all__ = ["require_file"]


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
