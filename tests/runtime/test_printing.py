"""Printing: what is escaped, and what happens where it cannot be printed."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.files import indented_json
from voirs_vocoder.runtime.printing import OutputPipeClosedError, mention, remark, say, say_json
from voirs_vocoder.runtime.progress import ConsoleProgress
from voirs_vocoder.runtime.text import printable

ROOT = Path(__file__).resolve().parents[2]


class Failing(io.StringIO):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def write(self, text: str) -> int:
        raise self._error


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_json_is_printed_without_what_a_terminal_obeys_and_means_the_same(text):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", io.StringIO())
        say_json(indented_json({text: [text]}))
        printed = sys.stdout.getvalue()
    assert json.loads(printed) == {text: [text]}
    assert all(printable(line) == line for line in printed.split("\n"))


def test_what_the_encoding_of_standard_output_lacks_is_escaped(monkeypatch):
    latin = io.TextIOWrapper(io.BytesIO(), "latin-1")
    monkeypatch.setattr(sys, "stdout", latin)
    say("grüße 音", "")
    assert latin.buffer.getvalue() == "grüße \\u97f3\n\n".encode("latin-1")


def test_lost_output_is_an_error_but_of_lines_about_a_result_elsewhere(monkeypatch):
    for stream, error in (
        (None, InputError),
        (Failing(OSError(28, "No space left on device")), InputError),
        (Failing(BrokenPipeError()), OutputPipeClosedError),
    ):
        monkeypatch.setattr(sys, "stdout", stream)
        with pytest.raises(error):
            say("line")
        mention("line")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), BrokenPipeError(), ValueError()])
def test_remarks_and_progress_never_fail(error, monkeypatch):
    for stream in (None, Failing(error)):
        monkeypatch.setattr(sys, "stderr", stream)
        remark("line")
        with ConsoleProgress() as progress:
            progress("step", 1, 2)
            progress.note("line")


def test_everything_is_printed_by_this_module():
    printing = re.compile(r"\bclick\.(echo|secho|echo_via_pager)\(|(?<![\w.])print\(")
    # It is the program of a child process, whose figure is its output.
    ours = set(ROOT.glob("[a-z]*/**/*.py")) - {ROOT / "export" / "bench" / "fresh_process.py"}
    found = [
        path
        for path in sorted(ours)
        if path.relative_to(ROOT).parts[0]
        in ("artifacts", "calibration", "export", "reference_models", "runtime")
        and printing.search(path.read_text(encoding="utf-8"))
    ]
    assert found == []
