"""Files and folders of artifacts while they are written: names that nobody can guess, and what a killed run left."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from voirs_vocoder.runtime.artifact.directory import opened_folder
from voirs_vocoder.runtime.errors import ArtifactError, InputError

__all__ = [
    "LOCK_NAME",
    "draft_directory",
    "exchanged",
    "hold_lock",
    "is_draft",
    "remove_litter",
    "stored_name",
    "unlink_inside",
    "write_inside",
]

LOCK_NAME = ".lock"
"""File of an artifact that whoever writes to it holds a lock on; nobody reads it."""

_DRAFT = re.compile(r"\.voirs-[0-9a-f]{16}\.part")
_HASHED = re.compile(r".+\.[0-9a-f]{16}(\.[a-z]+)?")
_HASH_DIGITS = 16
_EXCLUSIVE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_EXCHANGE = 2  # RENAME_EXCHANGE
_AT_FDCWD = -100
# Where files of an artifact lie.
_FOLDERS = (".", "graphs", "engines", "validation")


def is_draft(name: str) -> bool:
    """Whether a file name is that of a file which is being written, or whose writer was killed."""
    return _DRAFT.fullmatch(name) is not None


def stored_name(path: str, sha256: str) -> str:
    """Path for content that takes the place of another file's: `graphs/x.onnx` becomes `graphs/x.<hash>.onnx`.

    Args:
        path: Path of the file in the artifact.
        sha256: SHA-256 of the content, in hex.
    """
    whole = PurePosixPath(path)
    return str(whole.with_name(f"{whole.stem}.{sha256[:_HASH_DIGITS]}{whole.suffix}"))


def write_inside(directory: int, path: str, data: bytes, where: str) -> None:
    """Write a file below a directory, whole or not at all; folders are made, links are never followed.

    Args:
        directory: Descriptor of the directory.
        path: Path relative to the directory.
        data: Content of the file.
        where: Path of the directory, for error messages.

    Raises:
        ArtifactError: A folder of the path is a link or no folder.
        OSError: The file cannot be written.
    """
    inside = PurePosixPath(path)
    with opened_folder(directory, inside.parent, where, create=True) as folder:
        draft = f".voirs-{os.urandom(8).hex()}.part"
        descriptor = os.open(draft, _EXCLUSIVE, 0o666, dir_fd=folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            # The name of a link is replaced, not what it points to.
            os.rename(draft, inside.name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            os.unlink(draft, dir_fd=folder)
            raise
        os.fsync(folder)


def unlink_inside(directory: int, path: str, where: str) -> None:
    """Remove a file below a directory; one that is not there is fine, and links are not followed.

    Args:
        directory: Descriptor of the directory.
        path: Path relative to the directory.
        where: Path of the directory, for error messages.

    Raises:
        ArtifactError: A folder of the path is a link or no folder.
        OSError: The file cannot be removed.
    """
    inside = PurePosixPath(path)
    try:
        with opened_folder(directory, inside.parent, where) as folder:
            os.unlink(inside.name, dir_fd=folder)
    except FileNotFoundError:
        return


def remove_litter(directory: int, kept: Collection[str], where: str) -> None:
    """Remove what killed writers left in an artifact: drafts, and content that no manifest came to list.

    Args:
        directory: Descriptor of the artifact, whose lock is held.
        kept: Paths of the files that the manifest lists or keeps.
        where: Path of the artifact, for error messages.

    Raises:
        ArtifactError: A folder of the artifact is a link or no folder.
        OSError: A file cannot be removed.
    """
    for name in _FOLDERS:
        try:
            with opened_folder(directory, PurePosixPath(name), where) as folder:
                with os.scandir(folder) as entries:
                    names = [entry.name for entry in entries]
                for found in names:
                    path = str(PurePosixPath(name) / found)
                    if is_draft(found) or (_HASHED.fullmatch(found) and path not in kept):
                        os.unlink(found, dir_fd=folder)
        except (FileNotFoundError, IsADirectoryError):
            continue


@contextmanager
def hold_lock(directory: int, where: str) -> Iterator[None]:
    """Hold the lock of an artifact, which ends with the process at the latest.

    Args:
        directory: Descriptor of the artifact.
        where: Path of the artifact, for error messages.

    Raises:
        ArtifactError: Another process holds the lock, or a link stands in its place.
        OSError: The lock file cannot be made.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        lock = os.open(LOCK_NAME, flags, 0o666, dir_fd=directory)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ArtifactError(
                f"{where}/{LOCK_NAME}: must be a regular file, got a link; refused"
            ) from error
        raise
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ArtifactError(
                f"{where}: another process is changing this artifact; try again later"
            ) from error
        yield
    finally:
        os.close(lock)


@contextmanager
def draft_directory(target: Path) -> Iterator[Path]:
    """A new directory beside a target, removed at the end if it still has its name; drafts of killed runs go too.

    Args:
        target: Directory that the draft is to become.

    Yields:
        Path of the draft, which is locked.

    Raises:
        OSError: The draft cannot be made.
    """
    prefix = f".{target.name}."
    for sibling in target.parent.iterdir():
        if sibling.name.startswith(prefix) and sibling.name.endswith(".partial"):
            _remove_if_abandoned(sibling)
    draft = target.parent / f"{prefix}{os.urandom(8).hex()}.partial"
    draft.mkdir()
    descriptor = os.open(draft, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # On file systems that lock no directories, the drafts of killed runs stay.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield draft
    finally:
        os.close(descriptor)
        shutil.rmtree(draft, ignore_errors=True)


def _remove_if_abandoned(draft: Path) -> None:
    """Remove a draft whose writer is dead: nobody has it locked."""
    try:
        descriptor = os.open(draft, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(draft, ignore_errors=True)
    except OSError:
        return
    finally:
        os.close(descriptor)


def exchanged(draft: Path, target: Path) -> None:
    """Let two directories change places in one step, so that at every moment one of them has the target's name.

    Args:
        draft: A directory.
        target: Another one on the same file system.

    Raises:
        InputError: The system or its file system cannot do that.
    """
    library = ctypes.CDLL(None, use_errno=True)
    rename = getattr(library, "renameat2", None)
    if rename is None:
        raise InputError(f"{target}: this system cannot replace a directory in one step; delete it first")
    if rename(_AT_FDCWD, os.fsencode(draft), _AT_FDCWD, os.fsencode(target), _EXCHANGE) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise InputError(f"{target}: cannot be replaced in one step ({reason}); delete it first")
