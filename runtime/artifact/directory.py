"""A directory whose files are opened below it and nowhere else: no link is followed, no special file is opened."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from voirs_vocoder.runtime.errors import ArtifactError

__all__ = ["opened_directory", "opened_file", "opened_folder", "require_inside"]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# A pipe would block without O_NONBLOCK, and a terminal would become the controlling one without O_NOCTTY.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
# What the kernel answers where a link stands in place of a folder or a file.
_LINK_ERRORS = (errno.ELOOP, errno.ENOTDIR, errno.EMLINK)


def require_inside(path: str, where: str) -> PurePosixPath:
    """Check that a path names a file below a directory.

    Args:
        path: Path relative to the directory, with forward slashes.
        where: Beginning of the error message, such as the path of the manifest.

    Raises:
        ArtifactError: The path is absolute, empty, leads upwards, or holds a backslash or a zero byte.
    """
    parts = PurePosixPath(path).parts
    if not parts or PurePosixPath(path).is_absolute() or ".." in parts or "\\" in path or "\0" in path:
        raise ArtifactError(f"{where}: a path must stay inside the artifact, got {path!r}; refused")
    return PurePosixPath(path)


@contextmanager
def opened_directory(root: Path) -> Iterator[int]:
    """Open a directory that the user named, whose own path may contain links.

    Args:
        root: Path of the directory.

    Yields:
        Descriptor of the directory.

    Raises:
        OSError: It cannot be opened, or is no directory.
    """
    descriptor = os.open(root, _DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def opened_folder(directory: int, path: PurePosixPath, where: str, *, create: bool = False) -> Iterator[int]:
    """Open a folder below a directory, through real folders only.

    Args:
        directory: Descriptor of the directory.
        path: Path of the folder relative to the directory; `.` is the directory itself.
        where: Path of the directory, for error messages.
        create: Whether missing folders are made, with the permissions that the umask leaves.

    Yields:
        Descriptor of the folder.

    Raises:
        ArtifactError: A part of the path is a link or no folder.
        OSError: A folder cannot be opened or made.
    """
    current = os.dup(directory)
    try:
        for part in path.parts:
            if create:
                with suppress(FileExistsError):
                    os.mkdir(part, dir_fd=current)
            try:
                below = os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=current)
            except OSError as error:
                if error.errno in _LINK_ERRORS:
                    raise _refused(where, path, "a real folder") from error
                raise
            os.close(current)
            current = below
        yield current
    finally:
        os.close(current)


@contextmanager
def opened_file(directory: int, path: str, where: str) -> Iterator[int]:
    """Open a regular file below a directory for reading, through real folders only.

    Args:
        directory: Descriptor of the directory.
        path: Path of the file relative to the directory, with forward slashes.
        where: Path of the directory, for error messages.

    Yields:
        Descriptor of the file, which may be empty.

    Raises:
        ArtifactError: The path leads out of the directory, a part of it is a link, or the file is no regular file.
        OSError: The file cannot be opened.
    """
    inside = require_inside(path, where)
    with opened_folder(directory, inside.parent, where) as folder:
        try:
            descriptor = os.open(inside.name, _FILE, dir_fd=folder)
        except OSError as error:
            # ENXIO: a socket.
            if error.errno in (*_LINK_ERRORS, errno.ENXIO):
                raise _refused(where, inside, "a regular file") from error
            raise
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _refused(where, inside, "a regular file")
        yield descriptor
    finally:
        os.close(descriptor)


def _refused(where: str, path: PurePosixPath, what: str) -> ArtifactError:
    return ArtifactError(
        f"{where}/{path}: must be {what} of the artifact, got a link or a special file; refused"
    )
