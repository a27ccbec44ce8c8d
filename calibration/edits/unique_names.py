"""Names that nothing else in a graph bears."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["UniqueNames"]


class UniqueNames:
    """Hands out names, each once.

    Args:
        taken: Names that are in use already; None entries are ignored.
    """

    def __init__(self, taken: Iterable[str | None] = ()) -> None:
        self._taken = set(taken)

    def claim(self, wanted: str) -> str:
        """`wanted`, or where that is taken the first free one of `wanted/1`, `wanted/2` and so on."""
        name, number = wanted, 0
        while name in self._taken:
            number += 1
            name = f"{wanted}/{number}"
        self._taken.add(name)
        return name
