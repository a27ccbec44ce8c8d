"""Signatures in the format of OpenSSF model signing, as bytes: made, verified, and read without a key.

A Sigstore bundle of version 0.3 holds a DSSE envelope, which holds an in-toto statement with the SHA-256 of every file.
The private key signs the statement.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from voirs_vocoder.runtime.artifact.directory import LOCK_NAME, SIGNATURE_NAME, VERSIONS_NAME
from voirs_vocoder.runtime.artifact.keys import PrivateKey, PublicKey
from voirs_vocoder.runtime.errors import ArtifactError, InputError
from voirs_vocoder.runtime.structured import decode_json

__all__ = ["UNSIGNED_PATHS", "SignedFiles", "encode_signature", "stated_files", "verified_files"]

UNSIGNED_PATHS = (SIGNATURE_NAME, LOCK_NAME, VERSIONS_NAME)
"""Files and folders of an artifact that its signature never covers."""

_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
_PREDICATE_TYPE = "https://model_signing/signature/v1.0"
# What the reference tool leaves out by itself.
_GIT_PATHS = (".git", ".gitattributes", ".github", ".gitignore")
_ALGORITHM = "sha256"
_Sha256 = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
_Decoded = TypeVar("_Decoded")


@dataclass(frozen=True)
class SignedFiles:
    """What a signature covers.

    Attributes:
        digests: Path in the artifact to the SHA-256 of the file, in lower-case hex.
        ignored: Files and folders that the signer left out, and of which nothing is signed.
    """

    digests: Mapping[str, str]
    ignored: tuple[str, ...] = (*UNSIGNED_PATHS, *_GIT_PATHS)

    def ignores(self, path: str) -> bool:
        """Whether a file lies where nothing is signed.

        Args:
            path: Path of the file in the artifact.
        """
        place = PurePosixPath(path)
        return any(place.is_relative_to(each) for each in (*self.ignored, *UNSIGNED_PATHS))


class _MediaType(msgspec.Struct, rename="camel"):
    media_type: str


class _KeyHint(msgspec.Struct):
    hint: str | None = None


class _Material(msgspec.Struct, rename="camel"):
    public_key: _KeyHint | None = None


class _Signature(msgspec.Struct):
    sig: str


class _Envelope(msgspec.Struct, rename="camel"):
    payload: str
    payload_type: str
    signatures: Annotated[tuple[_Signature, ...], Meta(min_length=1, max_length=1)]


class _Bundle(msgspec.Struct, rename="camel"):
    verification_material: _Material
    dsse_envelope: _Envelope


class _StatementType(msgspec.Struct, rename={"statement_type": "_type", "predicate_type": "predicateType"}):
    statement_type: str
    predicate_type: str


class _Digest(msgspec.Struct):
    sha256: _Sha256


class _Subject(msgspec.Struct):
    digest: _Digest


class _Serialization(msgspec.Struct):
    method: str
    hash_type: str
    ignore_paths: tuple[str, ...] = ()


class _Resource(msgspec.Struct):
    name: str
    algorithm: str
    digest: str


class _Predicate(msgspec.Struct):
    serialization: _Serialization
    resources: tuple[_Resource, ...]


class _Statement(msgspec.Struct):
    subject: Annotated[tuple[_Subject, ...], Meta(min_length=1, max_length=1)]
    predicate: _Predicate


def verified_files(data: bytes, key: PublicKey, where: str) -> SignedFiles:
    """Verify a signature.

    Args:
        data: Bytes of model.sig.
        key: Public key of the one who must have signed.
        where: Name of the file in errors.

    Returns:
        What the owner of the key signed.

    Raises:
        ArtifactError: The data is no signature of this format and version, or was made with another key, or what was
            signed has been changed.
    """
    bundle = _bundle(data, where)
    envelope, material = bundle.dsse_envelope, bundle.verification_material
    if material.public_key is None:
        raise ArtifactError(
            f"{where}: must be signed with a key, this was signed in another way, such as with a certificate; sign the "
            "artifact with a private key"
        )
    hint = material.public_key.hint
    if hint is not None and hint != key.hint:
        raise ArtifactError(
            f"{where}: was signed with another key, {hint[:16]}, than the one given, {key.hint[:16]} (SHA-256); give "
            "the public key of the signer, or do not use the artifact"
        )
    message = _authenticated(envelope.payload_type.encode(), _from_base64(envelope.payload, where))
    if not key.verifies(_from_base64(envelope.signatures[0].sig, where), message):
        raise ArtifactError(
            f"{where}: the signature is not that of the given key, or was changed; do not use the artifact"
        )
    return _files(bundle, where)


def stated_files(data: bytes, where: str) -> SignedFiles:
    """What a signature states to cover. Anybody can have written it: only `verified_files` proves who did.

    Args:
        data: Bytes of model.sig.
        where: Name of the file in errors.

    Raises:
        ArtifactError: The data is no signature of this format and version.
    """
    return _files(_bundle(data, where), where)


def encode_signature(files: SignedFiles, name: str, key: PrivateKey) -> bytes:
    """Sign files.

    Args:
        files: What to sign.
        name: Name of the model, for people.
        key: Private key to sign with.

    Returns:
        Bytes of model.sig. They are the same for the same arguments; see `PrivateKey.sign`.
    """
    digests = sorted(files.digests.items(), key=lambda item: PurePosixPath(item[0]).parts)
    root = hashlib.sha256(b"".join(bytes.fromhex(sha256) for _, sha256 in digests)).hexdigest()
    statement = {
        "_type": _STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {_ALGORITHM: root}}],
        "predicateType": _PREDICATE_TYPE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": _ALGORITHM,
                "allow_symlinks": False,
                "ignore_paths": list(files.ignored),
            },
            "resources": [
                {"name": path, "algorithm": _ALGORITHM, "digest": sha256} for path, sha256 in digests
            ],
        },
    }
    payload = msgspec.json.encode(statement)
    signature = key.sign(_authenticated(_PAYLOAD_TYPE.encode(), payload))
    bundle = {
        "mediaType": _MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": key.public.hint}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": _PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
        },
    }
    return msgspec.json.encode(bundle)


def _authenticated(kind: bytes, payload: bytes) -> bytes:
    """The bytes that DSSE signs: its pre-authentication encoding of a payload and its type."""
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def _bundle(data: bytes, where: str) -> _Bundle:
    found = _decoded(data, _MediaType, where).media_type
    if found != _MEDIA_TYPE:
        raise ArtifactError(
            f"{where}: must be a Sigstore bundle of version 0.3 ({_MEDIA_TYPE}), got {found!r}; sign the artifact with "
            "model signing 1.0, or update voirs-vocoder"
        )
    return _decoded(data, _Bundle, where)


def _files(bundle: _Bundle, where: str) -> SignedFiles:
    envelope = bundle.dsse_envelope
    if envelope.payload_type != _PAYLOAD_TYPE:
        raise ArtifactError(
            f"{where}: must sign {_PAYLOAD_TYPE}, got {envelope.payload_type!r}; sign it again"
        )
    payload = _from_base64(envelope.payload, where)
    kinds = _decoded(payload, _StatementType, where)
    if (kinds.statement_type, kinds.predicate_type) != (_STATEMENT_TYPE, _PREDICATE_TYPE):
        raise ArtifactError(
            f"{where}: must hold a statement {_PREDICATE_TYPE} of {_STATEMENT_TYPE}, got {kinds.predicate_type!r} of "
            f"{kinds.statement_type!r}; sign the artifact again, or update voirs-vocoder"
        )
    statement = _decoded(payload, _Statement, where)
    serialization, resources = statement.predicate.serialization, statement.predicate.resources
    if serialization.method != "files":
        raise ArtifactError(
            f"{where}: must sign whole files, got {serialization.method!r}; sign the artifact again without it"
        )
    algorithms = {serialization.hash_type, *(resource.algorithm for resource in resources)}
    if algorithms != {_ALGORITHM}:
        raise ArtifactError(
            f"{where}: must sign files by their SHA-256, got {', '.join(sorted(algorithms - {_ALGORITHM}))}; sign the "
            "artifact again with that algorithm"
        )
    digests = {resource.name: resource.digest.lower() for resource in resources}
    try:
        joined = b"".join(bytes.fromhex(sha256) for sha256 in digests.values())
    except ValueError as error:
        raise ArtifactError(f"{where}: must state digests in hex; sign the artifact again") from error
    found = hashlib.sha256(joined).hexdigest()
    if len(digests) != len(resources) or found != statement.subject[0].digest.sha256:
        raise ArtifactError(
            f"{where}: must list every file once and state the digest of the list, {found}, got "
            f"{statement.subject[0].digest.sha256}; sign the artifact again"
        )
    return SignedFiles(digests, serialization.ignore_paths)


def _from_base64(text: str, where: str) -> bytes:
    """Decode base64 in its one canonical form, so that no byte of a signature can be changed without notice."""
    try:
        data = base64.b64decode(text, validate=True)
        canonical = base64.b64encode(data) == text.encode("ascii")
    except ValueError:
        canonical = False
    if not canonical:
        raise ArtifactError(
            f"{where}: not a signature of an artifact: base64 is damaged; sign the artifact again"
        )
    return data


def _decoded(data: bytes, kind: type[_Decoded], where: str) -> _Decoded:
    try:
        return decode_json(data, kind)
    except InputError as error:
        raise ArtifactError(
            f"{where}: not a signature of an artifact: {error}; sign the artifact again"
        ) from error
