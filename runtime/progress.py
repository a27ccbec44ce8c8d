"""How long work tells whoever waits for it."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Progress", "silent"]

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many parts of it are done, and how many there are (0: unknown)."""


def silent(message: str, done: int, total: int) -> None:
    """Say nothing."""
    del message, done, total
