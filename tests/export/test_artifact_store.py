"""Artifacts on disk: whole at every moment, and nothing outside of them is touched."""

from __future__ import annotations

import os
import random
import shutil
import signal
import stat
import time
from pathlib import Path

import msgspec
import pytest

from voirs_vocoder.export.artifact import draft
from voirs_vocoder.export.artifact.change import change_artifact
from voirs_vocoder.export.artifact.model_card import model_card
from voirs_vocoder.export.artifact.writer import create_artifact, locked_artifact, with_files
from voirs_vocoder.export.errors import ExportError
from voirs_vocoder.runtime import Artifact, ArtifactError, InputError
from voirs_vocoder.runtime.artifact.reading import reading_again

KILLS = int(os.environ.get("VOIRS_TEST_KILLS", "30"))


@pytest.fixture
def artifact(tiny_artifact, tmp_path):
    shutil.copytree(tiny_artifact, tmp_path / "place" / "art")
    return tmp_path / "place" / "art"


def noted(root, text):
    """Change an artifact as `validate` does: a page and a figure in the manifest."""

    def edit(opened):
        files = {"validation/report.html": text.encode(), "validation/report.json": b"{}" + text.encode()}
        return with_files(opened.manifest, files), files

    return change_artifact(root, edit)


def requantized(root, data):
    """Change an artifact as `quantize --force` does: other bytes for a graph of the same name."""

    def edit(opened):
        from voirs_vocoder.export.artifact.writer import file_entry

        graphs = list(opened.manifest.graphs)
        path = graphs[-1].file.path
        graphs[-1] = msgspec.structs.replace(graphs[-1], file=file_entry(path, data))
        return msgspec.structs.replace(opened.manifest, graphs=tuple(graphs)), {path: data}

    return change_artifact(root, edit)


def damaged(root):
    return [str(error) for _, error in Artifact.open(root).verify() if error is not None]


def test_a_change_leaves_what_readers_of_the_manifest_before_it_use(artifact):
    before = Artifact.open(artifact)
    after = requantized(artifact, b"one")
    last = before.manifest.graphs[-1].file
    assert before.read(last)
    assert after.read(after.manifest.graphs[-1].file) == b"one"
    assert after.manifest.superseded == (last.path,)
    assert not damaged(artifact)


def test_the_next_change_removes_what_the_one_before_it_superseded(artifact):
    first = requantized(artifact, b"one").manifest.graphs[-1].file
    before = Artifact.open(artifact)
    second = requantized(artifact, b"two").manifest.graphs[-1].file
    names = {path.name for path in (artifact / "graphs").iterdir()}
    assert {Path(first.location).name, Path(second.location).name} <= names
    third = requantized(artifact, b"three").manifest.graphs[-1].file
    names = {path.name for path in (artifact / "graphs").iterdir()}
    assert Path(first.location).name not in names
    assert Path(third.location).name in names
    with pytest.raises(ArtifactError, match="another process changed this artifact"):
        before.read(first)


def test_pages_keep_the_names_that_people_look_for(artifact):
    for text in ("one", "two", "three"):
        noted(artifact, text)
        assert (artifact / "validation" / "report.html").read_text() == text
        assert not damaged(artifact)
    assert "Graphs" in (artifact / "MODEL_CARD.md").read_text()


def test_a_reader_that_meets_a_change_begins_again(artifact):
    readings = []

    def use(opened):
        readings.append(opened)
        if len(readings) == 1:
            requantized(artifact, b"one")
            requantized(artifact, b"two")
        return opened.read(opened.manifest.graphs[-1].file)

    assert reading_again(artifact, use) == b"two"
    assert len(readings) == 2


@pytest.mark.parametrize("kind", ["absolute", "relative", "dangling"])
@pytest.mark.parametrize(
    "place", ["MODEL_CARD.md", "validation/report.html", ".lock", "manifest.json"]
)  # fmt: skip
def test_a_link_in_an_artifact_never_carries_a_change_outside(artifact, kind, place):
    victim = artifact.parent / "victim"
    if kind != "dangling":
        victim.write_text("precious")
    target = victim if kind == "absolute" else os.path.relpath(victim, (artifact / place).parent)
    (artifact / place).parent.mkdir(exist_ok=True)
    (artifact / place).unlink(missing_ok=True)
    (artifact / place).symlink_to(target)
    try:
        noted(artifact, "changed")
    except (ArtifactError, InputError) as error:
        assert "\n" not in str(error)
    assert victim.exists() == (kind != "dangling")
    if kind != "dangling":
        assert victim.read_text() == "precious"
    assert {path.name for path in artifact.parent.iterdir()} <= {"art", "victim"}


@pytest.mark.parametrize("folder", ["validation", "graphs", "engines"])
def test_a_folder_that_is_a_link_is_refused_and_nothing_behind_it_changes(artifact, folder):
    outside = artifact.parent / "outside"
    outside.mkdir()
    (outside / "report.html").write_text("precious")
    (outside / ".voirs-0123456789abcdef.part").write_text("precious")
    shutil.rmtree(artifact / folder, ignore_errors=True)
    (artifact / folder).symlink_to(outside)
    with pytest.raises((ArtifactError, InputError), match=r"refused|cannot"):
        noted(artifact, "changed")
        requantized(artifact, b"one")
    assert {path.name: path.read_text() for path in outside.iterdir()} == {
        "report.html": "precious",
        ".voirs-0123456789abcdef.part": "precious",
    }


def test_special_files_in_place_of_an_artifacts_are_refused_at_once(artifact):
    path = artifact / Artifact.open(artifact).manifest.graphs[0].file.path
    path.unlink()
    os.mkfifo(path)
    opened = Artifact.open(artifact)
    with pytest.raises(ArtifactError, match="must be a regular file"):
        opened.read(opened.manifest.graphs[0].file)
    (artifact / "manifest.json").unlink()
    os.mkfifo(artifact / "manifest.json")
    with pytest.raises(ArtifactError, match="must be a regular file"):
        Artifact.open(artifact)


def contents(root):
    opened = Artifact.open(root)
    return opened.manifest, {entry.path: opened.read(entry) for entry in opened.manifest.all_files()}


def test_force_refuses_links_and_folders_that_hold_files_of_others(artifact):
    manifest, files = contents(artifact)
    link = artifact.parent / "link"
    link.symlink_to(artifact)
    with pytest.raises(InputError, match="is a link"):
        create_artifact(link, manifest, files, force=True)
    assert link.is_symlink()
    (artifact / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"notes\.txt is none of its files"):
        create_artifact(artifact, manifest, files, force=True)
    assert (artifact / "notes.txt").read_text() == "mine"
    assert {path.name for path in artifact.parent.iterdir()} == {"art", "link"}


def test_force_replaces_an_artifact_and_leaves_no_litter(artifact):
    manifest, files = contents(artifact)
    requantized(artifact, b"one")
    create_artifact(artifact, manifest, files, force=True)
    assert not damaged(artifact)
    assert contents(artifact)[1] == files
    assert {path.name for path in artifact.parent.iterdir()} == {"art"}


def test_the_permissions_of_an_artifact_are_those_of_the_umask(artifact):
    manifest, files = contents(artifact)
    before = os.umask(0o027)
    try:
        made = create_artifact(artifact.parent / "new", manifest, files, force=False)
    finally:
        os.umask(before)
    assert stat.S_IMODE(made.root.stat().st_mode) == 0o750
    for path in made.root.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o750 if path.is_dir() else 0o640)


def test_a_full_disk_leaves_the_artifact_as_it_was(artifact, full_disk, tree):
    before = tree(artifact)
    with full_disk(1000), pytest.raises(InputError, match="cannot write the artifact"):
        requantized(artifact, b"x" * 5000)
    assert tree(artifact) == before


def test_two_writers_do_not_mix(artifact):
    with locked_artifact(artifact), pytest.raises(ArtifactError, match="another process is changing"):
        noted(artifact, "other")


def test_what_a_killed_writer_left_is_removed_by_the_next_one(artifact):
    (artifact / "graphs" / ".voirs-0123456789abcdef.part").write_bytes(b"half")
    (artifact / "graphs" / "offline.fp32.0123456789abcdef.onnx").write_bytes(b"unlisted")
    abandoned = artifact.parent / ".art.0123456789abcdef.partial"
    abandoned.mkdir()
    noted(artifact, "next")
    names = {path.name for path in (artifact / "graphs").iterdir()}
    assert not any("0123456789abcdef" in name for name in names)
    manifest, files = contents(artifact)
    create_artifact(artifact, manifest, files, force=True)
    assert not abandoned.exists()


def test_text_of_a_manifest_is_no_markup_in_the_model_card(artifact):
    manifest = msgspec.structs.replace(
        Artifact.open(artifact).manifest,
        licence="MIT\n\nalias ls='rm -rf ~' <script>alert(1)</script> [x](http://x) \x1b[31m",
    )
    card = model_card(manifest)
    assert "\nalias" not in card
    assert "<script>" not in card
    assert "[x](" not in card.replace("\\[", "").replace("\\]", "")
    assert "\x1b" not in card


def _killed(action, delay_s):
    """Run an action in a child and kill it after a while; returns whether it was still running."""
    child = os.fork()
    if child == 0:
        try:
            action()
        finally:
            os._exit(0)
    time.sleep(delay_s)
    running = os.waitpid(child, os.WNOHANG)[0] == 0
    if running:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return running


def test_killed_at_any_moment_an_artifact_is_whole(artifact):
    """Changes, and replacements with force: what is there is the artifact before or after, and readers see no other."""
    manifest, files = contents(artifact)
    chance = random.Random(7)  # noqa: S311 - moments, no secrets

    def replace():
        for _ in range(20):
            create_artifact(artifact, manifest, files, force=True)

    def change():
        for number in range(50):
            requantized(artifact, str(number).encode() * 1000)

    killed = 0
    for number in range(KILLS):
        killed += _killed(replace if number % 2 else change, chance.uniform(0.0, 0.12))
        assert not damaged(artifact)
        # The next writer finds a lock that ended with its holder, and tidies up.
        requantized(artifact, b"next")
        create_artifact(artifact, manifest, files, force=True)
        assert {path.name for path in artifact.parent.iterdir()} == {"art"}
    assert killed > KILLS // 2


def test_a_new_artifact_is_whole_or_absent_when_its_writer_is_killed(artifact):
    manifest, files = contents(artifact)
    target = artifact.parent / "new"
    chance = random.Random(8)  # noqa: S311 - as above
    for _ in range(KILLS // 2):
        _killed(lambda: create_artifact(target, manifest, files, force=False), chance.uniform(0.0, 0.02))
        if target.exists():
            assert not damaged(target)
            shutil.rmtree(target)
    create_artifact(target, manifest, files, force=False)
    assert {path.name for path in artifact.parent.iterdir()} == {"art", "new"}


def test_a_reader_beside_a_writer_never_sees_damage(artifact):
    manifest, files = contents(artifact)
    child = os.fork()
    if child == 0:
        try:
            while True:
                requantized(artifact, os.urandom(2000))
                noted(artifact, os.urandom(8).hex())
                create_artifact(artifact, manifest, files, force=True)
        finally:
            os._exit(0)
    try:
        until, readings = time.monotonic() + 2.0, 0
        while time.monotonic() < until:
            found = reading_again(artifact, lambda opened: [error for _, error in opened.verify() if error])
            assert found == []
            readings += 1
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert readings > 10


def test_where_directories_cannot_change_places_the_old_artifact_stays(artifact, monkeypatch):
    manifest, files = contents(artifact)
    monkeypatch.setattr(draft.ctypes, "CDLL", lambda *_, **__: object())
    with pytest.raises((InputError, ExportError), match="in one step"):
        create_artifact(artifact, manifest, files, force=True)
    assert not damaged(artifact)
    assert {path.name for path in artifact.parent.iterdir()} == {"art"}
