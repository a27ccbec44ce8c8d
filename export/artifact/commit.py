"""Changes an artifact by one rename: new bytes lie in `.versions` until the new manifest takes the old one's place.

`.versions` holds, each named by SHA-256: files that a new manifest names and that have not taken their places yet
(`HASH`), and replaced files for readers that still hold an earlier manifest (`HASH.old`). Readers look there too, so
the artifact is whole at every moment. The next process that locks the artifact completes what a killed process left.

A signature signs one manifest, so it is removed once another one is in place. Until then a reader that demands a
signature refuses the artifact, as it does afterwards.
"""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import PurePosixPath

import msgspec

from voirs_vocoder.export.artifact.folder import DRAFT_SUFFIX, FileOf, WritableDirectory
from voirs_vocoder.runtime.artifact.directory import (
    MANIFEST_NAME,
    SIGNATURE_NAME,
    VERSIONS_NAME,
    require_listed_path,
    version_paths,
)
from voirs_vocoder.runtime.artifact.manifest import FileEntry, Manifest, encode_manifest
from voirs_vocoder.runtime.artifact.signature import read_signature, signature_state
from voirs_vocoder.runtime.errors import ArtifactError, InputError

__all__ = ["commit", "complete", "listed_files"]

_LOG = logging.getLogger(__name__)

_REPLACED_MANIFEST = f"{VERSIONS_NAME}/{MANIFEST_NAME}"
_HASH = re.compile(r"[0-9a-f]{64}")
_OLD_HASH = re.compile(r"([0-9a-f]{64})\.old")
# A reader that has read a manifest has this long to open its files, however many changes follow one another.
_KEPT_S = 30.0


def listed_files(directory: WritableDirectory, path: str = MANIFEST_NAME) -> tuple[FileEntry, ...]:
    """Files that a manifest lists, of an earlier or later format too.

    Args:
        directory: Directory of the artifact.
        path: Path of the manifest.

    Raises:
        InputError: The manifest is no JSON, so that nothing is known of its files.
        ArtifactError: The manifest is a link or no regular file.
        OSError: The manifest cannot be read.
    """
    with directory.open(path) as file:
        data = file.read()
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputError(
            f"{directory.root / path}: cannot be read ({error}), so which files belong to the artifact is not known; "
            "choose another directory, or remove this one"
        ) from error
    entries = {}
    for found in _dicts(document):
        try:
            entry = msgspec.convert(found, FileEntry)
            require_listed_path(directory.root, entry.path)
        except (msgspec.ValidationError, ArtifactError):
            continue
        entries[entry.path] = entry
    return tuple(entries.values())


def commit(
    directory: WritableDirectory,
    listed: Sequence[FileEntry],
    manifest: Manifest,
    files: Mapping[str, bytes | FileOf],
    *,
    manifest_bytes: bytes | None = None,
    signature: bytes | None = None,
) -> None:
    """Replace the manifest and files of a locked artifact; on an error the artifact stays as it was.

    Args:
        directory: Directory of the artifact.
        listed: Files that the manifest to be replaced lists. Those that the new manifest does not list are removed.
        manifest: New manifest.
        files: Path in the artifact to the content of new and changed files that the new manifest lists: bytes, or a
            file that has them.
        manifest_bytes: Bytes of the new manifest as they were signed; None encodes it.
        signature: Signature of the new manifest; None leaves it unsigned.

    Raises:
        InputError: A file that no manifest lists is in the way.
        ArtifactError: A file of the artifact is a link or not regular.
        OSError: A file cannot be written.
    """
    old = {entry.path: entry for entry in listed}
    new = {entry.path: entry for entry in manifest.all_files()}
    for path in {**old, **new}:
        there = directory.status(path) is not None
        if there and path not in old and not _holds(directory, new[path]):
            raise InputError(
                f"{directory.root / path}: is in the way and no file of the artifact; move it elsewhere"
            )
    written = {path: new[path] for path in files if path in new}
    leaving = [
        entry
        for path, entry in old.items()
        if path not in new or (path in written and written[path].sha256 != entry.sha256)
    ]
    data = encode_manifest(manifest) if manifest_bytes is None else manifest_bytes
    changed = _bytes_at(directory, MANIFEST_NAME) != data
    undo = ExitStack()
    try:
        for folder in (VERSIONS_NAME, *(str(PurePosixPath(path).parent) for path in written)):
            for made in directory.make_folder(PurePosixPath(folder)):
                undo.callback(directory.remove_empty_folder, made)
        for path, entry in written.items():
            pending, _ = version_paths(entry.sha256)
            undo.callback(directory.remove, pending)
            content = files[path]
            if isinstance(content, FileOf):
                directory.replace_by(pending, content.path, content.directory)
            else:
                directory.replace(pending, content)
        _keep(directory, leaving, undo)
        directory.sync(PurePosixPath(VERSIONS_NAME))
        directory.replace(MANIFEST_NAME, data)
    except BaseException:
        # An interruption may come when the manifest is in place already.
        if _bytes_at(directory, MANIFEST_NAME) != data:
            undo.close()
        raise
    try:
        directory.sync(PurePosixPath())
        if signature is not None:
            directory.replace(SIGNATURE_NAME, signature)
        elif changed:
            _remove_signature(directory)
        complete(directory, manifest.all_files())
        _forget(directory, {entry.sha256 for entry in listed})
    except (OSError, ArtifactError) as error:
        _LOG.warning(
            "%s: changed; the next change removes what is left of the old files: %s", directory.root, error
        )


def complete(directory: WritableDirectory, listed: Sequence[FileEntry]) -> None:
    """Put every file of a locked artifact in its place, and remove what a killed process left.

    Args:
        directory: Directory of the artifact.
        listed: Files that the manifest lists.

    Raises:
        ArtifactError: A file of the artifact is a link or not regular.
        OSError: A file cannot be moved.
    """
    _remove_outdated_signature(directory)
    names = directory.names_in_versions()
    for entry in listed:
        if entry.sha256 in names:
            pending, _ = version_paths(entry.sha256)
            folder = PurePosixPath(entry.path).parent
            directory.make_folder(folder)
            directory.replace_by(entry.path, pending)
            directory.sync(folder)
    if MANIFEST_NAME in names:
        _remove_dropped(directory, listed)
    for name in names:
        if name.endswith(DRAFT_SUFFIX) or _HASH.fullmatch(name):
            directory.remove(f"{VERSIONS_NAME}/{name}")
    directory.remove_empty_folder(PurePosixPath(VERSIONS_NAME))


def _keep(directory: WritableDirectory, leaving: Sequence[FileEntry], undo: ExitStack) -> None:
    """Keep the manifest and the files that leave it, for readers and for the next process after a kill."""
    names = directory.names_in_versions()
    if MANIFEST_NAME not in names:
        undo.callback(directory.remove, _REPLACED_MANIFEST)
    directory.replace_by(_REPLACED_MANIFEST, MANIFEST_NAME)
    for entry in leaving:
        _, kept = version_paths(entry.sha256)
        if PurePosixPath(kept).name in names or directory.status(entry.path) is None:
            continue
        names.add(PurePosixPath(kept).name)
        undo.callback(directory.remove, kept)
        directory.link_new(kept, entry.path)


def _remove_dropped(directory: WritableDirectory, listed: Sequence[FileEntry]) -> None:
    """Remove the files that the replaced manifest lists and this one does not, unless they are other files by now."""
    try:
        replaced = listed_files(directory, _REPLACED_MANIFEST)
    except InputError:
        return
    paths = {entry.path for entry in listed}
    for entry in replaced:
        if entry.path not in paths and _holds(directory, entry):
            directory.remove(entry.path)


def _forget(directory: WritableDirectory, kept: set[str]) -> None:
    """Remove replaced files, but not those of the manifest that was replaced last, nor any of the last seconds."""
    for name in directory.names_in_versions():
        match = _OLD_HASH.fullmatch(name)
        if match is None or match[1] in kept:
            continue
        path = f"{VERSIONS_NAME}/{name}"
        status = directory.status(path)
        # A hard link changes this time, so it is when the file was replaced.
        if status is not None and abs(time.time() - status.st_ctime) > _KEPT_S:
            directory.remove(path)


def _remove_outdated_signature(directory: WritableDirectory) -> None:
    """Remove the signature of an earlier manifest, which a killed process left."""
    signature = read_signature(directory)
    if (
        signature is not None
        and signature_state(signature, _bytes_at(directory, MANIFEST_NAME)) == "outdated"
    ):
        _remove_signature(directory)


def _remove_signature(directory: WritableDirectory) -> None:
    if directory.status(SIGNATURE_NAME) is not None:
        directory.remove(SIGNATURE_NAME)
        _LOG.warning(
            "%s: the signature in %s does not fit the changed artifact and was removed; sign it again with "
            "`voirs-vocoder sign`",
            directory.root,
            SIGNATURE_NAME,
        )


def _holds(directory: WritableDirectory, entry: FileEntry) -> bool:
    status = directory.status(entry.path)
    if status is None or status.st_size != entry.size_bytes:
        return False
    with directory.open(entry.path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == entry.sha256


def _bytes_at(directory: WritableDirectory, path: str) -> bytes:
    with directory.open(path) as file:
        return file.read()


def _dicts(document: object) -> Iterator[dict[str, object]]:
    """Every dict within a JSON document."""
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
