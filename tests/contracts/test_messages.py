"""Messages: the library names Python arguments, the command line shows them as its flags."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from voirs_vocoder.export.cli.failure import with_flags

ROOT = Path(__file__).resolve().parents[2]
FLAG = re.compile(r"(^|[\s'`(])--[a-z]")
# A whole command line may be quoted by anybody.
COMMAND_LINE = re.compile(r"voirs-vocoder [^;,`)]*")


def library_files() -> Iterator[Path]:
    for package in ("calibration", "export", "reference_models", "runtime"):
        for path in sorted((ROOT / package).rglob("*.py")):
            if path.name != "__main__.py" and ROOT / "export" / "cli" not in path.parents:
                yield path


def messages(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and text of each string that is not a docstring; an f-string is one text."""
    left_out = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            left_out.add(id(node.value))
        elif isinstance(node, ast.JoinedStr):
            left_out |= {id(part) for part in node.values}
    for node in ast.walk(tree):
        if id(node) in left_out:
            continue
        if isinstance(node, ast.JoinedStr):
            parts = (str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
            yield node.lineno, "".join(parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def test_no_message_of_the_library_names_a_flag():
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text}"
        for path in library_files()
        for line, text in messages(ast.parse(path.read_text(encoding="utf-8")))
        if FLAG.search(COMMAND_LINE.sub("", text))
    ]
    assert found == []


@click.command()
@click.option("--force", is_flag=True)
@click.option("--stream/--no-stream", default=True)
@click.option("--pairs", type=int)
@click.option("-b", "--backend")
def command():
    pass


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("replace it with force=True", "replace it with --force"),
        ("leave it out with stream=False", "leave it out with --no-stream"),
        ("give pairs=15; it is short", "give --pairs 15; it is short"),
        ("use backend='tensorrt-rtx'", "use --backend tensorrt-rtx"),
        ("no such argument=True", "no such argument=True"),
    ],
)
def test_arguments_in_a_message_become_the_flags_of_the_command(message, shown):
    assert with_flags(message, command) == shown
    assert with_flags(message, None) == message
