"""Signs an artifact: every file in its directory, in the format of OpenSSF model signing."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath

from voirs_vocoder.export.artifact.folder import WritableDirectory
from voirs_vocoder.export.artifact.writer import locked_artifact
from voirs_vocoder.runtime.artifact.directory import MANIFEST_NAME, SIGNATURE_NAME, VERSIONS_NAME
from voirs_vocoder.runtime.artifact.keys import PrivateKey
from voirs_vocoder.runtime.artifact.manifest import Manifest
from voirs_vocoder.runtime.artifact.reading import listing_manifest
from voirs_vocoder.runtime.artifact.signature import read_signature, signature_state
from voirs_vocoder.runtime.artifact.signed_files import SignedFiles, encode_signature
from voirs_vocoder.runtime.artifact.signed_folder import folder_digests
from voirs_vocoder.runtime.errors import ArtifactError, InputError

__all__ = ["sign_artifact"]


def sign_artifact(root: Path, key: PrivateKey, *, force: bool = False) -> SignedFiles:
    """Write the signature of an artifact.

    Files that the manifest does not list are signed too, so that a verifier finds any that is added later.

    Args:
        root: Directory of the artifact.
        key: Private key to sign with.
        force: Whether a signature that fits the artifact, of any key, is replaced.

    Returns:
        What was signed.

    Raises:
        ArtifactError: The artifact is damaged, has links or special files in it, or another process is changing it.
        InputError: The artifact is signed already and `force` is not set, or it cannot be written.
    """
    with locked_artifact(root):
        try:
            with WritableDirectory(root) as directory:
                with directory.open(MANIFEST_NAME) as file:
                    data = file.read()
                before = read_signature(directory)
                if before is not None and not force and signature_state(before, data) == "fits":
                    raise InputError(
                        f"{root}: is signed already, and the signature fits; replace it with force=True"
                    )
                # What is signed are these bytes, so these are the ones that must be right.
                manifest = listing_manifest(root, data)
                files = _signed_files(directory, data, manifest)
                signature = encode_signature(files, f"{manifest.family}-{manifest.variant}", key)
                directory.make_folder(PurePosixPath(VERSIONS_NAME))
                try:
                    directory.replace(SIGNATURE_NAME, signature)
                finally:
                    directory.remove_empty_folder(PurePosixPath(VERSIONS_NAME))
                directory.sync(PurePosixPath())
        except OSError as error:
            raise InputError(f"{root}: cannot write the signature: {error.strerror}") from error
    return files


def _signed_files(directory: WritableDirectory, data: bytes, manifest: Manifest) -> SignedFiles:
    """Hashes of all files, of which those that the manifest lists must be as it records them."""
    digests: dict[str, str] = {}
    for path, sha256 in folder_digests(directory, SignedFiles({})):
        if sha256 is None:
            raise ArtifactError(
                f"{directory.root / path}: only regular files with names in UTF-8 can be signed; remove it"
            )
        digests[path] = sha256
    digests[MANIFEST_NAME] = hashlib.sha256(data).hexdigest()
    for entry in manifest.all_files():
        if digests.get(entry.path) != entry.sha256:
            raise ArtifactError(
                f"{directory.root / entry.path}: differs from what the manifest recorded, so it is not signed; copy or "
                "export the artifact again"
            )
    return SignedFiles(digests)
