"""One file for an artifact: the same bytes for the same artifact, and nothing unpacked that was not verified."""

from __future__ import annotations

import io
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import tracemalloc
from pathlib import Path

import msgspec
import pytest
import zstandard
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.signing_keys import make_pair
from tests.toy_artifact import GRAPH, GRAPH_PATH, toy_artifact, toy_manifest
from voirs_vocoder.export.artifact import pack
from voirs_vocoder.export.artifact.change import change_artifact
from voirs_vocoder.export.artifact.pack import pack_artifact, unpack_artifact
from voirs_vocoder.export.artifact.packed_file import ARCHIVE_END, entry_header, padding
from voirs_vocoder.export.artifact.signing import sign_artifact
from voirs_vocoder.export.artifact.writer import create_artifact, file_entry, with_files
from voirs_vocoder.export.cli import main
from voirs_vocoder.runtime import Artifact, ArtifactError, InputError
from voirs_vocoder.runtime.artifact.keys import read_private_key
from voirs_vocoder.runtime.artifact.manifest import encode_manifest

ONE_LINE = r"^[^\n]+$"
LONG_PATH = "validation/" + "n" * 120 + "/größe.txt"


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return make_pair(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def root(tmp_path):
    """A toy artifact with paths that an old tar header cannot hold."""
    root = toy_artifact(tmp_path / "artifact").root
    files = {LONG_PATH: b"x" * 1025, "validation/empty.txt": b"", "validation/block.bin": b"y" * 512}
    change_artifact(root, lambda artifact: (with_files(artifact.manifest, files), files))
    return root


@pytest.fixture
def packed(root, tmp_path):
    path = tmp_path / "artifact.tar.zst"
    pack_artifact(root, path)
    return path


def content(root: Path) -> dict[str, bytes]:
    """What belongs to an artifact: its files, without the state of the directory."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.relative_to(root).parts[0] not in (".lock", ".versions")
    }


def archive_of(packed: Path) -> bytes:
    return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(packed.read_bytes())).read()


def write_packed(path: Path, archive: bytes, **settings: int) -> Path:
    path.write_bytes(zstandard.ZstdCompressor(**settings).compress(archive))
    return path


def entries(*files: tuple[str, bytes]) -> bytes:
    return b"".join(entry_header(path, len(data)) + data + padding(len(data)) for path, data in files)


def refused_as(packed: Path, target: Path, reason: str, **options) -> None:
    before = sorted(target.parent.iterdir())
    with pytest.raises((ArtifactError, InputError), match=ONE_LINE) as refused:
        unpack_artifact(packed, target, **options)
    assert re.search(reason, str(refused.value))
    assert sorted(target.parent.iterdir()) == before


def test_what_is_packed_is_unpacked(root, packed, tmp_path):
    artifact = unpack_artifact(packed, tmp_path / "new")
    assert content(tmp_path / "new") == content(root)
    assert artifact.manifest == Artifact.open(root).manifest
    assert [error for _, error in artifact.verify() if error] == []


def test_other_tools_read_the_archive(root, packed):
    """Python's tarfile is the oracle of our headers, long and foreign names included."""
    with tarfile.open(fileobj=io.BytesIO(archive_of(packed))) as archive:
        members = archive.getmembers()
        found = {each.name: archive.extractfile(each).read() for each in members}
    assert found == content(root)
    assert [each.name for each in members] == ["manifest.json", *sorted(set(found) - {"manifest.json"})]
    assert {(each.mode, each.mtime, each.uid, each.gid, each.uname, each.gname) for each in members} == {
        (0o644, 0, 0, 0, "", "")
    }


@pytest.mark.parametrize("size_bytes", [0, 511, (1 << 33) - 1, 1 << 33, 1 << 40])
@pytest.mark.parametrize("path", ["a", "n" * 100, "n" * 101, "ä", "x/" * 99 + "x"])
def test_a_header_of_any_path_and_size_is_read_by_tarfile(path, size_bytes):
    info = tarfile.TarFile(fileobj=io.BytesIO(entry_header(path, size_bytes) + bytes(1024))).next()
    assert (info.name, info.size, info.isreg()) == (path, size_bytes, True)


def test_equal_artifacts_give_equal_files(root, packed, tmp_path):
    copy = tmp_path / "elsewhere" / "copy"
    shutil.copytree(root, copy)
    for path in copy.rglob("*"):
        os.utime(path, (1e9, 1e9))
        path.chmod(0o700)
    (copy / "notes.txt").write_text("belongs to no artifact")
    pack_artifact(copy, tmp_path / "again.tar.zst")
    assert (tmp_path / "again.tar.zst").read_bytes() == packed.read_bytes()
    unpack_artifact(packed, tmp_path / "new")
    pack_artifact(tmp_path / "new", tmp_path / "third.tar.zst")
    assert (tmp_path / "third.tar.zst").read_bytes() == packed.read_bytes()


def test_a_signature_is_packed_and_verified_on_the_way_in(root, tmp_path, keys):
    sign_artifact(root, read_private_key(keys[0]))
    packed = tmp_path / "signed.tar.zst"
    pack_artifact(root, packed)
    unpack_artifact(packed, tmp_path / "new", public_key=keys[1])
    assert content(tmp_path / "new") == content(root)
    Artifact.open(tmp_path / "new", public_key=keys[1])
    result = CliRunner().invoke(main, ["verify", str(tmp_path / "new"), "--public-key", str(keys[1])])
    assert result.exit_code == 0, result.output
    _, other = make_pair(tmp_path / "others")
    refused_as(packed, tmp_path / "other", "signed with another key", public_key=other)


def test_an_unsigned_file_is_refused_with_a_key(packed, tmp_path, keys):
    refused_as(packed, tmp_path / "new", "must be signed, there is no signature", public_key=keys[1])


def test_a_signature_that_does_not_fit_is_neither_packed_nor_unpacked(root, tmp_path, keys):
    sign_artifact(root, read_private_key(keys[0]))
    signature = (root / "model.sig").read_bytes()
    change_artifact(root, lambda artifact: (with_files(artifact.manifest, {"a": b"1"}), {"a": b"1"}))
    pack_artifact(root, tmp_path / "unsigned.tar.zst")
    (root / "model.sig").write_bytes(signature)
    with pytest.raises(ArtifactError, match="does not fit the artifact"):
        pack_artifact(root, tmp_path / "signed.tar.zst")
    archive = archive_of(tmp_path / "unsigned.tar.zst")
    manifest = (root / "manifest.json").read_bytes()
    beginning = entries(("manifest.json", manifest))
    forged = beginning + entries(("model.sig", signature)) + archive[len(beginning) :]
    refused_as(write_packed(tmp_path / "forged", forged), tmp_path / "new", "does not fit the artifact")


def test_a_signature_over_files_that_are_not_packed_is_refused(root, tmp_path, keys):
    (root / "notes.txt").write_text("unlisted")
    sign_artifact(root, read_private_key(keys[0]))
    with pytest.raises(ArtifactError, match=r"notes\.txt: is signed and no file of the artifact"):
        pack_artifact(root, tmp_path / "signed.tar.zst")


def test_existing_targets_are_replaced_by_force_only(root, packed, tmp_path, refused):
    assert "--force" in refused("pack", root, "-o", packed)
    other = toy_artifact(tmp_path / "other", variant="v9").root
    (other / "notes.txt").write_text("mine")
    assert "--force" in refused("unpack", packed, "-o", other)
    result = CliRunner().invoke(main, ["unpack", str(packed), "-o", str(other), "--force"])
    assert result.exit_code == 0, result.output
    assert content(other) == {**content(root), "notes.txt": b"mine"}
    assert [error for _, error in Artifact.open(other).verify() if error] == []


def test_a_signed_file_replaces_an_artifact_with_its_signature(root, tmp_path, keys):
    sign_artifact(root, read_private_key(keys[0]))
    pack_artifact(root, tmp_path / "signed.tar.zst")
    other = toy_artifact(tmp_path / "other", variant="v9").root
    sign_artifact(other, read_private_key(make_pair(tmp_path / "others")[0]))
    before = Artifact.open(other)
    unpack_artifact(tmp_path / "signed.tar.zst", other, public_key=keys[1], force=True)
    assert [error for _, error in Artifact.open(other, public_key=keys[1]).verify() if error] == []
    # A reader that opened it before still finds its files.
    assert [error for _, error in before.verify() if error] == []


def test_what_is_no_artifact_is_not_replaced(packed, tmp_path, refused):
    (tmp_path / "photos").mkdir()
    assert "artifacts only" in refused("unpack", packed, "-o", tmp_path / "photos", "--force")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(data=st.data())
def test_a_changed_byte_anywhere_is_refused_or_changes_nothing(root, packed, tmp_path, data):
    """A few bits of a frame, such as the size of its window, do not decide what is in it."""
    original = packed.read_bytes()
    place, flip = data.draw(st.integers(0, len(original) - 1)), data.draw(st.integers(1, 255))
    changed = bytearray(original)
    changed[place] ^= flip
    path = tmp_path / "changed.tar.zst"
    path.write_bytes(changed)
    try:
        unpack_artifact(path, tmp_path / "new")
    except ArtifactError as error:
        assert re.match(ONE_LINE, str(error))
        assert not (tmp_path / "new").exists()
    else:
        assert content(tmp_path / "new") == content(root)
        shutil.rmtree(tmp_path / "new")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(data=st.data())
def test_a_changed_byte_of_the_archive_is_refused(packed, tmp_path, data):
    """Behind a checksum that fits: the manifest, the headers, the contents and what lies between them."""
    archive = bytearray(archive_of(packed))
    archive[data.draw(st.integers(0, len(archive) - 1))] ^= data.draw(st.integers(1, 255))
    path = write_packed(tmp_path / "changed.tar.zst", bytes(archive))
    try:
        unpacked = unpack_artifact(path, tmp_path / "new")
    except (ArtifactError, InputError) as error:
        assert re.match(ONE_LINE, str(error))
        assert not (tmp_path / "new").exists()
    else:
        # Without a signature, the manifest itself may state something else, as long as every hash is right.
        assert [error for _, error in unpacked.verify() if error] == []
        shutil.rmtree(tmp_path / "new")


def test_cut_off_at_any_place_it_is_refused(packed, tmp_path):
    data = packed.read_bytes()
    path = tmp_path / "cut.tar.zst"
    for length in (*range(1, 40), *range(40, len(data), 97), *range(len(data) - 40, len(data))):
        path.write_bytes(data[:length])
        refused_as(path, tmp_path / "new", "cut.tar.zst: not a packed artifact")


@pytest.mark.parametrize(
    "more",
    [
        b"x",
        bytes(512),
        zstandard.ZstdCompressor().compress(b"more"),
        zstandard.ZstdCompressor().compress(b""),
        b"\x50\x2a\x4d\x18\x04\x00\x00\x00more",
    ],
    ids=["byte", "zeros", "frame", "empty frame", "skippable frame"],
)
def test_nothing_may_follow_the_archive(packed, tmp_path, more):
    packed.write_bytes(packed.read_bytes() + more)
    refused_as(packed, tmp_path / "new", "not a packed artifact")


def _info(name: str, kind: bytes, link: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, 0o644
    return info.tobuf(tarfile.PAX_FORMAT)


MANIFEST = encode_manifest(toy_manifest())
FIRST = entries(("manifest.json", MANIFEST))
WHOLE = FIRST + entries((GRAPH_PATH, GRAPH))


@pytest.mark.parametrize(
    ("archive", "reason"),
    [
        (b"", "cut off"),
        (ARCHIVE_END, "must come next"),
        (FIRST, "cut off"),
        (FIRST + ARCHIVE_END, "must come next"),
        (WHOLE, "cut off"),
        (WHOLE + ARCHIVE_END[:512], "cut off"),
        (WHOLE + ARCHIVE_END + bytes(512), "nothing behind"),
        (entries((GRAPH_PATH, GRAPH)) + FIRST + ARCHIVE_END, "must come next"),
        (WHOLE + entries((GRAPH_PATH, GRAPH)) + ARCHIVE_END, "nothing behind"),
        (WHOLE + entries(("unlisted", b"x")) + ARCHIVE_END, "nothing behind"),
        (FIRST + entries(("../" + GRAPH_PATH, GRAPH)) + ARCHIVE_END, "must come next"),
        (FIRST + entries(("/" + GRAPH_PATH, GRAPH)) + ARCHIVE_END, "must come next"),
        (FIRST + _info(GRAPH_PATH, tarfile.SYMTYPE, "/etc/passwd") + ARCHIVE_END, "must come next"),
        (FIRST + _info(GRAPH_PATH, tarfile.LNKTYPE, "manifest.json") + ARCHIVE_END, "must come next"),
        (FIRST + _info(GRAPH_PATH, tarfile.CHRTYPE) + ARCHIVE_END, "must come next"),
        (FIRST + _info("graphs", tarfile.DIRTYPE) + ARCHIVE_END, "must come next"),
        (FIRST + entries((GRAPH_PATH, GRAPH[:-1] + b"?")) + ARCHIVE_END, "not what the manifest recorded"),
        (FIRST + entries((GRAPH_PATH, GRAPH + b"?")) + ARCHIVE_END, "must come next"),
        (entries(("manifest.json", b"{}")) + ARCHIVE_END, "not a manifest"),
        (entries(("other.json", MANIFEST)) + ARCHIVE_END, "must come next"),
        (entry_header("manifest.json", 1 << 30) + bytes(1 << 16), "at most"),
        (FIRST + entry_header("model.sig", 1 << 30) + bytes(1 << 16), "at most"),
        (FIRST + entries(("model.sig", b"{}")) + ARCHIVE_END, "not a signature"),
    ],
)
def test_an_archive_of_any_other_form_is_refused(tmp_path, archive, reason):
    refused_as(write_packed(tmp_path / "a.tar.zst", archive), tmp_path / "new", reason)


def test_the_form_that_the_others_vary_is_unpacked(tmp_path):
    unpack_artifact(write_packed(tmp_path / "a.tar.zst", WHOLE + ARCHIVE_END), tmp_path / "new")
    assert (tmp_path / "new" / GRAPH_PATH).read_bytes() == GRAPH


@pytest.mark.parametrize(
    "path", ["../a", "/a", "a/../b", "manifest.json", "model.sig", ".lock", ".versions/a", "a\\b", "a\0b", ""]
)
def test_a_manifest_that_lists_a_forbidden_path_is_refused(tmp_path, path):
    manifest = encode_manifest(toy_manifest(files=(file_entry(path, b"x"),)))
    archive = entries(("manifest.json", manifest)) + ARCHIVE_END
    refused_as(write_packed(tmp_path / "a.tar.zst", archive), tmp_path / "new", "refused")


def test_a_file_that_another_needs_as_a_folder_is_refused(tmp_path):
    files = {"a": b"1", "a/b": b"2"}
    manifest = with_files(toy_manifest(), files)
    archive = entries(("manifest.json", encode_manifest(manifest)), ("a", b"1"), ("a/b", b"2")) + ARCHIVE_END
    refused_as(write_packed(tmp_path / "a.tar.zst", archive), tmp_path / "new", "refused|cannot write")


def _claiming(size_bytes: int) -> bytes:
    entry = msgspec.structs.replace(file_entry("big", b""), size_bytes=size_bytes)
    return encode_manifest(toy_manifest(files=(entry,)))


def test_a_bomb_is_refused_before_it_is_written(tmp_path):
    """A terabyte of zeros is a few kilobytes of Zstandard."""
    archive = entries(("manifest.json", _claiming(1 << 40))) + entry_header("big", 1 << 40)
    packed = write_packed(tmp_path / "a.tar.zst", archive + bytes(1 << 24), level=19)
    assert packed.stat().st_size < 20_000
    refused_as(packed, tmp_path / "new", r"takes 1099512 MB, \d+ MB are free")


def test_more_than_the_manifest_declares_is_never_decompressed_to_disk_or_memory(tmp_path):
    archive = WHOLE + bytes(200 << 20)
    packed = write_packed(tmp_path / "a.tar.zst", archive, level=3)
    del archive
    tracemalloc.start()
    refused_as(packed, tmp_path / "new", "nothing behind")
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 32 << 20


def test_a_large_window_is_refused(tmp_path):
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=27)
    data = io.BytesIO()
    with zstandard.ZstdCompressor(compression_params=parameters).stream_writer(data, closefd=False) as stream:
        stream.write(WHOLE + ARCHIVE_END)
    (tmp_path / "a.tar.zst").write_bytes(data.getvalue())
    refused_as(tmp_path / "a.tar.zst", tmp_path / "new", "damaged")


def test_large_files_are_streamed(tmp_path):
    data = random.Random(0).randbytes(48 << 20)  # noqa: S311 - content, no secret
    files = {GRAPH_PATH: GRAPH, "big": data}
    manifest = toy_manifest(files=(file_entry("big", data),))
    root = create_artifact(tmp_path / "a", manifest, files, force=False).root
    del data, files
    tracemalloc.start()
    pack_artifact(root, tmp_path / "a.tar.zst")
    unpack_artifact(tmp_path / "a.tar.zst", tmp_path / "b")
    unpack_artifact(tmp_path / "a.tar.zst", tmp_path / "b", force=True)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 24 << 20


def test_a_damaged_artifact_is_not_packed(root, tmp_path):
    (root / GRAPH_PATH).write_bytes(b"damaged")
    with pytest.raises(ArtifactError, match="differs from what the manifest recorded"):
        pack_artifact(root, tmp_path / "a.tar.zst")
    assert [path.name for path in tmp_path.iterdir()] == ["artifact"]


def test_a_full_disk_leaves_nothing(root, packed, tmp_path, full_disk, tree):
    before = tree(tmp_path)
    with full_disk(600):
        with pytest.raises(InputError, match=r"cannot be written: File too large"):
            pack_artifact(root, tmp_path / "b.tar.zst")
        with pytest.raises(InputError, match="cannot write the artifact: File too large"):
            unpack_artifact(packed, tmp_path / "new")
        with pytest.raises(InputError, match="cannot write the artifact: File too large"):
            unpack_artifact(packed, root, force=True)
    assert tree(tmp_path) == before


def test_a_file_system_without_hard_links_is_replaced_by_copies(root, packed, tmp_path, monkeypatch):
    other = toy_artifact(tmp_path / "other", variant="v9").root

    def refuse(*_arguments, **_named):
        raise PermissionError(1, os.strerror(1))

    monkeypatch.setattr(os, "link", refuse)
    unpack_artifact(packed, other, force=True)
    assert content(other) == content(root)


def test_killed_while_unpacking_it_leaves_no_half_artifact_and_the_next_run_tidies(tmp_path):
    data = random.Random(1).randbytes(24 << 20)  # noqa: S311 - content, no secret
    manifest = toy_manifest(files=(file_entry("big", data),))
    root = create_artifact(tmp_path / "a", manifest, {GRAPH_PATH: GRAPH, "big": data}, force=False).root
    packed = tmp_path / "a.tar.zst"
    pack_artifact(root, packed)
    folder = tmp_path / "folder"
    folder.mkdir()
    command = (
        "import sys; from voirs_vocoder.export.artifact.pack import unpack_artifact; from pathlib import Path\n"
        "print('begun', flush=True); unpack_artifact(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    halves = 0
    for number in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", command, str(packed), str(folder / "new")],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        time.sleep(0.01 * number)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        halves += len([path for path in folder.iterdir() if path.name.endswith(".partial")])
        if (folder / "new").exists():
            assert [error for _, error in Artifact.open(folder / "new").verify() if error] == []
            shutil.rmtree(folder / "new")
    assert halves
    unpack_artifact(packed, folder / "new")
    assert [path.name for path in folder.iterdir()] == ["new"]


def test_without_the_library_both_are_one_line(root, packed, tmp_path, monkeypatch, refused):
    monkeypatch.setitem(sys.modules, "zstandard", None)
    for arguments in (
        ("pack", root, "-o", tmp_path / "b.tar.zst"),
        ("unpack", packed, "-o", tmp_path / "new"),
    ):
        assert "pip install 'voirs-vocoder[pack]'" in refused(*arguments)


@pytest.mark.parametrize("what", ["missing", "folder", "pipe", "empty", "text"])
def test_what_is_no_packed_file_is_one_line(tmp_path, refused, what):
    path = tmp_path / "a.tar.zst"
    if what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    elif what != "missing":
        path.write_text("" if what == "empty" else "no archive" * 100)
    if what == "pipe":
        with pytest.raises(InputError, match="regular file"):
            unpack_artifact(path, tmp_path / "new")
    else:
        refused("unpack", path, "-o", tmp_path / "new")


def test_the_summary_states_what_was_done(root, tmp_path):
    result = CliRunner().invoke(main, ["pack", str(root), "-o", str(tmp_path / "b.tar.zst")])
    assert re.search(r"b\.tar\.zst: 9 files, 0\.\d MB in 0\.\d MB\n$", result.output)
    result = CliRunner().invoke(main, ["unpack", str(tmp_path / "b.tar.zst"), "-o", str(tmp_path / "new")])
    assert result.output.endswith("new: test custom, 9 files verified\n")


def test_an_artifact_that_appears_while_one_is_unpacked_is_not_replaced_without_force(
    packed, tmp_path, monkeypatch
):
    target = tmp_path / "target"
    monkeypatch.setattr(pack, "_require_space", lambda *_: toy_artifact(target, family="other"))
    with pytest.raises(InputError, match="another process has made it meanwhile"):
        unpack_artifact(packed, target)
    assert Artifact.open(target).manifest.family == "other"
