"""A loaded graph that computes rows of different lengths: each as it is, or padded to a bucket."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.artifact.axes import axis_size
from voirs_vocoder.runtime.artifact.manifest import GraphEntry, TensorInfo
from voirs_vocoder.runtime.drivers.buckets import Buckets
from voirs_vocoder.runtime.errors import DeviceMemoryError
from voirs_vocoder.runtime.providers.session import Session

__all__ = ["LENGTHS", "Row", "RowGraph", "takes_lengths"]

_log = logging.getLogger(__name__)

LENGTHS = "lengths"
"""Name of the input of a batch graph that states how many mel frames each row has."""

Row = Mapping[str, NDArray[np.float32]]
"""Inputs of one row by name: arrays without the batch axis, with time as the last axis where they hold time."""


def takes_lengths(entry: GraphEntry) -> bool:
    """Whether a graph takes rows of different lengths."""
    return any(info.name == LENGTHS for info in entry.inputs)


class RowGraph:
    """A loaded graph with one output. Several threads may run it at the same time.

    Args:
        session: Session that runs the graph.
        entry: Manifest entry of the graph.
        hop_length: Audio samples per mel frame.
        buckets: Shapes to run in, for a graph that takes lengths; None runs every input in its own shape.

    Attributes:
        session: Session that runs the graph.
        entry: Manifest entry of the graph.
        buckets: Shapes to run in; None where every input runs in its own shape.
    """

    def __init__(self, session: Session, entry: GraphEntry, hop_length: int, buckets: Buckets | None) -> None:
        self.session = session
        self.entry = entry
        self.buckets = buckets
        self._hop_length = hop_length
        self._takes_lengths = takes_lengths(entry)
        self._fitting: set[int] = set()

    def run(self, rows: Sequence[Row], lengths: Sequence[int]) -> list[NDArray[np.float32]]:
        """Compute rows, together as far as the graph and its buckets allow.

        Args:
            rows: Inputs of each row.
            lengths: Length of each row in mel frames, at least 1, at most that of the longest bucket.

        Returns:
            Output of each row, without the batch axis, with time as the last axis.

        Raises:
            ProviderError: The provider failed.
        """
        results: list[NDArray[np.float32]] = []
        while len(results) < len(rows):
            first = len(results)
            waiting = lengths[first:]
            count, batch, frames = self._next_shape(waiting)
            try:
                outputs = self._together(rows[first : first + count], waiting[:count], batch, frames)
            except DeviceMemoryError:
                if batch == 1 or not self._leave_out(batch, frames):
                    raise
                continue
            results.extend(outputs)
        return results

    def bound(
        self, rows: Sequence[Row], lengths: Sequence[int], constant: Collection[str]
    ) -> Callable[[Sequence[Row]], list[NDArray[np.float32]]]:
        """Prepare runs of the same rows, of whose inputs only some change from run to run.

        Args:
            rows: Inputs of each row.
            lengths: Length of each row in mel frames, as for `run`.
            constant: Names of the inputs that keep their values, which a session on a device copies once.

        Returns:
            A function from the changed inputs of each row to the output of each row, as of `run`; its next call
            overwrites the outputs. It raises ProviderError when the provider fails.

        Raises:
            ProviderError: The provider failed.
        """
        parts: list[_BoundRows] = []
        first = 0
        while first < len(rows):
            waiting = lengths[first:]
            count, batch, frames = self._next_shape(waiting)
            inputs = self._stacked(rows[first : first + count], waiting[:count], batch, frames)
            for name in constant:
                inputs[name].flags.writeable = False
            try:
                parts.append(_BoundRows(self, inputs, waiting[:count], batch, frames))
            except DeviceMemoryError:
                if batch == 1 or not self._leave_out(batch, frames):
                    raise
                continue
            first += count

        def run(changed: Sequence[Row]) -> list[NDArray[np.float32]]:
            results: list[NDArray[np.float32]] = []
            for part in parts:
                results.extend(part.run(changed[len(results) :]))
            return results

        return run

    def warm(self, *, together: bool, only_frames: Iterable[int] | None = None) -> None:
        """Run every bucket once, so that no later run prepares a shape; does nothing without buckets.

        Args:
            together: Whether buckets of several rows are run too.
            only_frames: Lengths in mel frames whose buckets are run; None runs all.

        Raises:
            InputError: No bucket holds one of the lengths.
            ProviderError: The provider failed.
        """
        if self.buckets is None:
            return
        wanted = None if only_frames is None else {self.buckets.frames_for(frames) for frames in only_frames}
        for batch, frames in self.buckets.shapes(together=together):
            if wanted is None or frames in wanted:
                try:
                    self.session.run(self.zeros(self.entry.inputs, batch, frames))
                except DeviceMemoryError:
                    if not self._leave_out(batch, frames):
                        raise
                    if batch == 1:
                        return

    def make_fit(self, frames: int) -> None:
        """Leave out the buckets that the device has too little memory for, before an input is cut into windows.

        Args:
            frames: Length of the input in mel frames; one that is longer than all buckets runs in the longest.

        Raises:
            DeviceMemoryError: The device has too little memory for every bucket that holds a window.
            ProviderError: The provider failed.
        """
        while self.buckets is not None:
            size = self.buckets.frames_for(min(frames, self.buckets.longest))
            if size in self._fitting:
                return
            try:
                self.session.run(self.zeros(self.entry.inputs, 1, size))
            except DeviceMemoryError:
                if not self._leave_out(1, size):
                    raise
            else:
                self._fitting.add(size)

    def _leave_out(self, batch: int, frames: int) -> bool:
        """Leave out a bucket that does not fit the device; False where none would be left."""
        left = None if self.buckets is None else self.buckets.without(batch, frames)
        if left is None:
            return False
        _log.warning(
            "provider %s: too little memory for a batch of %d with %d mel frames in %s; smaller shapes are tried",
            self.session.provider,
            batch,
            frames,
            self.entry.file.path,
        )
        self.buckets = left
        return True

    def _next_shape(self, waiting: Sequence[int]) -> tuple[int, int, int]:
        """How many of the waiting rows run next, and in which shape: (rows, batch, mel frames)."""
        if not self._takes_lengths:
            return 1, 1, waiting[0]
        if self.buckets is None:
            return len(waiting), len(waiting), max(waiting)
        frames = self.buckets.frames_for(max(waiting))
        batch = self.buckets.batch_for(len(waiting), frames)
        count = min(batch, len(waiting))
        # The rows that run now may fit a shorter bucket than those that wait on.
        frames = self.buckets.frames_for(max(waiting[:count]))
        return count, batch, frames

    def _together(
        self, rows: Sequence[Row], lengths: Sequence[int], batch: int, frames: int
    ) -> list[NDArray[np.float32]]:
        if (batch, frames) == (1, lengths[0]):
            # As it is, without a copy.
            inputs: dict[str, NDArray[np.generic]] = {
                name: np.ascontiguousarray(values[np.newaxis]) for name, values in rows[0].items()
            }
            if self._takes_lengths:
                inputs[LENGTHS] = np.array(lengths, np.int64)
        else:
            inputs = self._stacked(rows, lengths, batch, frames)
        (results,) = self.session.run(inputs).values()
        rate = results.shape[-1] // frames
        if batch == 1:
            return [results[0, ..., : lengths[0] * rate]]
        # Copies, so that a row that is kept does not keep the whole batch.
        return [results[place, ..., : length * rate].copy() for place, length in enumerate(lengths)]

    def _stacked(
        self, rows: Sequence[Row], lengths: Sequence[int], batch: int, frames: int
    ) -> dict[str, NDArray[np.generic]]:
        """The graph's inputs with these rows, padded to a shape."""
        inputs = self.zeros(self.entry.inputs, batch, frames)
        if self._takes_lengths:
            inputs[LENGTHS][: len(lengths)] = lengths
        for place, row in enumerate(rows):
            _fill_row(inputs, place, row)
        return inputs

    def zeros(self, tensors: Sequence[TensorInfo], batch: int, frames: int) -> dict[str, NDArray[np.generic]]:
        """Make zeros for inputs or outputs of the graph; as an input, a row of length 0 is padding as a whole.

        Args:
            tensors: The inputs or outputs.
            batch: Number of rows.
            frames: Length of the rows in mel frames.
        """
        return {
            info.name: np.zeros(
                [
                    axis_size(axis, batch=batch, frames=frames, hop_length=self._hop_length)
                    for axis in info.shape
                ],
                np.dtype(info.dtype),
            )
            for info in tensors
        }


class _BoundRows:
    """Rows of one run of a graph, on arrays that stay."""

    def __init__(
        self,
        graph: RowGraph,
        inputs: dict[str, NDArray[np.generic]],
        lengths: Sequence[int],
        batch: int,
        frames: int,
    ) -> None:
        self._inputs = inputs
        self._lengths = lengths
        ((name, output),) = graph.zeros(graph.entry.outputs, batch, frames).items()
        self._output = output.astype(np.float32, copy=False)
        self._rate = output.shape[-1] // frames
        self._run = graph.session.bind(inputs, {name: self._output})

    def run(self, changed: Sequence[Row]) -> list[NDArray[np.float32]]:
        """Run on the first rows of `changed`, as many as these are."""
        for place in range(len(self._lengths)):
            _fill_row(self._inputs, place, changed[place])
        self._run()
        return [self._output[place, ..., : length * self._rate] for place, length in enumerate(self._lengths)]


def _fill_row(inputs: Mapping[str, NDArray[np.generic]], place: int, row: Row) -> None:
    """Copy the inputs of a row into those of a run, whose time axis may be longer."""
    for name, values in row.items():
        if values.ndim:
            inputs[name][place, ..., : values.shape[-1]] = values
        else:
            inputs[name][place] = values
