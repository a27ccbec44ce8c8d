"""Options of the commands that read recordings: how each of their recordings is read."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from voirs_vocoder.export.cli import options
from voirs_vocoder.export.cli.command import option
from voirs_vocoder.runtime.audio import reading

__all__ = ["recordings_options"]

_Function = Callable[..., Any]


def recordings_options(function: _Function) -> _Function:
    """`--allow-truncated` and `--channel`, which hold for every recording that the command reads."""

    @wraps(function)
    def command(*args: Any, allow_truncated: bool, channel: int | None, **others: Any) -> Any:
        if (allow_truncated or channel is not None) and _is_no_recording(others.get("source_file")):
            raise click.UsageError(
                "--allow-truncated and --channel are for recordings, IN is none; leave them out"
            )
        with reading(allow_truncated=allow_truncated, channel=channel):
            return function(*args, **others)

    truncated = option(
        "--allow-truncated",
        is_flag=True,
        group=options.SPEECH,
        help="Use recordings that were cut off as far as they go, with a warning, instead of refusing them.",
    )
    chosen = option(
        "--channel",
        metavar="N",
        type=click.IntRange(min=1),
        group=options.SPEECH,
        help="Channel to take of recordings that have several, 1 being the first. Without it they are mixed.",
    )
    return truncated(chosen(command))


def _is_no_recording(source: Path | None) -> bool:
    """Whether the input of a command is a mel or raw PCM; None for a command that reads folders."""
    return source is not None and (source == Path("-") or source.suffix.lower() == ".npy")
