"""Writes artifacts so that no reader ever finds half of one.

A new artifact is made in a temporary sibling and renamed into place. A later change writes its new files first,
flushed, and replaces manifest.json last, under a lock; files that the manifest does not list are ignored by readers.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from voirs_vocoder.runtime.artifact.manifest import FileEntry, Manifest, encode_manifest
from voirs_vocoder.runtime.artifact.reading import MANIFEST_NAME, Artifact
from voirs_vocoder.runtime.errors import ArtifactError, InputError
from voirs_vocoder.runtime.files import write_synced

__all__ = [
    "create_artifact",
    "file_entry",
    "locked_artifact",
    "refuse_existing",
    "replace_manifest",
    "with_files",
]

_LOCK_NAME = ".lock"


def file_entry(path: str, data: bytes) -> FileEntry:
    """The manifest's record of a file.

    Args:
        path: Path relative to the artifact, with forward slashes.
        data: Bytes of the file.
    """
    return FileEntry(path=path, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))


def refuse_existing(target: Path, *, force: bool) -> None:
    """Check that an artifact may be created, before hours are spent on making it.

    Args:
        target: Directory of the artifact.
        force: Whether an artifact that is there may be replaced.

    Raises:
        InputError: The target exists and `force` is not set, or the target is no artifact and so is never replaced.
    """
    if not os.path.lexists(target):
        return
    if not force:
        raise InputError(f"{target}: exists already; choose another directory, or replace it with force=True")
    if not (target / MANIFEST_NAME).is_file():
        raise InputError(f"{target}: force=True replaces artifacts only, this has no {MANIFEST_NAME}")


def create_artifact(target: Path, manifest: Manifest, files: Mapping[str, bytes], *, force: bool) -> Artifact:
    """Write a new artifact, whole or not at all.

    Args:
        target: Directory of the artifact.
        manifest: Manifest that lists exactly the files.
        files: Path in the artifact to bytes.
        force: Whether an artifact that is there is replaced.

    Raises:
        InputError: The target exists and `force` is not set, or it cannot be written.
    """
    refuse_existing(target, force=force)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent))
        try:
            draft.chmod(0o755)
            for path, data in (*files.items(), (MANIFEST_NAME, encode_manifest(manifest))):
                _write(draft / path, data)
            if os.path.lexists(target):
                old = draft.with_suffix(".replaced")
                target.rename(old)
                draft.rename(target)
                shutil.rmtree(old)
            else:
                draft.rename(target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise InputError(f"{target}: cannot write the artifact: {error.strerror}") from error
    return Artifact(target, manifest)


@contextlib.contextmanager
def locked_artifact(root: Path) -> Iterator[Artifact]:
    """Open an artifact that no other process changes meanwhile.

    Args:
        root: Directory of the artifact.

    Yields:
        The artifact, read after the lock was taken.

    Raises:
        ArtifactError: The artifact is damaged, or another process is changing it.
        InputError: The lock file cannot be written.
    """
    Artifact.open(root)
    try:
        lock = os.open(root / _LOCK_NAME, os.O_CREAT | os.O_RDWR, 0o644)
    except OSError as error:
        raise InputError(f"{root}: cannot be changed: {error.strerror}") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ArtifactError(
                f"{root}: another process is changing this artifact; try again later"
            ) from error
        yield Artifact.open(root)
    finally:
        os.close(lock)


def replace_manifest(artifact: Artifact, manifest: Manifest, files: Mapping[str, bytes]) -> Artifact:
    """Write a change of a locked artifact to disk, the manifest last; files that it no longer lists are removed.

    Args:
        artifact: Artifact that `locked_artifact` yielded.
        manifest: New manifest.
        files: Path in the artifact to bytes, of new and changed files.

    Raises:
        InputError: A file cannot be written, for example because the disk is full; the artifact stays as it was.
    """
    drafts: list[tuple[Path, Path]] = []
    try:
        try:
            for path, data in (*files.items(), (MANIFEST_NAME, encode_manifest(manifest))):
                final = artifact.root / path
                draft = final.with_name(f".{final.name}.partial")
                drafts.append((draft, final))
                _write(draft, data)
            for draft, final in drafts:
                draft.replace(final)
        finally:
            for draft, _ in drafts:
                draft.unlink(missing_ok=True)
        listed = {entry.path for entry in manifest.all_files()}
        for entry in artifact.manifest.all_files():
            if entry.path not in listed:
                (artifact.root / entry.path).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{artifact.root}: cannot write the artifact: {error.strerror}") from error
    return Artifact(artifact.root, manifest)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_synced(path, data)


def with_files(manifest: Manifest, files: Mapping[str, bytes]) -> Manifest:
    """The manifest with more files listed; an entry of the same path is replaced.

    Args:
        manifest: Manifest to start from; it is not changed.
        files: Path in the artifact to bytes.
    """
    others = tuple(entry for entry in manifest.files if entry.path not in files)
    listed = (file_entry(path, content) for path, content in files.items())
    return msgspec.structs.replace(manifest, files=(*others, *listed))
