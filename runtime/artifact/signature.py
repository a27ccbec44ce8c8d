"""model.sig: the signature of all files of an artifact, and how it stands to the manifest.

The manifest is one of the signed files, and its list of hashes covers all files that are ever used; so a reader that
has verified the manifest's bytes needs no other check than those by hash.

The lock and the folder of replaced files belong to the directory, not to the model, and are not signed. Nothing is read
from the lock, and from the folder only what has a hash that the manifest states.
"""

from __future__ import annotations

import hashlib
from typing import Literal

from voirs_vocoder.runtime.artifact.directory import MANIFEST_NAME, SIGNATURE_NAME, ArtifactDirectory
from voirs_vocoder.runtime.artifact.manifest import Manifest
from voirs_vocoder.runtime.artifact.signed_files import SignedFiles, stated_files
from voirs_vocoder.runtime.errors import ArtifactError

__all__ = ["MAX_SIGNATURE_BYTES", "SignatureState", "read_signature", "require_signed", "signature_state"]

MAX_SIGNATURE_BYTES = 16 << 20

_MAX_NAMED = 5

SignatureState = Literal["fits", "outdated", "unreadable"]
"""How a signature, of any key, stands to a manifest: signs it, signs another one, or is none of this format."""


def read_signature(directory: ArtifactDirectory) -> bytes | None:
    """Bytes of an artifact's signature; None where it has none.

    Args:
        directory: Directory of the artifact.

    Raises:
        ArtifactError: The file is a link, no regular file, or too long, or cannot be read.
    """
    path = directory.root / SIGNATURE_NAME
    try:
        with directory.open(SIGNATURE_NAME) as file:
            data = file.read(MAX_SIGNATURE_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ArtifactError(f"{path}: cannot read the signature: {error.strerror}") from error
    if len(data) > MAX_SIGNATURE_BYTES:
        raise ArtifactError(f"{path}: a signature has at most {MAX_SIGNATURE_BYTES} bytes")
    return data


def signature_state(signature: bytes, manifest: bytes) -> SignatureState:
    """Compare a signature of unknown origin with a manifest.

    Args:
        signature: Bytes of model.sig.
        manifest: Bytes of manifest.json.
    """
    try:
        files = stated_files(signature, SIGNATURE_NAME)
    except ArtifactError:
        return "unreadable"
    fits = files.digests.get(MANIFEST_NAME) == hashlib.sha256(manifest).hexdigest()
    return "fits" if fits else "outdated"


def require_signed(files: SignedFiles, data: bytes, manifest: Manifest, where: str) -> None:
    """Check that a signature covers a manifest and every file that it lists.

    Args:
        files: What the signature covers.
        data: Bytes of the manifest.
        manifest: The manifest of those bytes.
        where: Name of the signature in errors.

    Raises:
        ArtifactError: The manifest or a file is not signed, or is signed with another hash.
    """
    needed = {MANIFEST_NAME: hashlib.sha256(data).hexdigest()}
    needed |= {entry.path: entry.sha256 for entry in manifest.all_files()}
    others = [path for path, sha256 in needed.items() if files.digests.get(path) != sha256]
    if others:
        more = f" and {len(others) - _MAX_NAMED} more" if len(others) > _MAX_NAMED else ""
        raise ArtifactError(
            f"{where}: does not fit the artifact: {', '.join(others[:_MAX_NAMED])}{more} changed since or never "
            "signed; get the artifact again, or sign it again"
        )
