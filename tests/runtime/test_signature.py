"""Only what the owner of a key signed is loaded: any change of any byte, file or key is refused in one line."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.signing_keys import make_pair
from tests.toy_artifact import GRAPH_PATH, toy_artifact
from voirs_vocoder.export.artifact.change import change_artifact
from voirs_vocoder.export.artifact.signing import sign_artifact
from voirs_vocoder.export.artifact.writer import file_entry, with_files
from voirs_vocoder.runtime import Artifact, ArtifactError, InputError, SessionConfig, Vocoder
from voirs_vocoder.runtime.artifact.keys import read_private_key, read_public_key
from voirs_vocoder.runtime.artifact.manifest import encode_manifest
from voirs_vocoder.runtime.artifact.signature import signature_state
from voirs_vocoder.runtime.artifact.signed_files import (
    SignedFiles,
    encode_signature,
    stated_files,
    verified_files,
)

ONE_LINE = r"^[^\n]+$"


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return make_pair(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def root(tmp_path, keys):
    """A signed toy artifact."""
    root = toy_artifact(tmp_path / "artifact").root
    sign_artifact(root, read_private_key(keys[0]))
    return root


def opened(root: Path, public_key: Path) -> None:
    """Open an artifact and read all of it, as loading does piece by piece."""
    artifact = Artifact.open(root, public_key=public_key)
    for _, error in artifact.verify():
        if error is not None:
            raise error


def resigned(root: Path, keys, edit) -> None:
    """Sign another statement with the right key."""
    bundle = json.loads((root / "model.sig").read_bytes())
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    edit(statement)
    payload = json.dumps(statement).encode()
    kind = bundle["dsseEnvelope"]["payloadType"].encode()
    message = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    signature = read_private_key(keys[0]).sign(message)
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(signature).decode()
    (root / "model.sig").write_text(json.dumps(bundle))


def test_a_vocoder_is_loaded_from_a_signed_artifact_and_from_no_other(tiny_artifact, tmp_path, keys):
    root = shutil.copytree(tiny_artifact, tmp_path / "tiny")
    load = partial(Vocoder.load, root, session=SessionConfig(threads=1), public_key=keys[1])
    with pytest.raises(ArtifactError, match=r"must be signed, there is no signature"):
        load()
    sign_artifact(root, read_private_key(keys[0]))
    mel = np.full((10, 20), -1.0, np.float32)
    with load() as vocoder, Vocoder.load(tiny_artifact) as unsigned:
        np.testing.assert_allclose(vocoder.vocode(mel).samples, unsigned.vocode(mel).samples, atol=1e-5)
    graph = root / "graphs" / "offline.fp32.onnx"
    data = bytearray(graph.read_bytes())
    data[-1] ^= 1
    graph.write_bytes(data)
    with pytest.raises(ArtifactError, match="differs from what the manifest recorded"):
        load()


def test_without_a_key_the_signature_is_not_even_read(root):
    (root / "model.sig").write_bytes(b"no signature")
    opened(root, None)


def test_another_key_is_refused(root, tmp_path):
    _, other = make_pair(tmp_path / "others")
    with pytest.raises(ArtifactError, match=r"^[^\n]*signed with another key[^\n]*$"):
        opened(root, other)


def test_the_hint_is_no_proof(root, tmp_path, keys):
    """A signature of another key that names the right one."""
    other, _ = make_pair(tmp_path / "others")
    sign_artifact(root, read_private_key(other), force=True)
    bundle = json.loads((root / "model.sig").read_bytes())
    bundle["verificationMaterial"]["publicKey"]["hint"] = read_public_key(keys[1]).hint
    (root / "model.sig").write_text(json.dumps(bundle))
    with pytest.raises(ArtifactError, match="not that of the given key"):
        opened(root, keys[1])


def test_a_change_with_a_manifest_that_fits_it_is_refused(root, keys):
    signature = (root / "model.sig").read_bytes()
    files = {"validation/report.json": b'{"passed": false}'}
    change_artifact(root, lambda artifact: (with_files(artifact.manifest, files), files))
    (root / "model.sig").write_bytes(signature)
    assert [error for _, error in Artifact.open(root).verify() if error] == []
    with pytest.raises(ArtifactError, match=r"does not fit the artifact: manifest\.json"):
        opened(root, keys[1])


def test_the_signature_of_another_artifact_is_refused(root, tmp_path, keys):
    other = toy_artifact(tmp_path / "other", variant="v9").root
    shutil.copy(root / "model.sig", other / "model.sig")
    with pytest.raises(ArtifactError, match="does not fit"):
        opened(other, keys[1])


def test_every_file_of_the_manifest_must_be_signed(root, keys):
    def without_graph(statement):
        predicate = statement["predicate"]
        predicate["resources"] = [each for each in predicate["resources"] if each["name"] != GRAPH_PATH]
        digests = b"".join(bytes.fromhex(each["digest"]) for each in predicate["resources"])
        statement["subject"][0]["digest"]["sha256"] = hashlib.sha256(digests).hexdigest()

    resigned(root, keys, without_graph)
    with pytest.raises(ArtifactError, match=GRAPH_PATH):
        opened(root, keys[1])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(data=st.data())
def test_a_changed_byte_anywhere_is_refused(root, keys, data):
    paths = sorted(path for path in root.rglob("*") if path.is_file() and path.name != ".lock")
    path = data.draw(st.sampled_from(paths))
    original = path.read_bytes()
    place, flip = data.draw(st.integers(0, len(original) - 1)), data.draw(st.integers(1, 255))
    changed = bytearray(original)
    changed[place] ^= flip
    path.write_bytes(changed)
    try:
        if path.name == "model.sig" and _same_signature(original, bytes(changed)):
            with contextlib.suppress(ArtifactError):
                opened(root, keys[1])
        else:
            with pytest.raises(ArtifactError, match=ONE_LINE):
                opened(root, keys[1])
    finally:
        path.write_bytes(original)


def _same_signature(before: bytes, after: bytes) -> bool:
    """Whether a change of the bundle left what is signed and the signature as they were, such as one of `keyid`."""
    try:
        envelopes = [json.loads(each)["dsseEnvelope"] for each in (before, after)]
        signed = [(each["payload"], each["payloadType"], each["signatures"][0]["sig"]) for each in envelopes]
    except (ValueError, KeyError, TypeError):
        return False
    return signed[0] == signed[1]


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda s: s.update(_type="https://in-toto.io/Statement/v2"), "Statement/v2"),
        (lambda s: s.update(predicateType="https://model_signing/signature/v2.0"), "signature/v2.0"),
        (lambda s: s["predicate"]["serialization"].update(method="shards"), "whole files, got 'shards'"),
        (lambda s: s["predicate"]["serialization"].update(hash_type="blake3"), "SHA-256, got blake3"),
        (lambda s: s["predicate"]["resources"][0].update(algorithm="md5"), "SHA-256, got md5"),
        (lambda s: s["predicate"]["resources"][0].update(digest="zz"), "in hex"),
        (lambda s: s["predicate"]["resources"].append(s["predicate"]["resources"][0]), "every file once"),
        (lambda s: s["subject"][0]["digest"].update(sha256="0" * 64), "digest of the list"),
        (lambda s: s["subject"].append(s["subject"][0]), "not a signature"),
        (lambda s: s.pop("predicate"), "not a signature"),
    ],
)
def test_a_statement_of_another_kind_is_refused_with_the_reason(root, keys, edit, reason):
    resigned(root, keys, edit)
    with pytest.raises(ArtifactError, match=ONE_LINE) as refused:
        opened(root, keys[1])
    assert reason in str(refused.value)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (
            lambda b: b.update(mediaType="application/vnd.dev.sigstore.bundle.v0.4+json"),
            "version 0.3.*update voirs-vocoder",
        ),
        (lambda b: b["dsseEnvelope"].update(payloadType="text/plain"), "not that of the given key"),
        (lambda b: b["dsseEnvelope"].update(signatures=[]), "not a signature"),
        (
            lambda b: b["dsseEnvelope"].update(signatures=b["dsseEnvelope"]["signatures"] * 2),
            "not a signature",
        ),
        (lambda b: b["dsseEnvelope"].update(payload="%%%"), "not a signature"),
        (lambda b: b["dsseEnvelope"]["signatures"][0].update(sig="AAAA"), "not that of the given key"),
        (lambda b: b.update(verificationMaterial={"certificate": {"rawBytes": ""}}), "with a certificate"),
        (lambda b: b.pop("dsseEnvelope"), "not a signature"),
    ],
)
def test_a_bundle_of_another_kind_is_refused_with_the_reason(root, keys, edit, reason):
    bundle = json.loads((root / "model.sig").read_bytes())
    edit(bundle)
    (root / "model.sig").write_text(json.dumps(bundle))
    with pytest.raises(ArtifactError, match=reason):
        opened(root, keys[1])


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_bytes_are_a_signature_or_refused(data):
    with pytest.raises(ArtifactError, match=ONE_LINE):
        stated_files(data, "model.sig")


def test_a_key_given_twice_in_the_bundle_is_refused(root, keys):
    text = (root / "model.sig").read_text()
    (root / "model.sig").write_text(text[:-1] + "," + text[1:])
    with pytest.raises(ArtifactError, match="twice"):
        opened(root, keys[1])


@pytest.mark.parametrize("what", ["link", "folder", "pipe", "huge"])
def test_a_signature_that_is_no_file_of_bounded_size_is_refused(root, keys, tmp_path, what):
    path = root / "model.sig"
    path.rename(tmp_path / "model.sig")
    if what == "link":
        path.symlink_to(tmp_path / "model.sig")
    elif what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    else:
        with path.open("wb") as file:
            file.truncate(1 << 40)
    with pytest.raises(ArtifactError, match=ONE_LINE):
        opened(root, keys[1])


@pytest.mark.parametrize("kind", ["P-256", "P-384", "P-521"])
def test_each_curve_signs_and_verifies_and_the_same_files_give_the_same_bytes(tmp_path, kind):
    private, public = make_pair(tmp_path, kind)
    files = SignedFiles({"manifest.json": "1" * 64, "a/b": "2" * 64})
    data = encode_signature(files, "toy", read_private_key(private))
    assert verified_files(data, read_public_key(public), "model.sig") == files
    assert encode_signature(files, "toy", read_private_key(private)) == data


@pytest.mark.parametrize(
    ("kind", "named"), [("Ed25519", "Ed25519"), ("RSA", "RSA"), ("secp256k1", "secp256k1")]
)
def test_other_kinds_of_keys_are_refused_with_their_name(tmp_path, kind, named):
    private, public = make_pair(tmp_path, kind)
    for read, path in ((read_private_key, private), (read_public_key, public)):
        with pytest.raises(InputError, match=rf"^[^\n]*P-256, P-384 or P-521, got {named}; [^\n]*$"):
            read(path)


def test_what_is_no_key_is_refused_with_a_remedy(tmp_path, keys):
    with pytest.raises(InputError, match="this is a private key; get the public key with"):
        read_public_key(keys[0])
    with pytest.raises(InputError, match="cannot be read as one"):
        read_private_key(keys[1])
    (tmp_path / "text.pem").write_text("no key")
    for read in (read_public_key, read_private_key):
        with pytest.raises(InputError, match="cannot be read as one"):
            read(tmp_path / "text.pem")
        with pytest.raises(InputError, match="no such file"):
            read(tmp_path / "missing.pem")
    (tmp_path / "cert.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    with pytest.raises(InputError, match="a certificate; get its public key"):
        read_public_key(tmp_path / "cert.pem")


def test_an_encrypted_key_needs_its_passphrase_and_no_other_key_takes_one(tmp_path, keys):
    private, public = make_pair(tmp_path / "encrypted", passphrase=b"open sesame")
    passphrase, wrong = tmp_path / "right.txt", tmp_path / "wrong.txt"
    passphrase.write_text("open sesame\n")
    wrong.write_text("open")
    assert read_private_key(private, passphrase).public.hint == read_public_key(public).hint
    with pytest.raises(InputError, match="is encrypted, got no passphrase; give passphrase_file=FILE"):
        read_private_key(private)
    with pytest.raises(InputError, match="or its passphrase is another one"):
        read_private_key(private, wrong)
    with pytest.raises(InputError, match="is not encrypted, got a passphrase"):
        read_private_key(keys[0], passphrase)


def test_a_private_key_that_others_can_read_is_warned_of(tmp_path, caplog):
    private, _ = make_pair(tmp_path)
    read_private_key(private)
    assert not caplog.records
    private.chmod(0o644)
    read_private_key(private)
    assert "other users of this machine can read" in caplog.text


def test_the_state_of_a_signature_needs_no_key(root):
    manifest, signature = (root / "manifest.json").read_bytes(), (root / "model.sig").read_bytes()
    assert signature_state(signature, manifest) == "fits"
    assert signature_state(signature, manifest + b" ") == "outdated"
    assert signature_state(b"{}", manifest) == "unreadable"


def test_a_manifest_cannot_list_the_signature(root):
    manifest = Artifact.open(root).manifest
    entry = file_entry("model.sig", b"x")
    changed = msgspec.structs.replace(manifest, files=(*manifest.files, entry))
    (root / "manifest.json").write_bytes(encode_manifest(changed))
    with pytest.raises(ArtifactError, match=r"'model\.sig' must not be listed"):
        Artifact.open(root)


def test_without_cryptography_artifacts_open_and_signatures_are_one_line(root, keys):
    code = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from voirs_vocoder.runtime import Artifact\n"
        "Artifact.open(sys.argv[1])\n"
        "try: Artifact.open(sys.argv[1], public_key=sys.argv[2])\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(root), str(keys[1])], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("InputError signing and verifying artifacts needs cryptography")
    assert "voirs-vocoder[signing]" in done.stdout
    assert done.stdout.count("\n") == 1
