"""Opens what lies below an artifact's directory: no link is followed there, and only regular files are opened."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self

from voirs_vocoder.runtime.errors import ArtifactError

__all__ = [
    "LOCK_NAME",
    "MANIFEST_NAME",
    "SIGNATURE_NAME",
    "VERSIONS_NAME",
    "ArtifactDirectory",
    "require_listed_path",
    "version_paths",
]

MANIFEST_NAME = "manifest.json"
SIGNATURE_NAME = "model.sig"
"""File that signs all others of an artifact, the manifest included, so that the manifest cannot list it."""
LOCK_NAME = ".lock"
VERSIONS_NAME = ".versions"
"""Folder of an artifact for files that are being replaced, and for those that were replaced last, named by hash."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Opening a pipe for reading must not wait for its writer.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class ArtifactDirectory:
    """Handle of an artifact's directory. It stays that directory when its path is renamed or replaced.

    Attributes:
        root: Path that the directory was opened by, for messages.
        handle: File descriptor of the directory, for calls that take `dir_fd`.
    """

    def __init__(self, root: Path, handle: int | None = None) -> None:
        """Open a directory.

        Args:
            root: Path of the directory. The path itself may lead through links, which are the user's own.
            handle: File descriptor of the directory, which is closed with this object; None opens the path.

        Raises:
            OSError: There is no directory, or it cannot be opened.
        """
        self.root = root
        self.handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) if handle is None else handle

    def __enter__(self) -> Self:
        """Return the handle itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the handle."""
        os.close(self.handle)

    @contextmanager
    def folder(self, path: PurePosixPath) -> Iterator[int]:
        """Open a folder below the directory.

        Args:
            path: Path of the folder relative to the directory; an empty path is the directory itself.

        Yields:
            File descriptor of the folder.

        Raises:
            ArtifactError: A part of the path is a link or no folder.
            OSError: A part of the path is missing or cannot be opened.
        """
        handle = os.dup(self.handle)
        try:
            for name in path.parts:
                below = self.open_entry(name, _FOLDER, handle, path)
                os.close(handle)
                handle = below
            yield handle
        finally:
            os.close(handle)

    def open(self, path: str) -> io.BufferedReader:
        """Open a file below the directory for reading.

        Args:
            path: Path of the file relative to the directory, with forward slashes.

        Raises:
            ArtifactError: The path leaves the directory, or the path or a part of it is a link, or it is no regular
                file.
            OSError: The file is missing or cannot be opened.
        """
        place = _require_inside(self.root, path)
        with self.folder(place.parent) as folder:
            handle = self.open_entry(place.name, _FILE, folder, place)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise self.irregular(place)
            return os.fdopen(handle, "rb")
        except BaseException:
            os.close(handle)
            raise

    def status(self, path: str) -> os.stat_result | None:
        """Status of a file below the directory; None where nothing is at that path.

        Args:
            path: Path of the file relative to the directory, with forward slashes.

        Raises:
            ArtifactError: The path leaves the directory, or the path or a part of it is a link, or it is no regular
                file.
            OSError: A part of the path cannot be opened.
        """
        place = _require_inside(self.root, path)
        try:
            with self.folder(place.parent) as folder:
                status = os.stat(place.name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if stat.S_ISLNK(status.st_mode):
            raise self._link(place)
        if not stat.S_ISREG(status.st_mode):
            raise self.irregular(place)
        return status

    def open_entry(self, name: str, flags: int, folder: int, path: PurePosixPath) -> int:
        """Open an entry of a folder.

        Args:
            name: Name of the entry.
            flags: Flags of `os.open`, `O_NOFOLLOW` among them. What they create gets mode 0o666 under the umask.
            folder: File descriptor of the folder.
            path: Path of the entry relative to the directory, for messages.

        Returns:
            File descriptor of the entry.

        Raises:
            ArtifactError: The entry is a link, a socket, or not the folder that the flags demand.
            OSError: The entry is missing or cannot be opened.
        """
        try:
            return os.open(name, flags, 0o666, dir_fd=folder)
        except OSError as error:
            # A link is ELOOP or, where a folder is wanted, ENOTDIR; a socket is ENXIO.
            if error.errno not in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
                raise
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            raise (self._link if stat.S_ISLNK(status.st_mode) else self.irregular)(path) from error

    def _link(self, path: PurePosixPath) -> ArtifactError:
        return ArtifactError(
            f"{self.root / path}: a link leads out of the artifact or could do so; refused, copy the file itself there"
        )

    def irregular(self, path: PurePosixPath) -> ArtifactError:
        """The error for what is neither a regular file nor a folder.

        Args:
            path: Path relative to the directory.
        """
        return ArtifactError(
            f"{self.root / path}: an artifact consists of regular files and folders; refused, remove what is there"
        )


def require_listed_path(root: Path, path: str) -> None:
    """Check a path that a manifest states.

    Args:
        root: Directory of the artifact, for messages.
        path: Path relative to the directory, with forward slashes.

    Raises:
        ArtifactError: The path could leave the directory, is not in its shortest form, cannot name a file, or is that
            of the manifest, of the signature, of the lock, or of the folder of replaced files.
    """
    own = (MANIFEST_NAME, SIGNATURE_NAME, LOCK_NAME, VERSIONS_NAME)
    if _require_inside(root, path).parts[0] in own:
        raise ArtifactError(f"{root / MANIFEST_NAME}: {path!r} must not be listed as a file; refused")


def version_paths(sha256: str) -> tuple[str, str]:
    """Paths where a file may lie beside its own path: before it takes its place, and after it was replaced.

    Args:
        sha256: SHA-256 of the file, in lower-case hex.
    """
    return f"{VERSIONS_NAME}/{sha256}", f"{VERSIONS_NAME}/{sha256}.old"


def _require_inside(root: Path, path: str) -> PurePosixPath:
    pure = PurePosixPath(path)
    shortest = bool(pure.parts) and str(pure) == path
    if not shortest or pure.is_absolute() or ".." in pure.parts or "\\" in path or not _names_file(path):
        raise ArtifactError(
            f"{root / MANIFEST_NAME}: a path must stay inside the artifact, got {path!r}; refused"
        )
    return pure


def _names_file(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in path
