"""Reports of progress during long work."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Progress", "silent"]

Progress = Callable[[str, int, int], None]
"""Called with a phrase for the work in progress, the number of parts done, and the number of parts (0: unknown)."""


def silent(message: str, done: int, total: int) -> None:
    """Ignore the report."""
    del message, done, total
