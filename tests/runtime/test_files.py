"""Files: whole or not at all."""

from __future__ import annotations

import errno
import os

import pytest

from voirs_vocoder.runtime import InputError
from voirs_vocoder.runtime.files import indented_json, whole_file, write_whole


def test_a_written_file_replaces_the_one_before_and_leaves_no_draft(tmp_path):
    path = tmp_path / "report.json"
    for text in (b"first", b"second"):
        write_whole(path, text)
        assert path.read_bytes() == text
    assert list(tmp_path.iterdir()) == [path]


def test_on_a_full_disk_the_file_before_stays_and_no_draft_is_left(tmp_path, monkeypatch):
    path = tmp_path / "report.json"
    path.write_bytes(b"first")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        InputError, match=r"report\.json: cannot be written: No space left on device; free space"
    ):
        write_whole(path, b"second")
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_raises_leaves_the_file_before(tmp_path):
    path = tmp_path / "curve.csv"
    path.write_text("first", encoding="utf-8")
    with pytest.raises(RuntimeError), whole_file(path) as draft:
        draft.write_text("half", encoding="utf-8")
        raise RuntimeError
    assert path.read_text(encoding="utf-8") == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_json_is_indented_and_ends_with_a_newline():
    assert indented_json({"b": 1, "a": float("inf")}) == b'{\n  "b": 1,\n  "a": null\n}\n'
    assert indented_json({"b": 1, "a": 2}, order="deterministic") == b'{\n  "a": 2,\n  "b": 1\n}\n'
