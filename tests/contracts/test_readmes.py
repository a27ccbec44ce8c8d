"""The READMEs: every command in them is one that the real command line accepts, and the quick start runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from voirs_vocoder.export.cli import main
from voirs_vocoder.export.precisions import get_precision, precision_names
from voirs_vocoder.runtime import read_audio

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    path
    for path in (*ROOT.glob("*.md"), *ROOT.glob("*/*.md"), *(ROOT / "artifacts").rglob("*.md"))
    if "build" not in path.relative_to(ROOT).parts and path.parent.name != ".venv"
)
INLINE = re.compile(r"`(voirs-vocoder [^`]+)`")
QUICK_START = re.compile(r"<!-- quick start -->\n\n((?: {4}voirs-vocoder .*\n)+)")


def commands_of(text: str) -> list[str]:
    """Every `voirs-vocoder` line of an indented block, continued lines joined, and every inline one."""
    joined = re.sub(r" *\\\n\s*", " ", text)
    blocks = re.findall(r"^ {4}(?:\$ )?(voirs-vocoder .+)$", joined, re.MULTILINE)
    return [*blocks, *INLINE.findall(joined)]


def parse(command: str) -> None:
    """Parse a command with the real command line, without running it or asking whether its files exist."""
    words = shlex.split(command, comments=True)[1:]
    for stop in ("|", ">"):
        if stop in words:
            words = words[: words.index(stop)]
    with click.Context(main, info_name="voirs-vocoder") as context:
        name, command_object, arguments = main.resolve_command(context, words)
        assert command_object is not None
        if not arguments:
            return  # the mention of a command's name
        for parameter in command_object.params:
            _accept_any_file(parameter)
        command_object.make_context(name or "", list(arguments), parent=context)


def _accept_any_file(parameter: click.Parameter) -> None:
    if isinstance(parameter.type, click.Path):
        parameter.type.exists = False


EXAMPLES = [
    pytest.param(command, id=f"{path.relative_to(ROOT)}:{number}")
    for path in DOCUMENTS
    for number, command in enumerate(commands_of(path.read_text(encoding="utf-8")))
]


def test_the_readmes_show_commands():
    assert len(EXAMPLES) > 15


@pytest.mark.parametrize("command", EXAMPLES)
def test_every_command_of_a_readme_is_accepted(command):
    parse(command)


@pytest.mark.parametrize(
    "command",
    [
        "voirs-vocoder vocde a b",
        "voirs-vocoder vocode DIR IN --output x.wav --stepps 3",
        "voirs-vocoder vocode DIR",
    ],
)
def test_a_planted_wrong_command_is_refused(command):
    with pytest.raises(click.UsageError):
        parse(command)


def gates_written(text: str) -> dict[tuple[str, str | None], set[tuple[str, str, float]]]:
    """Precision and target to the gates that a Markdown table states: figure, bound, limit."""
    rows = re.findall(r"^\| (FP\d+|BF\d+|INT\d+)(?: `(\w+)`)? \| (.+) \|$", text, re.MULTILINE)
    phrases = {
        "max_abs_error": r"(?:largest difference from PyTorch) (at most) ([\d.]+)",
        "snr_db": r"SNR(?: against PyTorch)? (at least) ([\d.]+) dB",
        "pesq_lost": r"PESQ (at most) ([\d.]+) below FP32",
    }
    return {
        (precision.lower(), target or None): {
            (figure, {"at most": "max", "at least": "min"}[bound], float(limit))
            for figure, phrase in phrases.items()
            for bound, limit in re.findall(phrase, gates)
        }
        for precision, target, gates in rows
    }


def test_the_table_of_gates_is_what_validate_holds_graphs_to():
    written = gates_written((ROOT / "export" / "README.md").read_text(encoding="utf-8"))
    assert written == {
        (name, target): {(gate.figure, gate.bound, gate.limit) for gate in gates}
        for name in precision_names()
        for target, gates in get_precision(name).gates.items()
    }


def test_a_planted_wrong_gate_is_read_as_it_is_written():
    row = "| INT8 `cpu` | SNR at least 18 dB, PESQ at most 0.1 below FP32 |"
    assert gates_written(row) == {("int8", "cpu"): {("snr_db", "min", 18.0), ("pesq_lost", "max", 0.1)}}


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_inside_the_repository_leads_somewhere(document):
    targets = re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8"))
    assert [target for target in targets if not (document.parent / target).exists()] == []


@pytest.mark.slow
def test_the_quick_start_makes_audio(tmp_path, monkeypatch):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = QUICK_START.findall(text)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "artifacts").mkdir()
    for name in ("checkpoints", "samples"):
        (tmp_path / "artifacts" / name).symlink_to(ROOT / "artifacts" / name)
    for line in block.splitlines():
        result = CliRunner().invoke(main, shlex.split(line)[1:])
        assert result.exit_code == 0, result.output
    python = re.search(r"From Python:\n\n((?: {4}.*\n|\n)+)", text)
    assert python
    code = re.sub(r"^ {4}", "", python.group(1), flags=re.MULTILINE)
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102  # our own README
    for name in ("first.wav", "copy.wav"):
        audio = read_audio(tmp_path / "artifacts" / "build" / name)
        assert audio.sample_rate == 22050
        assert np.sqrt(np.mean(audio.samples**2)) > 0.01
