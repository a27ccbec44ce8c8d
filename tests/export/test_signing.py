"""`sign` and `verify`: with the reference tool in both directions, and what every later change does to a signature."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.children import killed_at
from tests.signing_keys import make_pair
from tests.toy_artifact import GRAPH_PATH, toy_artifact
from voirs_vocoder.export.artifact.change import change_artifact
from voirs_vocoder.export.artifact.signing import sign_artifact
from voirs_vocoder.export.artifact.writer import locked_artifact, with_files
from voirs_vocoder.export.cli import main
from voirs_vocoder.runtime import Artifact, ArtifactError
from voirs_vocoder.runtime.artifact.keys import read_private_key
from voirs_vocoder.runtime.artifact.reading import MAX_MANIFEST_BYTES

NOTE = {"validation/note.txt": b"changed"}


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return make_pair(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def root(tmp_path):
    return toy_artifact(tmp_path / "artifact").root


@pytest.fixture
def signed(root, keys):
    sign_artifact(root, read_private_key(keys[0]))
    return root


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def verified(root: Path, public_key: Path):
    return run("verify", root, "--public-key", public_key)


def reference(*arguments) -> subprocess.CompletedProcess[str]:
    """Run the tool of OpenSSF model signing."""
    command = [sys.executable, "-m", "model_signing", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def changed(root: Path, files: dict[str, bytes] = NOTE) -> Artifact:
    return change_artifact(root, lambda artifact: (with_files(artifact.manifest, files), files))


@pytest.mark.parametrize("kind", ["P-256", "P-384", "P-521"])
def test_the_reference_tool_accepts_ours_and_refuses_it_after_a_change(root, tmp_path, kind):
    private, public = make_pair(tmp_path / "keys", kind)
    result = run("sign", root, "--private-key", private)
    assert result.exit_code == 0, result.output
    assert "6 files signed with key" in result.output
    # What comes and goes in the directory while it is used is not part of what was signed.
    assert (root / ".lock").exists()
    (root / ".versions").mkdir()
    (root / ".versions" / ("0" * 64 + ".old")).write_bytes(b"replaced")
    arguments = ("verify", "key", root, "--signature", root / "model.sig", "--public_key", public)
    accepted = reference(*arguments)
    assert accepted.returncode == 0, accepted.stderr
    assert verified(root, public).exit_code == 0
    (root / GRAPH_PATH).write_bytes(b"another graph")
    assert reference(*arguments).returncode == 1
    assert verified(root, public).exit_code == 1


@pytest.mark.parametrize("kind", ["P-256", "P-384", "P-521"])
def test_ours_accepts_what_the_reference_tool_signed(root, tmp_path, kind):
    private, public = make_pair(tmp_path / "keys", kind)
    changed(root)  # leaves a lock and replaced files, which that tool signs too
    done = reference("sign", "key", root, "--signature", root / "model.sig", "--private_key", private)
    assert done.returncode == 0, done.stderr
    result = verified(root, public)
    assert result.exit_code == 0, result.output
    Artifact.open(root, public_key=public)
    shutil.rmtree(root / ".versions")
    assert verified(root, public).exit_code == 0
    (root / "extra").write_bytes(b"")
    assert verified(root, public).exit_code == 1


def test_verify_names_each_difference_and_follows_no_link(signed, keys, tmp_path):
    (tmp_path / "outside").write_bytes((signed / "MODEL_CARD.md").read_bytes())
    (signed / GRAPH_PATH).write_bytes(b"another")
    (signed / "validation" / "report.json").unlink()
    (signed / "validation" / "added.txt").write_text("extra")
    (signed / "MODEL_CARD.md").unlink()
    (signed / "MODEL_CARD.md").symlink_to(tmp_path / "outside")
    os.mkfifo(signed / "pipe")
    (signed / "folder").symlink_to(tmp_path)
    result = verified(signed, keys[1])
    assert result.exit_code == 1
    rows = [line.split()[:2] for line in result.stdout.splitlines()[2:]]
    assert rows == [
        ["MODEL_CARD.md", "irregular"],
        ["folder", "irregular"],
        [GRAPH_PATH, "changed"],
        ["pipe", "irregular"],
        ["validation/added.txt", "extra"],
        ["validation/report.json", "missing"],
    ]
    assert result.stderr.splitlines() == [f"{signed}: differences from what was signed: 6"]


@pytest.mark.parametrize("name", ["a\\b", os.fsdecode(b"mod\xe8le"), "line\nbreak"])
def test_a_file_with_any_name_is_named_by_verify(signed, keys, name):
    (signed / name).write_bytes(b"x")
    result = verified(signed, keys[1])
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 3


def test_verify_refuses_in_one_line_what_it_cannot_judge(signed, keys, tmp_path, refused):
    _, other = make_pair(tmp_path / "others")
    assert "signed with another key" in refused("verify", signed, "--public-key", other)
    assert "no such file" in refused("verify", signed, "--public-key", tmp_path / "none.pem")
    assert "is a private key" in refused("verify", signed, "--public-key", keys[0])
    assert "cannot open the artifact" in refused("verify", tmp_path / "none", "--public-key", keys[1])
    (signed / "model.sig").write_bytes(b"damaged")
    assert "not a signature" in refused("verify", signed, "--public-key", keys[1])
    (signed / "model.sig").unlink()
    assert "there is no signature" in refused("verify", signed, "--public-key", keys[1])


def test_a_signature_that_fits_is_replaced_by_force_only(signed, keys, refused):
    assert "replace it with --force" in refused("sign", signed, "--private-key", keys[0])
    before = (signed / "model.sig").read_bytes()
    assert run("sign", signed, "--private-key", keys[0], "--force").exit_code == 0
    assert (signed / "model.sig").read_bytes() == before


def test_the_same_artifact_elsewhere_gets_the_same_signature(signed, tmp_path, keys):
    other = toy_artifact(tmp_path / "elsewhere" / "other").root
    sign_artifact(other, read_private_key(keys[0]))
    assert (other / "model.sig").read_bytes() == (signed / "model.sig").read_bytes()


@pytest.mark.parametrize("what", ["damaged", "link", "missing"])
def test_what_is_not_as_the_manifest_records_is_not_signed(root, keys, tmp_path, refused, what):
    (root / ".lock").touch()
    graph = root / GRAPH_PATH
    if what == "link":
        graph.rename(tmp_path / "moved")
        graph.symlink_to(tmp_path / "moved")
    elif what == "missing":
        graph.unlink()
    else:
        graph.write_bytes(b"damaged")
    refused("sign", root, "--private-key", keys[0])
    assert not (root / "model.sig").exists()


def test_sign_refuses_in_one_line(root, tmp_path, keys, refused):
    private, _ = make_pair(tmp_path / "encrypted", passphrase=b"secret")
    assert "give --passphrase-file FILE" in refused("sign", root, "--private-key", private)
    ed25519, _ = make_pair(tmp_path / "keys", "Ed25519")
    assert "got Ed25519" in refused("sign", root, "--private-key", ed25519)
    assert "there is none" in refused("sign", tmp_path / "none", "--private-key", keys[0])
    with locked_artifact(root):
        assert "another process is changing" in refused("sign", root, "--private-key", keys[0])


def test_an_encrypted_key_signs_with_its_passphrase_file(root, tmp_path):
    private, public = make_pair(tmp_path / "encrypted", passphrase=b"secret")
    (tmp_path / "passphrase.txt").write_text("secret\n")
    arguments = ("--private-key", private, "--passphrase-file", tmp_path / "passphrase.txt")
    assert run("sign", root, *arguments).exit_code == 0
    assert verified(root, public).exit_code == 0


def test_a_full_disk_leaves_the_signature_as_it_was(signed, keys, full_disk, tree):
    before = tree(signed)
    with full_disk(100):
        result = run("sign", signed, "--private-key", keys[0], "--force")
    assert result.exit_code == 2
    assert tree(signed) == before


def test_a_change_removes_the_signature_and_says_so(signed, caplog):
    changed(signed)
    assert not (signed / "model.sig").exists()
    (record,) = caplog.records
    assert "does not fit the changed artifact and was removed; sign it again" in record.getMessage()


def test_a_change_that_changes_nothing_keeps_the_signature(signed, keys, caplog):
    change_artifact(signed, lambda artifact: (artifact.manifest, {}))
    Artifact.open(signed, public_key=keys[1])
    assert not caplog.records


def test_an_export_by_force_drops_the_signature(signed, caplog):
    toy_artifact(signed, force=True, variant="v9")
    assert not (signed / "model.sig").exists()
    assert "was removed" in caplog.text


@pytest.mark.parametrize("content", [b"not json", b'{"mediaType": "other"}'])
def test_a_change_removes_a_signature_of_any_other_kind_too(root, content):
    (root / "model.sig").write_bytes(content)
    with locked_artifact(root):
        assert (root / "model.sig").exists()
    changed(root)
    assert not (root / "model.sig").exists()


def test_a_failed_change_keeps_the_signature(signed, keys):
    def fail(_artifact):
        raise RuntimeError

    with pytest.raises(RuntimeError):
        change_artifact(signed, fail)
    Artifact.open(signed, public_key=keys[1])


def test_killed_at_any_call_a_change_leaves_no_signature_that_fits_by_mistake(signed, keys):
    """Until the manifest is replaced the old signature is valid; afterwards no reader accepts it."""
    signature = (signed / "model.sig").read_bytes()
    calls, alive = 0, True
    while alive:
        calls += 1
        before = (signed / "manifest.json").read_bytes()
        files = {"validation/note.txt": f"text {calls}".encode()}
        alive = killed_at(calls, partial(changed, signed, files))
        if (signed / "manifest.json").read_bytes() == before:
            Artifact.open(signed, public_key=keys[1])
        else:
            with pytest.raises(ArtifactError):
                Artifact.open(signed, public_key=keys[1])
            # The next process that locks the artifact removes what is left of it.
            with locked_artifact(signed):
                assert not (signed / "model.sig").exists()
            sign_artifact(signed, read_private_key(keys[0]))
    assert calls > 20
    assert (signed / "model.sig").read_bytes() != signature


def test_each_command_that_changes_an_artifact_says_that_the_signature_is_gone(
    artifact_copy, calibration_folder, keys
):
    sign_artifact(artifact_copy, read_private_key(keys[0]))
    result = run(
        "quantize",
        artifact_copy,
        *("--calibration", calibration_folder, "--target", "cpu", "--max-float-share", "0", "--force"),
    )
    assert result.exit_code == 0, result.output
    (line,) = (line for line in result.stderr.splitlines() if line.startswith("warning: "))
    assert "model.sig does not fit the changed artifact and was removed" in line
    assert not (artifact_copy / "model.sig").exists()


@pytest.mark.parametrize(
    ("prepare", "shown"),
    [
        (lambda root: None, "fits the manifest; give --public-key"),
        (lambda root: (root / "model.sig").unlink(), "none"),
        (lambda root: (root / "model.sig").write_bytes(b"x"), "is no signature"),
        (
            lambda root: (root / "manifest.json").write_bytes((root / "manifest.json").read_bytes() + b"\n"),
            "outdated",
        ),
    ],
)
def test_inspect_shows_the_state_of_the_signature(signed, keys, prepare, shown):
    assert "verified: signed with the given key" in run("inspect", signed, "--public-key", keys[1]).stdout
    prepare(signed)
    (line,) = (line for line in run("inspect", signed).stdout.splitlines() if "signature " in line)
    assert shown in line
    if shown != "fits the manifest; give --public-key":
        assert run("inspect", signed, "--public-key", keys[1]).exit_code == 2


@pytest.mark.parametrize("command", ["vocode", "stream"])
def test_vocode_and_stream_take_signed_artifacts_only_with_a_key(
    command, artifact_copy, sample_recordings, tmp_path, keys, refused
):
    output = tmp_path / "out.wav"
    arguments = (command, artifact_copy, sample_recordings[0], "-o", output, "--public-key", keys[1])
    assert "must be signed" in refused(*arguments)
    sign_artifact(artifact_copy, read_private_key(keys[0]))
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert output.exists()


def test_a_manifest_beyond_its_bound_is_refused(root, keys, refused):
    with (root / "manifest.json").open("ab") as file:
        file.truncate(MAX_MANIFEST_BYTES + 1)
    (root / ".lock").touch()
    refused("sign", root, "--private-key", keys[0])
