"""Keys that artifacts are signed and verified with: ECDSA on P-256, P-384 or P-521, read from PEM files."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.files import read_bounded
from voirs_vocoder.runtime.optional import import_optional

__all__ = ["PrivateKey", "PublicKey", "read_private_key", "read_public_key"]

_LOG = logging.getLogger(__name__)

_MAX_KEY_BYTES = 1 << 16
_MAX_PASSPHRASE_BYTES = 1 << 12
# Curve as `cryptography` names it -> the hash that the OpenSSF format takes with it.
_HASHES = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}
_MAKE_KEY = "make one with `openssl ecparam -name prime256v1 -genkey -noout`"
_GET_PUBLIC = "get the public key with `openssl pkey -pubout`"
# What stands in a PEM file in place of a public key -> what it is, and what to do.
_NO_PUBLIC_KEYS = {
    b"PRIVATE KEY-----": f"a private key; {_GET_PUBLIC}",
    b"BEGIN CERTIFICATE-----": "a certificate; get its public key with `openssl x509 -pubkey -noout`",
}


class PublicKey:
    """Public key that signatures are verified with.

    Attributes:
        hint: SHA-256 of the key as a PEM file, in lower-case hex, by which a signature names the key that made it.
    """

    def __init__(self, key: Any) -> None:
        """Take a key.

        Args:
            key: Public key of `cryptography` on one of the curves of this module.
        """
        self._key = key
        library = _library()
        pem = key.public_bytes(
            library.serialization.Encoding.PEM, library.serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.hint: str = hashlib.sha256(pem).hexdigest()

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether a signature of a message was made with the private key of this key.

        Args:
            signature: ECDSA signature in DER.
            message: Signed bytes.
        """
        library = _library()
        try:
            self._key.verify(signature, message, library.ec.ECDSA(_hash_of(self._key)))
        except library.exceptions.InvalidSignature:
            return False
        return True


class PrivateKey:
    """Private key that artifacts are signed with.

    Attributes:
        public: The public key of the pair.
    """

    def __init__(self, key: Any) -> None:
        """Take a key.

        Args:
            key: Private key of `cryptography` on one of the curves of this module.
        """
        self._key = key
        self.public = PublicKey(key.public_key())

    def sign(self, message: bytes) -> bytes:
        """ECDSA signature of a message, in DER.

        Args:
            message: Bytes to sign.

        Returns:
            The signature. It is the same for the same message (RFC 6979), unless the installed OpenSSL is older than
            3.2, with which it is another one each time.
        """
        library = _library()
        algorithm = _hash_of(self._key)
        try:
            scheme = library.ec.ECDSA(algorithm, deterministic_signing=True)
        except library.exceptions.UnsupportedAlgorithm:
            scheme = library.ec.ECDSA(algorithm)
        signature: bytes = self._key.sign(message, scheme)
        return signature


def read_public_key(path: Path | str) -> PublicKey:
    """Read a public key.

    Args:
        path: PEM file of the key.

    Raises:
        InputError: `cryptography` is not installed, or the file cannot be read or holds no public EC key on P-256,
            P-384 or P-521.
    """
    library = _library()
    data = read_bounded(Path(path), _MAX_KEY_BYTES)
    for mark, found in _NO_PUBLIC_KEYS.items():
        if mark in data:
            raise InputError(f"{path}: a public key in PEM format is needed, this is {found}")
    key = _loaded(path, "public", lambda: library.serialization.load_pem_public_key(data), library)
    _require_curve(path, key, library.ec.EllipticCurvePublicKey)
    return PublicKey(key)


def read_private_key(path: Path | str, passphrase_file: Path | str | None = None) -> PrivateKey:
    """Read a private key; a warning is logged where other users can read it too.

    Args:
        path: PEM file of the key, encrypted or not.
        passphrase_file: File of the passphrase that the key is encrypted with, whose line break at the end does not
            belong to it; None for a key that is not encrypted.

    Raises:
        InputError: `cryptography` is not installed; a file cannot be read; the passphrase is wrong, missing or not
            needed; or there is no private EC key on P-256, P-384 or P-521.
    """
    library = _library()
    data = read_bounded(Path(path), _MAX_KEY_BYTES)
    passphrase = None
    if passphrase_file is not None:
        passphrase = read_bounded(Path(passphrase_file), _MAX_PASSPHRASE_BYTES).rstrip(b"\r\n")
    encrypted = b"ENCRYPTED" in data
    if encrypted and not passphrase:
        raise InputError(
            f"{path}: the private key is encrypted, got no passphrase; give passphrase_file=FILE"
        )
    if passphrase is not None and not encrypted:
        raise InputError(f"{path}: the private key is not encrypted, got a passphrase; leave it out")
    key = _loaded(
        path, "private", lambda: library.serialization.load_pem_private_key(data, passphrase), library
    )
    _require_curve(path, key, library.ec.EllipticCurvePrivateKey)
    if Path(path).stat().st_mode & (stat.S_IRGRP | stat.S_IROTH) and os.name == "posix":
        _LOG.warning(
            "%s: other users of this machine can read the private key; chmod 600 keeps them out", path
        )
    return PrivateKey(key)


class _Library(NamedTuple):
    """The parts of `cryptography` that are used here."""

    ec: Any
    exceptions: Any
    hashes: Any
    serialization: Any


def _library() -> _Library:
    purpose, extra = "signing and verifying artifacts", "signing"
    return _Library(
        import_optional(
            "cryptography.hazmat.primitives.asymmetric.ec", purpose=purpose, extra=extra, error=InputError
        ),
        import_optional("cryptography.exceptions", purpose=purpose, extra=extra, error=InputError),
        import_optional(
            "cryptography.hazmat.primitives.hashes", purpose=purpose, extra=extra, error=InputError
        ),
        import_optional(
            "cryptography.hazmat.primitives.serialization", purpose=purpose, extra=extra, error=InputError
        ),
    )


def _loaded(path: Path | str, kind: str, load: Callable[[], Any], library: _Library) -> Any:
    try:
        return load()
    except (ValueError, TypeError, library.exceptions.UnsupportedAlgorithm) as error:
        hint = ", or its passphrase is another one" if kind == "private" else ""
        raise InputError(
            f"{path}: must be a {kind} EC key in PEM format, and cannot be read as one; the file is damaged{hint}"
        ) from error


def _require_curve(path: Path | str, key: Any, kind: type) -> None:
    if isinstance(key, kind):
        found = key.curve.name  # type: ignore[attr-defined] # `cryptography` is untyped here
        if found in _HASHES:
            return
    else:
        found = type(key).__name__.lstrip("_").removesuffix("PublicKey").removesuffix("PrivateKey")
    raise InputError(
        f"{path}: the signature format takes EC keys on P-256, P-384 or P-521, got {found}; {_MAKE_KEY}"
    )


def _hash_of(key: Any) -> Any:
    return getattr(_library().hashes, _HASHES[key.curve.name])()
