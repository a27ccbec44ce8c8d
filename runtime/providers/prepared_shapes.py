"""What a backend prepares for each set of input shapes: prepared once, kept, the least recently used dropped first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["PreparedShapes", "Shapes", "shapes_of"]

Shapes = tuple[tuple[str, tuple[int, ...]], ...]
"""Name and shape of each input, in the order of the names."""

T = TypeVar("T")


def shapes_of(inputs: Mapping[str, NDArray[np.generic]]) -> Shapes:
    """The shapes of arrays by name."""
    return tuple((name, values.shape) for name, values in sorted(inputs.items()))


class _Entry(Generic[T]):
    """What was prepared for one set of shapes, and how many runs use it."""

    def __init__(self, prepared: T) -> None:
        self.prepared = prepared
        self.users = 0
        self.is_kept = True


class PreparedShapes(Generic[T]):
    """Prepares sets of shapes when they first come, and drops those that were not used for longest.

    Any number of threads may use it: each set is prepared by one of them, while runs of other sets go on.

    Attributes:
        built: Number of sets that were prepared so far, those that were dropped again included.
    """

    def __init__(
        self,
        prepare: Callable[[Shapes], T],
        free: Callable[[T], None],
        fits: Callable[[Sequence[T]], bool],
    ) -> None:
        """Prepare nothing yet.

        Args:
            prepare: Prepares a set of shapes; one thread at a time calls it.
            free: Frees what was prepared, after it was dropped and the last run that uses it has ended.
            fits: Whether several prepared sets may be kept together; a single one is always kept.
        """
        self.built = 0
        self._prepare = prepare
        self._free = free
        self._fits = fits
        self._lock = threading.Lock()
        self._building = threading.Lock()
        self._kept: OrderedDict[Shapes, _Entry[T]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    @contextmanager
    def using(self, shapes: Shapes) -> Iterator[T]:
        """Hold what is prepared for a set of shapes, which is not freed inside the `with` block.

        Args:
            shapes: Name and shape of each input, in the order of the names.

        Yields:
            What `prepare` returned for these shapes, now or before.
        """
        entry = self._found(shapes)
        if entry is None:
            with self._building:
                # Another thread may have prepared it in the meantime.
                entry = self._found(shapes) or self._built(shapes)
        try:
            yield entry.prepared
        finally:
            with self._lock:
                entry.users -= 1
                is_last = not entry.users and not entry.is_kept
            if is_last:
                self._free(entry.prepared)

    def drop_all(self) -> int:
        """Drop everything; what runs use at the moment is freed after them.

        Returns:
            Number of sets that were dropped.
        """
        with self._lock:
            entries = list(self._kept.values())
            self._kept.clear()
            unused = self._dropped(entries)
        for entry in unused:
            self._free(entry.prepared)
        return len(entries)

    def _found(self, shapes: Shapes) -> _Entry[T] | None:
        with self._lock:
            entry = self._kept.get(shapes)
            if entry is not None:
                self._kept.move_to_end(shapes)
                entry.users += 1
            return entry

    def _built(self, shapes: Shapes) -> _Entry[T]:
        entry = _Entry(self._prepare(shapes))
        entry.users = 1
        with self._lock:
            self._kept[shapes] = entry
            self.built += 1
            dropped = []
            while len(self._kept) > 1 and not self._fits([each.prepared for each in self._kept.values()]):
                dropped.append(self._kept.popitem(last=False)[1])
            unused = self._dropped(dropped)
        for each in unused:
            self._free(each.prepared)
        return entry

    def _dropped(self, entries: Sequence[_Entry[T]]) -> list[_Entry[T]]:
        """Mark entries as dropped, and find those that no run uses; the lock is held."""
        for entry in entries:
            entry.is_kept = False
        return [entry for entry in entries if not entry.users]
