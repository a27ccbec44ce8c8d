"""Files that commands write besides artifacts and audio: whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from voirs_vocoder.runtime.errors import InputError

__all__ = ["require_writable_file", "write_file"]


def require_writable_file(path: Path) -> None:
    """Check, before long work, that a file may be written there.

    Raises:
        InputError: Its folder is missing or read-only, or the path is a folder.
    """
    if not path.parent.is_dir():
        raise InputError(f"{path}: cannot be written: there is no folder {path.parent}; create it")
    if path.is_dir():
        raise InputError(f"{path}: cannot be written: it is a folder; give the path of a file")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"{path}: cannot be written: its folder is read-only; choose another path")


def write_file(path: Path, data: bytes) -> None:
    """Write a file through a temporary sibling; one that is there is replaced.

    Raises:
        InputError: It cannot be written, as on a full disk; what was there stays.
    """
    draft = path.with_name(f".voirs-{secrets.token_hex(8)}.part")
    try:
        try:
            with draft.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written: {error.strerror}; free space or choose another path"
        ) from error
