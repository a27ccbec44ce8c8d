"""Output for people: warnings and log messages on stderr, tables on stdout."""

from __future__ import annotations

import logging
import re
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

from voirs_vocoder.export.cli.failure import with_flags
from voirs_vocoder.runtime.printing import remark, say
from voirs_vocoder.runtime.text import printable

__all__ = ["console_messages", "print_table"]

_WIDTH = 100
_NUMBER = re.compile(r"[+-]?(\d[\d,]*(\.\d+)?(e[+-]?\d+)?|inf|nan)%?")


@contextmanager
def console_messages() -> Iterator[None]:
    """Show our warnings and log messages as single lines; those of other packages address their own developers."""
    log = logging.getLogger("voirs_vocoder")
    # The provider `auto` logs its choice here.
    choices = logging.getLogger("voirs_vocoder.runtime.providers")
    levels = (log.level, choices.level)
    handler = _EchoHandler()
    # Without any handler, Python prints what other packages log.
    ignored = logging.NullHandler()
    shown: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *where: object, **more: object) -> None:
        """Show a warning of ours, once, though what it is about may be read twice."""
        del where, more
        context = click.get_current_context(silent=True)
        command = None if context is None else context.command
        text = with_flags(" ".join(str(message).split()), command)
        if category.__module__.startswith("voirs_vocoder.") and text not in shown:
            shown.add(text)
            remark(f"warning: {text}")

    with warnings.catch_warnings():
        warnings.showwarning = show
        logging.getLogger().addHandler(ignored)
        log.addHandler(handler)
        log.setLevel(logging.WARNING)
        choices.setLevel(logging.INFO)
        try:
            yield
        finally:
            logging.getLogger().removeHandler(ignored)
            log.removeHandler(handler)
            log.setLevel(levels[0])
            choices.setLevel(levels[1])


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print aligned columns on stdout, numbers to the right; a last column that is too wide is wrapped.

    Args:
        rows: Rows of equally many cells; the first row is the header.
    """
    # Names come from manifests, files and libraries of others.
    header, *body = rows = [[printable(cell) for cell in row] for row in rows]
    columns = list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    numeric = [_is_numeric(column[1:]) for column in columns]
    indent = sum(widths[:-1]) + 2 * (len(widths) - 1)
    widths[-1] = min(widths[-1], max(len(header[-1]), _WIDTH - indent))
    for row in (header, ["-" * width for width in widths], *body):
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row[:-1], widths, numeric, strict=False)
        ]
        last = row[-1].rjust(widths[-1]) if numeric[-1] else row[-1]
        wrapped = [last] if len(last) <= widths[-1] else textwrap.wrap(last, widths[-1])
        say("  ".join([*cells, wrapped[0]]).rstrip())
        for line in wrapped[1:]:
            say(" " * indent + line)


def _is_numeric(cells: Sequence[str]) -> bool:
    known = [cell for cell in cells if cell not in ("", "-")]
    return bool(known) and all(_NUMBER.fullmatch(cell) for cell in known)


class _EchoHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        prefix = "warning" if record.levelno >= logging.WARNING else "note"
        remark(f"{prefix}: {' '.join(record.getMessage().split())}")
