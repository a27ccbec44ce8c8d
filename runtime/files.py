"""Files: a user's file is checked before it is read; a written file appears whole or not at all."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import msgspec

from voirs_vocoder.runtime.errors import InputError

__all__ = [
    "draft_path",
    "file_sha256",
    "indented_json",
    "open_regular",
    "read_bounded",
    "regular_size",
    "remove_draft",
    "remove_drafts",
    "require_file",
    "require_writable_file",
    "whole_file",
    "write_synced",
    "write_whole",
]

_drafts: set[Path] = set()


def require_file(path: Path) -> int:
    """Check that a path can be read from beginning to end.

    Args:
        path: Path of the file; a link is followed.

    Returns:
        Size of the file in bytes, at least 1.

    Raises:
        InputError: The path is missing, not a regular file (reading a pipe would block), empty, or cannot be opened.
    """
    with open_regular(path) as file:
        return os.fstat(file.fileno()).st_size


def open_regular(path: Path) -> io.BufferedReader:
    """Open a regular file for reading. Pipes and devices are refused, never waited for.

    Args:
        path: Path of the file; a link is followed.

    Returns:
        The file, at its beginning; it holds at least one byte.

    Raises:
        InputError: The path is missing, not a regular file, empty, or cannot be opened.
    """
    try:
        # Before opening as well as after: opening a device may already act on it.
        if not stat.S_ISREG(path.stat().st_mode):
            raise _not_regular(str(path))
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; check the path") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({_reason(error)}); check the path") from error
    try:
        if regular_size(descriptor, str(path)) == 0:
            raise InputError(f"{path}: the file is empty; give one with content")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_bounded(source: Path | int, most_bytes: int, *, name: str | None = None) -> bytes:
    """Read a whole regular file of bounded size. Its size is checked before anything is read.

    Args:
        source: Path of the file, whose links are followed; or the descriptor of a file that is open for reading, which
            is read from its current position and stays open.
        most_bytes: Largest size in bytes that a file of the expected kind may have.
        name: Beginning of error messages; None uses the path, or the number of the descriptor.

    Returns:
        Content of the file, at least one byte.

    Raises:
        InputError: The file is missing, not a regular file, empty, larger than `most_bytes`, grows while it is read,
            or cannot be read.
    """
    where = str(source) if name is None else name
    if isinstance(source, int):
        return _read_descriptor(source, most_bytes, where)
    with open_regular(source) as file:
        return _read_descriptor(file.fileno(), most_bytes, where)


def regular_size(descriptor: int, where: str) -> int:
    """Size in bytes of an open file, which may be empty.

    Args:
        descriptor: Descriptor of the file. Open it with `O_NONBLOCK`, so that a pipe is refused and not waited for.
        where: Beginning of error messages, such as the path of the file.

    Raises:
        InputError: The descriptor is closed, or is that of a folder, a pipe or a device.
    """
    try:
        status = os.fstat(descriptor)
    except OSError as error:
        raise InputError(f"{where}: cannot be read ({_reason(error)}); check the file") from error
    if not stat.S_ISREG(status.st_mode):
        raise _not_regular(where)
    return status.st_size


def file_sha256(path: Path) -> str:
    """SHA-256 of a file in lower-case hex, read piece by piece.

    Raises:
        InputError: The path is missing, not a regular file, empty, or cannot be read.
    """
    with open_regular(path) as file:
        try:
            return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({_reason(error)}); check the file") from error


def _read_descriptor(descriptor: int, most_bytes: int, where: str) -> bytes:
    size_bytes = regular_size(descriptor, where)
    if size_bytes == 0:
        raise InputError(f"{where}: the file is empty; give one with content")
    if size_bytes > most_bytes:
        raise InputError(
            f"{where}: takes at most {most_bytes} bytes, got {size_bytes}; give a file of the expected kind"
        )
    try:
        with open(descriptor, "rb", buffering=0, closefd=False) as file:
            # As many bytes as the file holds: a buffer of `most_bytes` may be more than the memory.
            data = b"".join(_pieces(file, size_bytes + 1))
    except OSError as error:
        raise InputError(f"{where}: cannot be read ({_reason(error)}); check the file") from error
    if len(data) > size_bytes:
        raise InputError(f"{where}: grew while it was read; wait until it is written")
    return data


def _pieces(file: io.FileIO, most_bytes: int) -> Iterator[bytes]:
    # One call to the kernel reads at most 2 GiB.
    while most_bytes and (piece := file.read(most_bytes)):
        most_bytes -= len(piece)
        yield piece


def _not_regular(where: str) -> InputError:
    return InputError(f"{where}: input must be a regular file; give the path of one")


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


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
        remove_draft(draft)


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
    """Choose an unused name, in the same folder, for a file that is not complete yet.

    Args:
        path: Path of the file when it is complete.

    Returns:
        Path of the draft. Give it to `remove_draft` when the file is complete, or given up.
    """
    draft = path.with_name(f".voirs-{os.urandom(8).hex()}.part")
    _drafts.add(draft)
    return draft


def remove_draft(draft: Path) -> None:
    """Delete a draft, if it still has its own name.

    Args:
        draft: Path that `draft_path` returned.

    Raises:
        OSError: The draft cannot be deleted.
    """
    draft.unlink(missing_ok=True)
    _drafts.discard(draft)


def remove_drafts() -> None:
    """Delete all drafts of this process, which is about to end and cannot complete them; never raises."""
    for draft in list(_drafts):
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def indented_json(value: object, *, order: Literal["deterministic"] | None = None) -> bytes:
    """Encode a value as the content of a JSON file.

    Args:
        value: Any value that msgspec encodes. A float that is not finite becomes null.
        order: `deterministic` sorts the keys of dicts; None keeps their order.

    Returns:
        UTF-8 text, indented by 2, with a newline at the end.
    """
    return msgspec.json.format(msgspec.json.encode(value, order=order), indent=2) + b"\n"
