"""Writes artifacts so that no reader ever finds half of one.

A new artifact is made in a hidden sibling and renamed into place. A later change, the replacement of the whole artifact
included, is one rename of the manifest under a lock; see `commit`. Files that no manifest lists are never touched.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

import msgspec

from voirs_vocoder.export.artifact.commit import commit, complete, listed_files
from voirs_vocoder.export.artifact.draft import ArtifactDraft
from voirs_vocoder.export.artifact.folder import FileOf, WritableDirectory
from voirs_vocoder.runtime.artifact.directory import MANIFEST_NAME
from voirs_vocoder.runtime.artifact.manifest import FileEntry, Manifest, encode_manifest
from voirs_vocoder.runtime.artifact.reading import Artifact
from voirs_vocoder.runtime.errors import InputError

__all__ = [
    "create_artifact",
    "file_entry",
    "locked_artifact",
    "refuse_existing",
    "replace_artifact",
    "replace_manifest",
    "with_files",
]

# Long enough for another process to complete a change whose files are made already.
_CREATION_WAIT_S = 10.0


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
        InputError: The target exists and `force` is not set, or the target is a link or no artifact and so is never
            replaced.
        ArtifactError: The manifest that is there is a link or no regular file.
    """
    if not os.path.lexists(target):
        return
    if not force:
        raise InputError(f"{target}: exists already; choose another directory, or replace it with force=True")
    if target.is_symlink():
        raise InputError(f"{target}: is a link, which force=True does not replace; give the directory itself")
    try:
        with WritableDirectory(target) as directory:
            listed_files(directory)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(
            f"{target}: force=True replaces artifacts only, this has no {MANIFEST_NAME}"
        ) from error
    except OSError as error:
        raise InputError(f"{target}: cannot be replaced: {error.strerror}") from error


def create_artifact(target: Path, manifest: Manifest, files: Mapping[str, bytes], *, force: bool) -> Artifact:
    """Write a new artifact, whole or not at all.

    Args:
        target: Directory of the artifact.
        manifest: Manifest that lists exactly the files.
        files: Path in the artifact to bytes.
        force: Whether an artifact that is there is replaced. Files in its directory that its manifest does not list
            stay.

    Raises:
        InputError: The target exists and `force` is not set, or it cannot be written.
        ArtifactError: What is to be replaced has links in it, or another process is changing it.
    """
    refuse_existing(target, force=force)
    try:
        # Without `force`, what another process has made since the check stays: publishing refuses it.
        if force and os.path.lexists(target):
            replace_artifact(target, manifest, files)
        else:
            _create_new(target, manifest, files)
    except OSError as error:
        raise InputError(f"{target}: cannot write the artifact: {error.strerror}") from error
    return Artifact(target, manifest)


def replace_artifact(
    target: Path,
    manifest: Manifest,
    files: Mapping[str, bytes | FileOf],
    *,
    manifest_bytes: bytes | None = None,
    signature: bytes | None = None,
) -> None:
    """Replace the whole content of an artifact, of an earlier or later format too.

    Args:
        target: Directory of the artifact.
        manifest: Manifest that lists exactly the files.
        files: Path in the artifact to its content: bytes, or a file that has them.
        manifest_bytes: Bytes of the manifest as they were signed; None encodes it.
        signature: Signature of the manifest; None leaves the artifact unsigned.

    Raises:
        InputError: A file that no manifest lists is in the way.
        ArtifactError: The artifact has links in it, or another process is changing it.
        OSError: A file cannot be written; the artifact stays as it was.
    """
    with WritableDirectory(target) as directory, directory.locked(_CREATION_WAIT_S):
        listed = listed_files(directory)
        complete(directory, listed)
        commit(directory, listed, manifest, files, manifest_bytes=manifest_bytes, signature=signature)


def _create_new(target: Path, manifest: Manifest, files: Mapping[str, bytes]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with ArtifactDraft(target) as draft:
        for path, data in (*files.items(), (MANIFEST_NAME, encode_manifest(manifest))):
            draft.directory.make_folder(PurePosixPath(path).parent)
            draft.directory.write_new(path, data)
        draft.publish()


@contextlib.contextmanager
def locked_artifact(root: Path) -> Iterator[Artifact]:
    """Open an artifact that no other process changes meanwhile, after completing what a killed process left.

    Args:
        root: Directory of the artifact.

    Yields:
        The artifact, read after the lock was taken.

    Raises:
        ArtifactError: The artifact is damaged, or has links or special files in it, or another process is changing it.
        InputError: The artifact cannot be written.
    """
    Artifact.open(root)
    with contextlib.ExitStack() as stack:
        try:
            directory = stack.enter_context(WritableDirectory(root))
            stack.enter_context(directory.locked(wait_s=0))
            artifact = Artifact.open(root)
            complete(directory, artifact.manifest.all_files())
            # Before an hour of work, not after it.
            for entry in artifact.manifest.all_files():
                directory.status(entry.path)
        except OSError as error:
            raise InputError(f"{root}: cannot be changed: {error.strerror}") from error
        yield artifact


def replace_manifest(artifact: Artifact, manifest: Manifest, files: Mapping[str, bytes]) -> Artifact:
    """Write a change of a locked artifact to disk, the manifest last; files that it no longer lists are removed.

    Args:
        artifact: Artifact that `locked_artifact` yielded.
        manifest: New manifest.
        files: Path in the artifact to bytes, of new and changed files. What the new manifest does not list is not
            written.

    Raises:
        InputError: A file cannot be written, for example because the disk is full, or a file that no manifest lists is
            in its way; the artifact stays as it was.
        ArtifactError: A file of the artifact is a link or not regular; the artifact stays as it was.
    """
    try:
        with WritableDirectory(artifact.root) as directory:
            commit(directory, artifact.manifest.all_files(), manifest, files)
    except OSError as error:
        raise InputError(f"{artifact.root}: cannot write the artifact: {error.strerror}") from error
    return Artifact(artifact.root, manifest)


def with_files(manifest: Manifest, files: Mapping[str, bytes]) -> Manifest:
    """The manifest with more files listed; an entry of the same path is replaced.

    Args:
        manifest: Manifest to start from; it is not changed.
        files: Path in the artifact to bytes.
    """
    others = tuple(entry for entry in manifest.files if entry.path not in files)
    listed = (file_entry(path, content) for path, content in files.items())
    return msgspec.structs.replace(manifest, files=(*others, *listed))
