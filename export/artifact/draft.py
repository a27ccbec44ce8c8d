"""A new artifact in the making: a hidden sibling of its directory, which takes the directory's name by one rename."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self

from voirs_vocoder.export.artifact.folder import WritableDirectory
from voirs_vocoder.runtime.errors import InputError

__all__ = ["ArtifactDraft"]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class ArtifactDraft:
    """Hidden directory beside that of the artifact; it is removed unless it was published.

    The process that makes a draft locks it, so that the next one for the same artifact can remove what a killed process
    left, and nothing else.

    Attributes:
        directory: Handle of the draft.
    """

    directory: WritableDirectory

    def __init__(self, target: Path) -> None:
        """Prepare a draft; `with` makes it.

        Args:
            target: Directory of the artifact, whose parent exists.
        """
        self._target = target
        # Of a fixed length, since the name of the artifact may be as long as a name can be.
        self._prefix = f".voirs-{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]}-"
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Remove the drafts of killed processes, and make one.

        Raises:
            OSError: The draft cannot be made.
        """
        with self._stack as stack:
            self._parent = os.open(self._target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, self._parent)
            self._remove_abandoned()
            while not self._make(stack):
                pass
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the draft, if it is still there."""
        self._stack.close()

    def publish(self) -> None:
        """Give the draft the name of the artifact.

        Raises:
            InputError: Something has that name by now.
            OSError: The draft cannot be renamed.
        """
        self.directory.sync(PurePosixPath())
        try:
            # A rename replaces an empty directory, and no other.
            os.rename(self._name, self._target.name, src_dir_fd=self._parent, dst_dir_fd=self._parent)
        except OSError as error:
            if os.path.lexists(self._target):
                raise InputError(
                    f"{self._target}: another process has made it meanwhile; choose another directory, or replace it "
                    "with force=True"
                ) from error
            raise
        os.fsync(self._parent)

    def _make(self, stack: contextlib.ExitStack) -> bool:
        """Make and lock a draft; False where another process removed it before it was locked."""
        self._name = f"{self._prefix}{os.urandom(8).hex()}.partial"
        os.mkdir(self._name, dir_fd=self._parent)
        stack.callback(shutil.rmtree, self._name, ignore_errors=True, dir_fd=self._parent)
        try:
            handle = os.open(self._name, _FOLDER, dir_fd=self._parent)
        except FileNotFoundError:
            return False
        self.directory = stack.enter_context(WritableDirectory(self._target.parent / self._name, handle))
        _lock(handle, fcntl.LOCK_EX)
        return self._is_there()

    def _is_there(self) -> bool:
        try:
            os.stat(self._name, dir_fd=self._parent, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def _remove_abandoned(self) -> None:
        pattern = re.compile(re.escape(self._prefix) + r"[0-9a-f]{16}\.partial")
        names = os.listdir(self._parent)  # noqa: PTH208 - of a descriptor
        for name in filter(pattern.fullmatch, names):
            with contextlib.suppress(OSError):
                handle = os.open(name, _FOLDER, dir_fd=self._parent)
                try:
                    if _lock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB):
                        shutil.rmtree(name, dir_fd=self._parent)
                finally:
                    os.close(handle)


def _lock(handle: int, how: int) -> bool:
    """Lock a directory; False where another process has locked it, or the file system locks no directories."""
    try:
        fcntl.flock(handle, how)
    except OSError:
        return False
    return True
