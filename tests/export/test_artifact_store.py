"""Artifacts on disk are whole at every moment: beside killed writers, other writers, and on full disks."""

from __future__ import annotations

import hashlib
import os
import random
import re
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import msgspec
import pytest

from tests.children import ended, in_child, killed_at
from tests.toy_artifact import GRAPH_PATH, toy_artifact, toy_graph
from voirs_vocoder.export.artifact import writer
from voirs_vocoder.export.artifact.change import Change, change_artifact
from voirs_vocoder.export.artifact.writer import locked_artifact, with_files
from voirs_vocoder.runtime import Artifact, ArtifactError, InputError

KILLS = int(os.environ.get("VOIRS_TEST_KILLS", "60"))
"""Number of processes that are killed at random moments."""

INT8_PATH = "graphs/offline.int8.onnx"

Action = Callable[[Path], object]


def validated(root: Path, text: str = "new") -> Artifact:
    """Change an artifact as `validate` and `tune` do: reports, and figures in the manifest."""
    files = {"validation/report.json": text.encode(), "validation/report.html": b"<html>" + text.encode()}
    return change_artifact(root, lambda artifact: (with_files(artifact.manifest, files), files))


def requantized(root: Path, text: str = "new") -> Artifact:
    """Change an artifact as `quantize --force` does: other bytes at the path of a graph, and one graph less or more."""
    data = {GRAPH_PATH: text.encode() * 100, INT8_PATH: b"integers" + text.encode()}

    def edit(artifact: Artifact) -> Change:
        graphs = [toy_graph(GRAPH_PATH, data[GRAPH_PATH]), toy_graph(INT8_PATH, data[INT8_PATH], "int8")]
        kept = graphs[:1] if len(artifact.manifest.graphs) == 2 else graphs
        files = {graph.file.path: data[graph.file.path] for graph in kept}
        return msgspec.structs.replace(artifact.manifest, graphs=tuple(kept)), files

    return change_artifact(root, edit)


def replaced(root: Path, text: str = "new") -> Artifact:
    """Replace an artifact as `export --force` does."""
    return toy_artifact(root, force=True, variant=text)


ACTIONS: dict[str, Action] = {"validate": validated, "quantize": requantized, "force": replaced}


def problems(root: Path) -> list[str]:
    """Files of an artifact that are not as its manifest records them."""
    return [str(error) for _, error in Artifact.open(root).verify() if error is not None]


def require_tidy(root: Path) -> None:
    """Every file is in its place, and nothing else is there but what the change before left for readers."""
    listed = {entry.path: entry.sha256 for entry in Artifact.open(root).manifest.all_files()}
    for path, sha256 in listed.items():
        assert hashlib.sha256((root / path).read_bytes()).hexdigest() == sha256
    found = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    kept = {path for path in found if re.fullmatch(r"\.versions/([0-9a-f]{64}\.old|manifest\.json)", path)}
    assert found - kept == {*listed, "manifest.json"} | ({".lock"} & found)
    assert [path.name for path in root.parent.iterdir()] == [root.name]


@contextmanager
def running(*actions: Callable[[], object]) -> Iterator[None]:
    """Repeat actions, each in a child process of its own, until the block ends."""

    def forever(action: Callable[[], object]) -> None:
        while True:
            action()

    children = [in_child(lambda action=action: forever(action)) for action in actions]  # type: ignore[misc]
    try:
        yield
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
        assert [ended(child) for child in children] == [-signal.SIGKILL] * len(children)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An artifact that was changed before, alone in its folder."""
    (tmp_path / "folder").mkdir()
    root = toy_artifact(tmp_path / "folder" / "artifact").root
    validated(root, "first")
    return root


@pytest.mark.parametrize("name", ACTIONS)
def test_killed_at_any_call_a_change_leaves_the_artifact_before_or_after_it(root: Path, name: str) -> None:
    call = 0
    alive = True
    while alive:
        call += 1
        before = Artifact.open(root)
        alive = killed_at(call, partial(ACTIONS[name], root, f"text {call}"))
        assert problems(root) == []
        # A reader that read the manifest before finds its files too.
        assert [error for _, error in before.verify() if error is not None] == []
        validated(root, f"next {call}")
        require_tidy(root)
    assert call > 20


def test_killed_at_any_call_an_export_leaves_a_whole_artifact_or_none(root: Path) -> None:
    call = 0
    alive = True
    target = root.with_name("other")
    while alive:
        call += 1
        alive = killed_at(call, lambda: toy_artifact(target))
        if target.exists():
            assert problems(target) == []
        toy_artifact(target, force=True)
        root.rename(root.parent.parent / "aside")
        require_tidy(target)
        (root.parent.parent / "aside").rename(root)
        target.rename(root.parent.parent / f"made {call}")
    assert call > 8


def test_killed_at_random_moments_an_artifact_is_whole(root: Path) -> None:
    chance = random.Random(7)  # noqa: S311 - moments, no secrets
    killed = 0
    for number in range(KILLS):
        name = chance.choice(sorted(ACTIONS))
        child = in_child(lambda: [ACTIONS[name](root, f"{number}.{step}") for step in range(200)])  # noqa: B023
        time.sleep(chance.uniform(0.0, 0.06))
        os.kill(child, signal.SIGKILL)
        killed += ended(child) == -signal.SIGKILL
        assert problems(root) == []
        validated(root, f"next {number}")
        require_tidy(root)
    assert killed == KILLS


def test_a_reader_beside_writers_never_sees_damage(root: Path) -> None:
    def changing(name: str) -> Callable[[], None]:
        def change() -> None:
            try:
                ACTIONS[name](root, os.urandom(8).hex())
            except ArtifactError as error:
                assert "another process is changing" in str(error)

        return change

    with running(*(changing(name) for name in ACTIONS)):
        for _ in range(100):
            artifact = Artifact.open(root)
            assert [str(error) for _, error in artifact.verify() if error is not None] == []
    validated(root)
    require_tidy(root)


def test_a_reader_of_the_manifest_before_keeps_its_files_until_the_next_change(root: Path) -> None:
    before = Artifact.open(root)
    requantized(root)
    assert [error for _, error in before.verify() if error is not None] == []
    replaced(root)
    assert [error for _, error in before.verify() if error is not None] == []


def test_files_that_were_replaced_long_ago_are_removed_by_the_next_change(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Artifact.open(root)
    validated(root, "second")
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 60)
    assert [error for _, error in before.verify() if error is not None] == []
    validated(root, "third")
    errors = [str(error) for _, error in before.verify() if error is not None]
    assert errors
    assert all("changed while it was read; open it again" in error for error in errors)


def test_of_two_writers_one_is_refused_in_one_line(root: Path) -> None:
    with (
        locked_artifact(root),
        pytest.raises(ArtifactError, match=r"^[^\n]*another process is changing[^\n]*$"),
    ):
        validated(root)


def test_of_two_exports_at_once_each_is_whole_or_refused(tmp_path: Path) -> None:
    target = tmp_path / "folder" / "artifact"
    for _ in range(10):
        children = [in_child(lambda: toy_artifact(target)) for _ in range(3)]
        assert sorted(ended(child) for child in children) == [0, 1, 1]
        require_tidy(target)
        target.rename(tmp_path / os.urandom(8).hex())


def test_an_artifact_that_appears_after_the_check_is_not_replaced_without_force(tmp_path, monkeypatch):
    target = tmp_path / "artifact"
    other = toy_artifact(tmp_path / "other", family="other").root
    monkeypatch.setattr(writer, "refuse_existing", lambda target, *, force: other.rename(target))
    with pytest.raises(InputError, match="another process has made it meanwhile"):
        toy_artifact(target)
    assert Artifact.open(target).manifest.family == "other"
    require_tidy(target)


@pytest.mark.parametrize("mask", [0o077, 0o002, 0o027])
def test_the_permissions_of_an_artifact_follow_the_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        root = toy_artifact(tmp_path / "artifact").root
        requantized(root)
    finally:
        os.umask(before)
    for path in (root, *root.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o777 if path.is_dir() else 0o666) & ~mask, path


@pytest.mark.parametrize("free_bytes", [0, 50, 1500])
@pytest.mark.parametrize("name", ACTIONS)
def test_a_full_disk_leaves_the_artifact_as_it_was(
    root: Path,
    tree: Callable[[Path], dict[str, bytes]],
    full_disk: Callable[[int], AbstractContextManager[None]],
    name: str,
    free_bytes: int,
) -> None:
    before = tree(root.parent)
    with full_disk(free_bytes), pytest.raises(InputError, match="cannot write the artifact"):
        ACTIONS[name](root, "x" * 5000)
    assert tree(root.parent) == before


@pytest.mark.parametrize(
    "problem", [OSError(5, "Input/output error"), KeyboardInterrupt()], ids=["disk fails", "interrupted"]
)
@pytest.mark.parametrize("failing", ["rename", "link", "fsync", "unlink"])
@pytest.mark.parametrize("name", ACTIONS)
def test_a_change_that_fails_at_any_call_leaves_a_whole_artifact(
    root: Path, monkeypatch: pytest.MonkeyPatch, failing: str, name: str, problem: BaseException
) -> None:
    real = getattr(os, failing)
    at = count = 0
    while count == at:
        at += 1
        count = 0

        def broken(*arguments: object, **named: object) -> object:
            nonlocal count
            count += 1
            if count == at:  # noqa: B023 - called within the round
                raise problem
            return real(*arguments, **named)

        with monkeypatch.context() as context:
            context.setattr(os, failing, broken)
            try:
                ACTIONS[name](root, f"text {at}")
            except KeyboardInterrupt:
                assert isinstance(problem, KeyboardInterrupt)
            except InputError as error:
                assert "Input/output error" in str(error)
        # Calls after the failing one do not count.
        count = min(count, at)
        assert problems(root) == []
        validated(root, f"next {at}")
        require_tidy(root)
    assert at > 2


def test_a_file_system_without_hard_links_is_written_by_copies(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_arguments: object, **_named: object) -> None:
        raise PermissionError(1, os.strerror(1))

    monkeypatch.setattr(os, "link", refused)
    before = Artifact.open(root)
    for action in ACTIONS.values():
        action(root, "copied")
        require_tidy(root)
    assert [error for _, error in before.verify() if error is not None] == []


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() == 0, reason="root may write to folders of any mode"
)
def test_a_read_only_artifact_is_refused_in_one_line(root: Path) -> None:
    root.chmod(0o555)
    with pytest.raises(InputError, match=r"^[^\n]*(cannot be changed|cannot write)[^\n]*$"):
        validated(root)
    assert problems(root) == []


def test_a_name_of_any_length_or_encoding_names_an_artifact(tmp_path: Path) -> None:
    for name in ("n" * 255, os.fsdecode(b"mod\xe8le"), "a\nb"):
        root = tmp_path / name
        toy_artifact(root)
        validated(root)
        replaced(root)
        assert problems(root) == []


def test_what_a_killed_export_left_is_removed_by_the_next_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "artifact"
    assert killed_at(6, lambda: toy_artifact(target))
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".voirs-")
    (tmp_path / ".voirs-notes.partial").mkdir()
    other = toy_artifact(tmp_path / "other").root
    assert left.exists()
    toy_artifact(target)
    assert set(tmp_path.iterdir()) == {target, other, tmp_path / ".voirs-notes.partial"}
