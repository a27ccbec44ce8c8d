"""Files: read only if they are regular and not too large, written whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from voirs_vocoder.runtime import InputError
from voirs_vocoder.runtime.audio import recordings_in
from voirs_vocoder.runtime.files import (
    file_sha256,
    indented_json,
    open_regular,
    read_bounded,
    regular_size,
    require_file,
    whole_file,
    write_whole,
)

READERS = (require_file, open_regular, file_sha256, lambda path: read_bounded(path, 1 << 20))


def fifo(path):
    os.mkfifo(path)


def device(path):
    path.symlink_to("/dev/zero")


def link_to_itself(path):
    path.symlink_to(path.name)


def link_to_nothing(path):
    path.symlink_to("nothing")


def empty(path):
    path.touch()


def closed_to_us(path):
    path.symlink_to("a" * 300)


ODD = (fifo, device, link_to_itself, link_to_nothing, empty, closed_to_us)


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


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("make", [*ODD, os.mkdir])
def test_what_is_no_regular_file_is_refused_by_name_and_never_waited_for(reader, make, tmp_path):
    path = tmp_path / "input.wav"
    make(path)
    with pytest.raises(InputError, match=r"input\.wav: .*; ") as raised:
        reader(path)
    assert "\n" not in str(raised.value)


def test_a_path_that_no_file_can_have_is_refused():
    with pytest.raises(InputError, match="cannot be read"):
        open_regular(Path("a\0b"))


def test_a_size_beyond_the_bound_is_refused_before_anything_is_read(tmp_path):
    path = tmp_path / "config.json"
    path.write_bytes(b"{}")
    os.truncate(path, 1 << 40)  # sparse
    with pytest.raises(InputError, match=f"takes at most 1024 bytes, got {1 << 40}"):
        read_bounded(path, 1024)


def test_a_file_is_read_whole_however_large_its_bound(tmp_path):
    path = tmp_path / "config.json"
    path.write_bytes(b"{}")
    assert read_bounded(path, 1 << 60) == b"{}"
    assert file_sha256(path) == hashlib.sha256(b"{}").hexdigest()


def test_an_open_file_is_read_by_its_descriptor_and_stays_open(tmp_path):
    path = tmp_path / "manifest.json"
    path.write_bytes(b"{}")
    descriptor = os.open(path, os.O_RDONLY)
    assert regular_size(descriptor, "manifest.json") == 2
    assert read_bounded(descriptor, 2, name="manifest.json") == b"{}"
    os.close(descriptor)
    with pytest.raises(InputError, match=r"manifest\.json: cannot be read"):
        read_bounded(descriptor, 2, name="manifest.json")


def test_a_descriptor_of_a_pipe_is_refused(tmp_path):
    fifo(tmp_path / "pipe")
    descriptor = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(InputError, match="pipe: input must be a regular file"):
            read_bounded(descriptor, 10, name="pipe")
    finally:
        os.close(descriptor)


def test_the_recordings_of_a_folder_are_its_visible_files_by_name(tmp_path):
    for name in ("b.wav", "a.FLAC", "._a.flac", ".hidden.wav", "notes.txt"):
        (tmp_path / name).write_bytes(b"any")
    (tmp_path / "old.wav").mkdir()
    (tmp_path / "link.ogg").symlink_to("b.wav")
    assert [path.name for path in recordings_in(tmp_path)] == ["a.FLAC", "b.wav", "link.ogg"]
    assert [path.name for path in recordings_in(tmp_path, [".txt"])] == ["notes.txt"]


@pytest.mark.parametrize("make", ODD)
def test_a_recording_of_a_folder_that_cannot_be_read_is_named(make, tmp_path):
    (tmp_path / "a.wav").write_bytes(b"any")
    make(tmp_path / "odd.wav")
    with pytest.raises(InputError, match=r"odd\.wav: .*; "):
        recordings_in(tmp_path)


def test_a_folder_of_recordings_must_be_one(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"any")
    for path, words in (
        (tmp_path / "none", "no such folder"),
        (tmp_path / "a.wav", "no such folder"),
        (Path("a\0b"), "cannot be listed"),
    ):
        with pytest.raises(InputError, match=words):
            recordings_in(path)
    (tmp_path / "a.wav").unlink()
    with pytest.raises(InputError, match="holds no recordings"):
        recordings_in(tmp_path)
