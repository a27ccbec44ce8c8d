"""How long work reports its progress, and how the command lines show it."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from voirs_vocoder.runtime.printing import remark, write_control
from voirs_vocoder.runtime.text import printable

__all__ = ["ConsoleProgress", "Progress", "silent"]

_BAR_WIDTH = 24
_REDRAW_S = 0.5
_WIPE = "\r\x1b[K"  # begin the line again

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many parts of it are done, and how many there are (0: unknown)."""


def silent(message: str, done: int, total: int) -> None:
    """Report nothing.

    Args:
        message: What is being done.
        done: Number of parts that are done.
        total: Number of parts; 0 where it is unknown.
    """
    del message, done, total


class ConsoleProgress:
    """A `Progress` for people: one line that is redrawn on a terminal, a line per distinct message elsewhere.

    Use it as a context manager; at its end the line on the terminal is wiped.

    Example:
        with ConsoleProgress() as progress:
            export_artifact(request, progress)
    """

    def __init__(self) -> None:
        """Look where stderr leads."""
        self._on_terminal = (
            sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        )
        self._said: set[str] = set()
        self._state = ("", 0, 0)
        self._started_s = time.monotonic()
        self._drawing = threading.Lock()
        self._ended = threading.Event()
        self._clock = threading.Thread(target=self._tick, daemon=True)

    def __call__(self, message: str, done: int, total: int) -> None:
        """Show a step, as `Progress` describes."""
        if self._on_terminal:
            self._state = (message, done, total)
            self._draw()
        elif message not in self._said:
            self._said.add(message)
            remark(message)

    def note(self, text: str) -> None:
        """Print a line that stays.

        Args:
            text: One line.
        """
        with self._drawing:
            if self._on_terminal:
                write_control(_WIPE)
            remark(text)

    def __enter__(self) -> Self:
        if self._on_terminal:
            self._clock.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._on_terminal:
            self._ended.set()
            self._clock.join()
            write_control(_WIPE)

    def _tick(self) -> None:
        # Keeps the elapsed time moving while a long step reports nothing.
        while not self._ended.wait(_REDRAW_S):
            self._draw()

    def _draw(self) -> None:
        message, done, total = self._state
        if not message:
            return
        seconds = int(time.monotonic() - self._started_s)
        line = f"{seconds // 60}:{seconds % 60:02d}  "
        if total:
            filled = min(_BAR_WIDTH, _BAR_WIDTH * done // total)
            line += f"[{'#' * filled}{'.' * (_BAR_WIDTH - filled)}] {done}/{total}  "
        columns = shutil.get_terminal_size().columns
        with self._drawing:
            write_control(f"{_WIPE}{printable(line + message)[: columns - 1]}")
