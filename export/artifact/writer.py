"""Writes artifacts so that no reader ever finds half of one, and nothing outside is ever touched.

A new artifact is made in a temporary sibling and renamed into place, or changes places with the one that it replaces.
A later change writes its new files first, flushed, under names that no file has, and replaces manifest.json last, under
a lock; files that the manifest does not list are ignored by readers. Below the artifact no link is followed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from voirs_vocoder.export.artifact.draft import (
    LOCK_NAME,
    draft_directory,
    exchanged,
    hold_lock,
    is_draft,
    remove_litter,
    stored_name,
    unlink_inside,
    write_inside,
)
from voirs_vocoder.runtime.artifact.directory import opened_directory, opened_folder, require_inside
from voirs_vocoder.runtime.artifact.manifest import FileEntry, Manifest, encode_manifest
from voirs_vocoder.runtime.artifact.reading import MANIFEST_NAME, Artifact
from voirs_vocoder.runtime.errors import InputError

__all__ = [
    "create_artifact",
    "file_entry",
    "locked_artifact",
    "refuse_existing",
    "replace_manifest",
    "with_files",
]


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
        InputError: The target exists and `force` is not set, or the target is no artifact, or a link to one, or holds
            files that are none of the artifact's; none of these is ever replaced.
    """
    if not os.path.lexists(target):
        return
    if not force:
        raise InputError(f"{target}: exists already; choose another directory, or replace it with force=True")
    if target.is_symlink():
        raise InputError(
            f"{target}: force=True replaces artifacts only, this is a link; give the path behind it"
        )
    if not (target / MANIFEST_NAME).is_file():
        raise InputError(f"{target}: force=True replaces artifacts only, this has no {MANIFEST_NAME}")
    foreign = _foreign_file(target)
    if foreign is not None:
        raise InputError(
            f"{target}: force=True replaces artifacts only, {foreign} is none of its files; move it elsewhere"
        )


def create_artifact(target: Path, manifest: Manifest, files: Mapping[str, bytes], *, force: bool) -> Artifact:
    """Write a new artifact, whole or not at all.

    Args:
        target: Directory of the artifact.
        manifest: Manifest that lists exactly the files.
        files: Path in the artifact to bytes.
        force: Whether an artifact that is there is replaced, in one step.

    Raises:
        ArtifactError: Another process is changing the artifact that is to be replaced.
        InputError: The target exists and `force` is not set, or it cannot be written or replaced.
    """
    refuse_existing(target, force=force)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with draft_directory(target) as draft:
            with opened_directory(draft) as directory:
                for path, data in (*files.items(), (MANIFEST_NAME, encode_manifest(manifest))):
                    write_inside(directory, path, data, str(draft))
            if not os.path.lexists(target):
                # A directory that came into being meanwhile is not empty, and so not replaced.
                draft.rename(target)
            else:
                with opened_directory(target) as old, hold_lock(old, str(target)):
                    refuse_existing(target, force=force)
                    # What had the target's name is removed with the draft's.
                    exchanged(draft, target)
            _sync(target.parent)
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
    with contextlib.ExitStack() as stack:
        try:
            directory = stack.enter_context(opened_directory(root))
            stack.enter_context(hold_lock(directory, str(root)))
        except OSError as error:
            raise InputError(f"{root}: cannot be changed: {error.strerror}") from error
        yield Artifact.open(root)


def replace_manifest(artifact: Artifact, manifest: Manifest, files: Mapping[str, bytes]) -> Artifact:
    """Write a change of a locked artifact to disk, the manifest last, which replaces the other in one step.

    Content that takes another's place is stored beside it, so that those who read the manifest before still find
    theirs; the next change removes it.

    Args:
        artifact: Artifact that `locked_artifact` yielded.
        manifest: New manifest, which lists the new and changed files by their paths.
        files: Path in the artifact to bytes, of new and changed files.

    Returns:
        The artifact with the manifest that was written.

    Raises:
        ArtifactError: A folder of the artifact is a link.
        InputError: A file cannot be written, for example because the disk is full; the artifact stays as it was.
    """
    root, before = artifact.root, artifact.manifest
    where = str(root)
    held = {entry.location: entry.sha256 for entry in before.all_files()}
    try:
        with opened_directory(root) as directory:
            remove_litter(directory, {*held, *before.superseded}, where)
            for path in before.superseded:
                if path not in held:
                    unlink_inside(directory, path, where)
            stored = {}
            for path, data in files.items():
                stored[path] = _stored(directory, path, data, held, where)
            written = _with_locations(manifest, stored)
            pages = {entry.path for entry in written.files}
            kept = {entry.location for entry in written.all_files()} | pages
            written = msgspec.structs.replace(written, superseded=tuple(sorted(set(held) - kept)))
            write_inside(directory, MANIFEST_NAME, encode_manifest(written), where)
            for path, place in stored.items():
                # People look for the model card and the report under their usual names.
                if path in pages and place != path:
                    write_inside(directory, path, files[path], where)
    except OSError as error:
        raise InputError(f"{root}: cannot write the artifact: {error.strerror}") from error
    return Artifact(root, written)


def _stored(directory: int, path: str, data: bytes, held: Mapping[str, str], where: str) -> str:
    """Write content where it harms nobody; returns the path of its place."""
    digest = hashlib.sha256(data).hexdigest()
    place = path
    if held.get(path, digest) != digest or (path not in held and _exists(directory, path, where)):
        place = stored_name(path, digest)
    if held.get(place) != digest:
        write_inside(directory, place, data, where)
    return place


def _exists(directory: int, path: str, where: str) -> bool:
    inside = require_inside(path, where)
    try:
        with opened_folder(directory, inside.parent, where) as folder:
            os.stat(inside.name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _with_locations(manifest: Manifest, stored: Mapping[str, str]) -> Manifest:
    """The manifest with the places of files that were written."""

    def located(entry: FileEntry) -> FileEntry:
        if entry.path not in stored:
            return entry
        place = stored[entry.path]
        return msgspec.structs.replace(entry, stored=None if place == entry.path else place)

    replace = msgspec.structs.replace
    return replace(
        manifest,
        graphs=tuple(replace(graph, file=located(graph.file)) for graph in manifest.graphs),
        engines=tuple(replace(engine, file=located(engine.file)) for engine in manifest.engines),
        files=tuple(located(entry) for entry in manifest.files),
    )


def _foreign_file(root: Path) -> str | None:
    """A file in an artifact's directory that no manifest of it lists; None where there is none."""
    manifest = Artifact.open(root).manifest
    own = {place for entry in manifest.all_files() for place in (entry.path, entry.location)}
    own |= {*manifest.superseded, MANIFEST_NAME, LOCK_NAME}
    for folder, folders, names in os.walk(root):
        for name in names + [name for name in folders if (Path(folder) / name).is_symlink()]:
            path = (Path(folder) / name).relative_to(root).as_posix()
            if path not in own and not is_draft(name):
                return path
    return None


def _sync(folder: Path) -> None:
    with opened_directory(folder) as descriptor:
        os.fsync(descriptor)


def with_files(manifest: Manifest, files: Mapping[str, bytes]) -> Manifest:
    """The manifest with more files listed; an entry of the same path is replaced.

    Args:
        manifest: Manifest to start from; it is not changed.
        files: Path in the artifact to bytes.
    """
    others = tuple(entry for entry in manifest.files if entry.path not in files)
    listed = (file_entry(path, content) for path, content in files.items())
    return msgspec.structs.replace(manifest, files=(*others, *listed))
