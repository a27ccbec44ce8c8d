"""Packs an artifact into one file and unpacks it, verified on the way in."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from voirs_vocoder.export.artifact.draft import ArtifactDraft
from voirs_vocoder.export.artifact.folder import FileOf, WritableDirectory
from voirs_vocoder.export.artifact.packed_file import (
    ARCHIVE_END,
    PackedReader,
    compressed,
    entry_header,
    padding,
    reading_packed,
)
from voirs_vocoder.export.artifact.writer import refuse_existing, replace_artifact
from voirs_vocoder.runtime.artifact.directory import MANIFEST_NAME, SIGNATURE_NAME
from voirs_vocoder.runtime.artifact.keys import PublicKey, read_public_key
from voirs_vocoder.runtime.artifact.manifest import FileEntry, Manifest
from voirs_vocoder.runtime.artifact.reading import (
    MAX_MANIFEST_BYTES,
    Artifact,
    listing_manifest,
    read_manifest,
)
from voirs_vocoder.runtime.artifact.signature import MAX_SIGNATURE_BYTES, require_signed
from voirs_vocoder.runtime.artifact.signed_files import SignedFiles, stated_files, verified_files
from voirs_vocoder.runtime.errors import ArtifactError, InputError
from voirs_vocoder.runtime.files import whole_file

__all__ = ["pack_artifact", "unpack_artifact"]

# Where the size of a file stands in a header, in octal digits.
_NAME, _SIZE = slice(0, 100), slice(124, 135)


def pack_artifact(root: Path, output: Path, *, force: bool = False) -> Artifact:
    """Write an artifact into one file. Equal artifacts give equal files with the same version of `zstandard`.

    Files that the manifest does not list are left out.

    Args:
        root: Directory of the artifact.
        output: File to write; it appears whole or not at all.
        force: Whether a file that is there is replaced.

    Raises:
        ArtifactError: The artifact is damaged, was changed since it was signed, or is being changed.
        InputError: The file exists and `force` is not set, or cannot be written, or `zstandard` is not installed.
    """
    if os.path.lexists(output) and not force:
        raise InputError(f"{output}: exists already; choose another file, or replace it with force=True")
    data, signature = read_manifest(root, with_signature=True)
    manifest = listing_manifest(root, data)
    if signature is not None:
        where = root / SIGNATURE_NAME
        files = stated_files(signature, str(where))
        require_signed(files, data, manifest, str(where))
        _refuse_unlisted(files, manifest, root)
    artifact = Artifact(root, manifest)
    try:
        with whole_file(output) as draft, draft.open("xb") as file:
            with compressed(file) as stream:
                for path, content in ((MANIFEST_NAME, data), (SIGNATURE_NAME, signature)):
                    if content is not None:
                        stream.write(entry_header(path, len(content)) + content + padding(len(content)))
                for entry in _in_order(manifest):
                    stream.write(entry_header(entry.path, entry.size_bytes))
                    artifact.copy(entry, stream)
                    stream.write(padding(entry.size_bytes))
                stream.write(ARCHIVE_END)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise InputError(
            f"{output}: cannot be written: {error.strerror}; free space or choose another path"
        ) from error
    return artifact


def unpack_artifact(
    source: Path, target: Path, *, public_key: Path | None = None, force: bool = False
) -> Artifact:
    """Make an artifact of a packed file, whole or not at all; every file is verified before the artifact appears.

    Args:
        source: File that `pack_artifact` wrote.
        target: Directory of the artifact.
        public_key: PEM file of the public key with which the artifact must be signed; None takes an artifact that is
            signed by anybody or not at all.
        force: Whether an artifact that is there is replaced. Files in its directory that its manifest does not list
            stay.

    Raises:
        ArtifactError: The file is damaged, cut off or not as `pack_artifact` writes it, or the artifact in it is not
            signed with the private key of `public_key`, or not as it was signed.
        InputError: The target exists and `force` is not set, a file cannot be read or written, or `zstandard` or
            `cryptography` is not installed.
    """
    key = None if public_key is None else read_public_key(public_key)
    refuse_existing(target, force=force)
    with reading_packed(source) as reader:
        data, signature, begun = _read_beginning(reader)
        manifest = listing_manifest(Path(f"{source}:"), data)
        _require_signature(signature, key, data, manifest, f"{source}:{SIGNATURE_NAME}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _require_space(target, manifest)
            with ArtifactDraft(target) as draft:
                for entry in _in_order(manifest):
                    reader.rest_of_header(entry.path, entry.size_bytes, begun)
                    _write_verified(draft.directory, entry, reader)
                    begun = b""
                reader.finish(begun)
                # As in `create_artifact`.
                if force and os.path.lexists(target):
                    files = {
                        entry.path: FileOf(draft.directory, entry.path) for entry in manifest.all_files()
                    }
                    replace_artifact(target, manifest, files, manifest_bytes=data, signature=signature)
                else:
                    if signature is not None:
                        draft.directory.write_new(SIGNATURE_NAME, signature)
                    draft.directory.write_new(MANIFEST_NAME, data)
                    draft.publish()
        except OSError as error:
            raise InputError(f"{target}: cannot write the artifact: {error.strerror}") from error
    return Artifact(target, manifest)


def _in_order(manifest: Manifest) -> Iterator[FileEntry]:
    yield from sorted(manifest.all_files(), key=lambda entry: entry.path)


def _refuse_unlisted(files: SignedFiles, manifest: Manifest, root: Path) -> None:
    packed = {MANIFEST_NAME, *(entry.path for entry in manifest.all_files())}
    others = sorted(path for path in files.digests if path not in packed and not files.ignores(path))
    if others:
        raise ArtifactError(
            f"{root / others[0]}: is signed and no file of the artifact, so it would be missing when the artifact is "
            "unpacked; move it elsewhere and sign again"
        )


def _read_beginning(reader: PackedReader) -> tuple[bytes, bytes | None, bytes]:
    """The manifest, the signature if there is one, and the block behind them."""
    block = reader.block()
    data = _read_small(reader, MANIFEST_NAME, block, MAX_MANIFEST_BYTES)
    block = reader.block()
    if block[_NAME].rstrip(b"\0") != SIGNATURE_NAME.encode():
        return data, None, block
    signature = _read_small(reader, SIGNATURE_NAME, block, MAX_SIGNATURE_BYTES)
    return data, signature, reader.block()


def _read_small(reader: PackedReader, path: str, block: bytes, most_bytes: int) -> bytes:
    digits = block[_SIZE]
    size_bytes = int(digits, 8) if digits.isdigit() and not set(digits) & set(b"89") else 0
    if size_bytes > most_bytes:
        raise reader.problem(f"{path} has at most {most_bytes} bytes, got {size_bytes}")
    reader.rest_of_header(path, size_bytes, block)
    return b"".join(reader.content(size_bytes))


def _require_signature(
    signature: bytes | None, key: PublicKey | None, data: bytes, manifest: Manifest, where: str
) -> None:
    if signature is not None:
        files = stated_files(signature, where) if key is None else verified_files(signature, key, where)
        require_signed(files, data, manifest, where)
    elif key is not None:
        raise ArtifactError(f"{where}: the artifact must be signed, there is no signature; get a signed one")


def _require_space(target: Path, manifest: Manifest) -> None:
    needed_bytes = sum(entry.size_bytes for entry in manifest.all_files())
    free_bytes = shutil.disk_usage(target.parent).free
    if needed_bytes > free_bytes:
        raise InputError(
            f"{target}: the artifact takes {needed_bytes / 1e6:.0f} MB, {free_bytes / 1e6:.0f} MB are free; free space "
            "or choose another disk"
        )


def _write_verified(directory: WritableDirectory, entry: FileEntry, reader: PackedReader) -> None:
    directory.make_folder(PurePosixPath(entry.path).parent)
    digest = hashlib.sha256()
    with directory.new_file(entry.path) as file:
        for piece in reader.content(entry.size_bytes):
            digest.update(piece)
            file.write(piece)
    if digest.hexdigest() != entry.sha256:
        raise reader.problem(f"{entry.path} is not what the manifest recorded")
