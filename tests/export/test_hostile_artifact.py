"""Changing an artifact of unknown origin touches nothing outside it, and its card shows foreign text as text."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.toy_artifact import GRAPH_PATH, toy_artifact, toy_manifest
from voirs_vocoder.export.artifact.change import change_artifact, require_changeable
from voirs_vocoder.export.artifact.model_card import model_card
from voirs_vocoder.export.artifact.writer import file_entry, with_files
from voirs_vocoder.runtime import Artifact, ArtifactError, InputError
from voirs_vocoder.runtime.artifact.manifest import encode_manifest

REPORT = {"validation/report.json": b'{"passed": false}'}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return toy_artifact(tmp_path / "artifact").root


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder of the user's, with a file."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "report.json").write_bytes(b"mine")
    return folder


def change(root: Path) -> None:
    change_artifact(root, lambda artifact: (with_files(artifact.manifest, REPORT), REPORT))


def snapshot(folder: Path) -> dict[str, object]:
    return {
        str(path.relative_to(folder)): path.readlink()
        if path.is_symlink()
        else path.is_dir() or path.read_bytes()
        for path in folder.rglob("*")
        if path.name != ".lock" or path.is_symlink()
    }


def replaced(path: Path, target: Path) -> None:
    """Put a link in the place of a file, a folder or nothing."""
    if path.is_dir():
        path.rename(path.with_name("moved"))
    else:
        path.unlink(missing_ok=True)
    path.symlink_to(target)


@pytest.mark.parametrize(
    ("name", "target"),
    [
        (".lock", "outside/created"),
        (".lock", "outside/report.json"),
        (".versions", "outside"),
        ("validation", "outside"),
        ("graphs", "outside"),
        ("MODEL_CARD.md", "outside/report.json"),
        ("MODEL_CARD.md", "outside/created"),
        ("validation/report.json", "outside/report.json"),
        (GRAPH_PATH, "outside/report.json"),
        ("manifest.json", "outside/manifest.json"),
    ],
)
def test_a_link_in_an_artifact_is_refused_and_nothing_is_written_through_it(
    root: Path, outside: Path, name: str, target: str
) -> None:
    if name == "manifest.json":
        (outside / name).write_bytes((root / name).read_bytes())
    replaced(root / name, root.parent / target)
    before = snapshot(root.parent)
    with pytest.raises(ArtifactError, match=r"^[^\n]*a link leads out of the artifact[^\n]*refused[^\n]*$"):
        change(root)
    assert snapshot(root.parent) == before


def test_what_cannot_be_changed_is_refused_before_the_work(root: Path, outside: Path) -> None:
    replaced(root / "validation", outside)
    with pytest.raises(ArtifactError, match="a link leads out of the artifact"):
        require_changeable(root, ["validation/report.html"])


def test_a_link_where_an_earlier_version_wrote_its_drafts_is_left_alone(root: Path, outside: Path) -> None:
    (root / ".MODEL_CARD.md.partial").symlink_to(outside / "report.json")
    before = snapshot(outside)
    change(root)
    assert snapshot(outside) == before
    assert all(error is None for _, error in Artifact.open(root).verify())


def test_what_a_manifest_lists_behind_a_link_is_not_deleted(root: Path, outside: Path) -> None:
    manifest = Artifact.open(root).manifest
    listed = msgspec.structs.replace(
        manifest, files=(*manifest.files, file_entry("engines/report.json", b"mine"))
    )
    (root / "manifest.json").write_bytes(encode_manifest(listed))
    (root / "engines").symlink_to(outside)
    with pytest.raises(ArtifactError, match="a link leads out of the artifact"):
        change_artifact(root, lambda _artifact: (manifest, {}))
    assert (outside / "report.json").read_bytes() == b"mine"


@pytest.mark.parametrize("name", [".lock", "manifest.json", "MODEL_CARD.md", GRAPH_PATH])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_what_is_no_regular_file_is_refused_at_once(
    root: Path, name: str, make: Callable[[Path], None]
) -> None:
    (root / name).unlink(missing_ok=True)
    make(root / name)
    with pytest.raises((ArtifactError, InputError), match=r"regular files and folders|Is a directory"):
        change(root)


@pytest.mark.parametrize(
    "path", ["manifest.json", ".lock", ".versions/x", "./graphs/x", "graphs//x", "a/../b"]
)
def test_a_manifest_lists_neither_itself_nor_a_path_twice_by_two_names(root: Path, path: str) -> None:
    manifest = toy_manifest(files=(file_entry(path, b""),))
    (root / "manifest.json").write_bytes(encode_manifest(manifest))
    with pytest.raises(ArtifactError, match="refused"):
        Artifact.open(root)


def test_a_file_of_the_user_in_the_way_of_a_new_one_is_kept(root: Path) -> None:
    (root / "notes.txt").write_bytes(b"mine")
    new = {"notes.txt": b"theirs"}
    with pytest.raises(InputError, match="in the way"):
        change_artifact(root, lambda artifact: (with_files(artifact.manifest, new), new))
    assert (root / "notes.txt").read_bytes() == b"mine"


def test_replacing_an_artifact_keeps_the_files_that_it_does_not_list(root: Path) -> None:
    (root / "notes.txt").write_bytes(b"mine")
    toy_artifact(root, force=True, variant="v9")
    assert Artifact.open(root).manifest.variant == "v9"
    assert (root / "notes.txt").read_bytes() == b"mine"


def test_a_link_to_an_artifact_is_never_replaced_by_one(root: Path) -> None:
    link = root.with_name("link")
    link.symlink_to(root)
    before = snapshot(root.parent)
    with pytest.raises(InputError, match="is a link"):
        toy_artifact(link, force=True)
    assert snapshot(root.parent) == before


def test_an_artifact_of_another_format_is_replaced_by_the_files_that_it_lists(root: Path) -> None:
    path = root / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "format_version": 99}), encoding="utf-8")
    toy_artifact(root, force=True)
    assert all(error is None for _, error in Artifact.open(root).verify())
    path.write_bytes(b"{")
    with pytest.raises(InputError, match="which files belong to the artifact is not known"):
        toy_artifact(root, force=True)


@given(st.text(st.characters(exclude_categories=()), min_size=1, max_size=40))
def test_text_of_a_manifest_adds_no_line_and_no_markup_to_the_card(text: str) -> None:
    plain = model_card(toy_manifest(licence="x", family="x", variant="x", tools={"x": "x"}))
    card = model_card(toy_manifest(licence=text, family=text, variant=text, tools={text: text}))
    assert len(card.splitlines()) == len(plain.splitlines())
    assert "<" not in card
    assert "\x1b" not in card


def test_a_shell_command_or_a_script_in_the_licence_stays_text() -> None:
    card = model_card(toy_manifest(licence="x\n\ntouch PWNED\n<script>alert(1)</script>\x1b]0;title\x07"))
    assert "\ntouch" not in card
    assert r"x\\x0a\\x0atouch PWNED\\x0a&lt;script&gt;alert(1)&lt;/script&gt;\\x1b\]0;title\\x07" in card
