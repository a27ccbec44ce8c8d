"""Every file in an artifact's directory, listed or not: what a signature is made of and compared with."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from voirs_vocoder.runtime.artifact.directory import ArtifactDirectory
from voirs_vocoder.runtime.artifact.signed_files import UNSIGNED_PATHS, SignedFiles
from voirs_vocoder.runtime.errors import ArtifactError

__all__ = ["Difference", "folder_differences", "folder_digests"]


@dataclass(frozen=True)
class Difference:
    """A file that is not as it was signed.

    Attributes:
        kind: `changed` for other bytes, `missing` for a signed file that is gone, `extra` for one that was not signed,
            `irregular` for a link, a pipe or anything else that is neither a file nor a folder.
        path: Path in the artifact.
    """

    kind: Literal["changed", "missing", "extra", "irregular"]
    path: str


def folder_differences(directory: ArtifactDirectory, signed: SignedFiles) -> list[Difference]:
    """Compare all files of a directory with what was signed. No link is followed.

    Args:
        directory: Directory of the artifact.
        signed: What the signature covers.

    Returns:
        Differences sorted by path; empty where everything is as it was signed.

    Raises:
        ArtifactError: A file or folder cannot be read.
    """
    found = dict(folder_digests(directory, signed))
    differences = []
    for path in {*found, *signed.digests}:
        before, now = signed.digests.get(path), found.get(path)
        if path in found and now is None:
            differences.append(Difference("irregular", path))
        elif before is None:
            differences.append(Difference("extra", path))
        elif now is None:
            # The state of the directory may be signed by others, and comes and goes.
            if path.split("/")[0] not in UNSIGNED_PATHS:
                differences.append(Difference("missing", path))
        elif before != now:
            differences.append(Difference("changed", path))
    return sorted(differences, key=lambda each: each.path)


def folder_digests(directory: ArtifactDirectory, signed: SignedFiles) -> Iterator[tuple[str, str | None]]:
    """Hash every file of a directory that a signature may cover.

    Args:
        directory: Directory of the artifact.
        signed: Names what is left out.

    Yields:
        Path in the artifact, and the SHA-256 of the file in lower-case hex; None for what is neither a regular file
        nor a folder, such as a link.

    Raises:
        ArtifactError: A file or folder cannot be read.
    """
    folders = [PurePosixPath()]
    while folders:
        folder = folders.pop()
        try:
            yield from _files_in(directory, folder, folders, signed)
        except OSError as error:
            raise ArtifactError(
                f"{directory.root / folder}: cannot be read ({error.strerror}); check its permissions"
            ) from error


def _files_in(
    directory: ArtifactDirectory, folder: PurePosixPath, folders: list[PurePosixPath], signed: SignedFiles
) -> Iterator[tuple[str, str | None]]:
    """Files of one folder; the folders in it are added to `folders`."""
    with directory.folder(folder) as handle:
        with os.scandir(handle) as entries:
            names = sorted(entry.name for entry in entries)
        for name in names:
            place = folder / name
            if signed.ignores(str(place)):
                continue
            mode = os.stat(name, dir_fd=handle, follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                folders.append(place)
            elif stat.S_ISREG(mode):
                yield str(place), _digest(directory, str(place))
            else:
                yield str(place), None


def _digest(directory: ArtifactDirectory, path: str) -> str | None:
    """SHA-256 of a file; None where a link has taken its place, or where no artifact can have a file of its name."""
    try:
        with directory.open(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except ArtifactError:
        return None
