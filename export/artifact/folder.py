"""Writes below an artifact's directory: no link is followed, and drafts have new names that cannot be guessed."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import BinaryIO, NamedTuple

from voirs_vocoder.runtime.artifact.directory import LOCK_NAME, VERSIONS_NAME, ArtifactDirectory
from voirs_vocoder.runtime.errors import ArtifactError

__all__ = ["DRAFT_SUFFIX", "FileOf", "WritableDirectory"]

DRAFT_SUFFIX = ".part"
"""Ending of the names of files in `.versions` that are not complete yet."""

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LOCK_FILE = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
# What file systems without hard links, and kernels that guard files of other users, answer.
_NO_LINKS = (errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS, errno.EXDEV)
_POLL_S = 0.05


class FileOf(NamedTuple):
    """A file that is on the disk already.

    Attributes:
        directory: Directory that the file is in.
        path: Path of the file relative to the directory.
    """

    directory: ArtifactDirectory
    path: str


class WritableDirectory(ArtifactDirectory):
    """Handle of an artifact's directory that can change what is in it. Modes follow the umask."""

    def make_folder(self, path: PurePosixPath) -> list[PurePosixPath]:
        """Make a folder with those above it.

        Args:
            path: Path of the folder relative to the directory.

        Returns:
            Paths of the folders that were not there before, from the outermost.

        Raises:
            ArtifactError: A part of the path is a link or no folder.
            OSError: A folder cannot be made.
        """
        made = []
        for folder in (*reversed(path.parents[:-1]), path) if path.parts else ():
            with self.folder(folder.parent) as above:
                try:
                    os.mkdir(folder.name, dir_fd=above)
                    made.append(folder)
                except FileExistsError:
                    self._require_folder(folder)
        return made

    def write_new(self, path: str, data: bytes) -> None:
        """Write a file that is not there yet, and wait until the disk has it; on an error nothing is left of it.

        Args:
            path: Path of the file relative to the directory; its folder must be there.
            data: Content of the file.

        Raises:
            ArtifactError: A part of the path is a link or no folder.
            OSError: Something is at that path already, or the file cannot be written.
        """
        with self.new_file(path) as file:
            file.write(data)

    @contextmanager
    def new_file(self, path: str) -> Iterator[BinaryIO]:
        """Write a file that is not there yet piece by piece; on an error nothing is left of it.

        Args:
            path: Path of the file relative to the directory; its folder must be there.

        Yields:
            The empty file. When the block ends, the disk has what was written.

        Raises:
            ArtifactError: A part of the path is a link or no folder.
            OSError: Something is at that path already, or the file cannot be written.
        """
        place = PurePosixPath(path)
        with self.folder(place.parent) as folder:
            handle = os.open(place.name, _NEW_FILE, 0o666, dir_fd=folder)
            try:
                with os.fdopen(handle, "wb") as file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
            except BaseException:
                os.unlink(place.name, dir_fd=folder)
                raise

    def replace(self, path: str, data: bytes) -> None:
        """Write a file, or replace it by one rename; on an error it stays as it was. `.versions` must be there.

        Args:
            path: Path of the file relative to the directory; its folder must be there.
            data: Content of the file.

        Raises:
            ArtifactError: A part of the path is a link or no folder.
            OSError: The file cannot be written.
        """
        draft = _draft_path()
        self.write_new(draft, data)
        self._take_place(draft, path)

    def replace_by(self, path: str, source: str, of: ArtifactDirectory | None = None) -> None:
        """Make a file the same as another, by one rename; on an error it stays as it was. `.versions` must be there.

        Args:
            path: Path of the file relative to the directory; its folder must be there.
            source: Path of the other file, which stays.
            of: Directory that the other file is in; None is this one.

        Raises:
            ArtifactError: A part of a path is a link or no folder.
            OSError: The file cannot be written.
        """
        draft = _draft_path()
        self.link_new(draft, source, of)
        self._take_place(draft, path)

    def link_new(self, path: str, source: str, of: ArtifactDirectory | None = None) -> None:
        """Give a file a second path: by a hard link, or by a copy where the file system has none.

        Args:
            path: Second path relative to the directory, where nothing is yet.
            source: Path of the file.
            of: Directory that the file is in; None is this one.

        Raises:
            ArtifactError: A part of a path is a link or no folder.
            OSError: Something is at the second path already, or it cannot be written.
        """
        old, new = PurePosixPath(source), PurePosixPath(path)
        with (of or self).folder(old.parent) as here, self.folder(new.parent) as there:
            try:
                os.link(old.name, new.name, src_dir_fd=here, dst_dir_fd=there, follow_symlinks=False)
                return
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
        with (of or self).open(source) as file, self.new_file(path) as copy:
            shutil.copyfileobj(file, copy)

    def remove(self, path: str) -> None:
        """Remove a file if it is there.

        Args:
            path: Path of the file relative to the directory.

        Raises:
            ArtifactError: A part of the path is a link or no folder.
            OSError: The file cannot be removed.
        """
        place = PurePosixPath(path)
        with contextlib.suppress(FileNotFoundError), self.folder(place.parent) as folder:
            os.unlink(place.name, dir_fd=folder)

    def remove_empty_folder(self, path: PurePosixPath) -> None:
        """Remove a folder if it is empty.

        Args:
            path: Path of the folder relative to the directory.

        Raises:
            ArtifactError: A part of the path is a link or no folder.
        """
        with contextlib.suppress(OSError), self.folder(path.parent) as folder:
            os.rmdir(path.name, dir_fd=folder)

    def names_in_versions(self) -> set[str]:
        """Names in `.versions`; empty where there is no such folder.

        Raises:
            ArtifactError: `.versions` is a link or no folder.
            OSError: The folder cannot be read.
        """
        try:
            with self.folder(PurePosixPath(VERSIONS_NAME)) as folder:
                return set(os.listdir(folder))  # noqa: PTH208 - of a descriptor
        except FileNotFoundError:
            return set()

    def sync(self, path: PurePosixPath) -> None:
        """Wait until the disk has the names in a folder.

        Args:
            path: Path of the folder relative to the directory; an empty path is the directory itself.

        Raises:
            ArtifactError: A part of the path is a link or no folder.
            OSError: The disk does not take them.
        """
        with self.folder(path) as folder:
            try:
                os.fsync(folder)
            except OSError as error:
                # Some network file systems take no such request for a folder.
                if error.errno != errno.EINVAL:
                    raise

    @contextmanager
    def locked(self, wait_s: float) -> Iterator[None]:
        """Keep other processes from changing the artifact. A lock ends with the process that holds it.

        Args:
            wait_s: Longest time in seconds to wait for another process that holds the lock.

        Raises:
            ArtifactError: Another process is changing the artifact, the lock file is no regular file, or the path of
                the artifact leads elsewhere by now.
            OSError: The lock file cannot be written.
        """
        until = time.monotonic() + wait_s
        handle = self._lock_file()
        try:
            while not self._is_locked(handle):
                if time.monotonic() >= until:
                    raise ArtifactError(
                        f"{self.root}: another process is changing this artifact; try again later"
                    )
                time.sleep(_POLL_S)
            if not os.path.samestat(self.root.stat(), os.fstat(self.handle)):
                raise ArtifactError(f"{self.root}: was replaced while it was being opened; try again")
            yield
        finally:
            os.close(handle)

    def _require_folder(self, path: PurePosixPath) -> None:
        with self.folder(path):
            pass

    def _lock_file(self) -> int:
        place = PurePosixPath(LOCK_NAME)
        handle = self.open_entry(LOCK_NAME, _LOCK_FILE, self.handle, place)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise self.irregular(place)
        return handle

    @staticmethod
    def _is_locked(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _take_place(self, draft: str, path: str) -> None:
        old, new = PurePosixPath(draft), PurePosixPath(path)
        try:
            with self.folder(old.parent) as here, self.folder(new.parent) as there:
                os.rename(old.name, new.name, src_dir_fd=here, dst_dir_fd=there)
        finally:
            # A rename onto a link to the same file leaves both.
            self.remove(draft)


def _draft_path() -> str:
    return f"{VERSIONS_NAME}/{os.urandom(16).hex()}{DRAFT_SUFFIX}"
