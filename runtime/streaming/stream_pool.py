"""Streams of one graph that run together: rows of one batch, which join, run, and leave when they please.

A run takes the chunks that wait when it begins; those that arrive while it is under way form the next one. Each row has
its own state and its own beginning and end, so it computes what it would compute alone.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.artifact.axes import axis_size
from voirs_vocoder.runtime.errors import ProviderError, VoirsVocoderError
from voirs_vocoder.runtime.providers.session import RowSession, RowsRun, rows_bound_by_copying
from voirs_vocoder.runtime.streaming.fixed_chunk_stream import Chunk, ChunkRunner
from voirs_vocoder.runtime.streaming.graph_stream import BEGIN, END_FRAME, NEXT_STATE, STATE, StreamGraph

__all__ = ["StreamPool"]

_ROWS = (1, 4, 16, 64, 256)
_KEPT_SHAPES = 8


@dataclass(frozen=True, eq=False)
class _Bound:
    """The arrays of runs of one shape, and the run itself."""

    inputs: dict[str, NDArray[np.generic]]
    output: NDArray[np.float32]
    run: RowsRun


class StreamPool(ChunkRunner):
    """Runs the chunks of any number of streams of one graph together. Any number of threads may call it.

    Args:
        graph: Stream graph that all streams share.
        max_rows: Most chunks of one run, at least 1.
        fixed_rows: Whether runs are padded to 1, 4, 16, 64 or 256 rows, for a provider that prepares every new shape.
    """

    def __init__(self, graph: StreamGraph, max_rows: int, *, fixed_rows: bool) -> None:
        """Start without streams."""
        self.graph = graph
        self._max_rows = max_rows
        self._fixed_rows = fixed_rows
        self._changed = threading.Condition()
        self._waiting: deque[Chunk] = deque()
        self._is_running = False
        self._bound: OrderedDict[tuple[int, int], _Bound] = OrderedDict()

    def warm(self, frames: int) -> None:
        """Prepare the shapes of chunks of a length, for a provider that prepares every new shape.

        Args:
            frames: Length of the chunks in mel frames.

        Raises:
            ProviderError: The provider failed.
        """
        rows = [rows for rows in _ROWS if rows <= self._padded(self._max_rows)] if self._fixed_rows else [1]
        with self._changed:
            # No run begins while the lock is held.
            while self._is_running:
                self._changed.wait()
            for count in rows:
                if (count, frames) not in self._bound:
                    self._bind(count, frames).run([])

    def run(self, chunk: Chunk) -> NDArray[np.float32]:
        """Run a chunk, together with those of other streams that are waiting.

        Args:
            chunk: The chunk; its state is overwritten.

        Returns:
            Output of the chunk, float32 [channels, samples].

        Raises:
            ProviderError: The provider failed on this chunk; its state is as before.
        """
        with self._changed:
            self._waiting.append(chunk)
            while self._is_running and not chunk.is_done:
                self._changed.wait()
            leads = not chunk.is_done
            self._is_running |= leads
        if leads:
            self._lead(chunk)
        if chunk.output is None:
            assert chunk.error is not None  # noqa: S101 - is_done requires it
            raise ProviderError(str(chunk.error)) from chunk.error
        return chunk.output

    def reset(self) -> None:
        """Do nothing: every stream keeps its own state. See `ChunkRunner.reset`."""

    def _lead(self, own: Chunk) -> None:
        """Run for all threads that wait, until this thread's own chunk is done."""
        try:
            while not own.is_done:
                with self._changed:
                    chunks = self._next_chunks()
                try:
                    self._run_together(chunks)
                finally:
                    for chunk in chunks:
                        if not chunk.is_done:
                            chunk.error = ProviderError(
                                "a run for several streams was interrupted; reset them"
                            )
                    with self._changed:
                        self._changed.notify_all()
        finally:
            with self._changed:
                self._is_running = False
                self._changed.notify_all()

    def _next_chunks(self) -> list[Chunk]:
        """The chunks of the next run: those that wait longest, all of one length."""
        frames = self._waiting[0].frames
        chosen: list[Chunk] = []
        others: deque[Chunk] = deque()
        while self._waiting:
            chunk = self._waiting.popleft()
            fits = chunk.frames == frames and len(chosen) < self._max_rows
            (chosen if fits else others).append(chunk)
        self._waiting = others
        return chosen

    def _run_together(self, chunks: Sequence[Chunk]) -> None:
        try:
            self._run_rows(chunks)
        except VoirsVocoderError as error:
            if len(chunks) == 1:
                chunks[0].error = error
                return
            # Only the stream at fault shall fail; no state has changed yet.
            for chunk in chunks:
                self._run_together([chunk])

    def _run_rows(self, chunks: Sequence[Chunk]) -> None:
        rows = self._padded(len(chunks)) if self._fixed_rows else len(chunks)
        bound = self._bind(rows, chunks[0].frames)
        begin, end = bound.inputs[BEGIN], bound.inputs[END_FRAME]
        for row, chunk in enumerate(chunks):
            begin[row], end[row] = chunk.begin, chunk.end
            for name, values in chunk.inputs.items():
                bound.inputs[name][row] = values
        # What earlier chunks left in the other rows is masked, but would still be computed on.
        begin[len(chunks) :] = end[len(chunks) :] = 0
        bound.run([chunk.state for chunk in chunks])
        for row, chunk in enumerate(chunks):
            chunk.output = bound.output[row].copy()

    def _padded(self, rows: int) -> int:
        return next((size for size in _ROWS if rows <= size), rows)

    def _bind(self, rows: int, frames: int) -> _Bound:
        key = rows, frames
        if key in self._bound:
            self._bound.move_to_end(key)
            return self._bound[key]
        entry = self.graph.entry
        inputs: dict[str, NDArray[np.generic]] = {
            info.name: np.zeros(self._shape(info.shape, rows, frames), np.dtype(info.dtype))
            for info in entry.inputs
        }
        outputs = {
            info.name: np.zeros(self._shape(info.shape, rows, frames), np.float32) for info in entry.outputs
        }
        session, carried = self.graph.session, (STATE, NEXT_STATE)
        if isinstance(session, RowSession):
            run = session.bind_rows(inputs, outputs, carried)
        else:
            run = rows_bound_by_copying(session.bind(inputs, outputs), inputs, outputs, carried)
        (output,) = (values for name, values in outputs.items() if name != NEXT_STATE)
        self._bound[key] = _Bound(inputs, output, run)
        if len(self._bound) > _KEPT_SHAPES:
            self._bound.popitem(last=False)
        return self._bound[key]

    def _shape(self, shape: Sequence[int | str], rows: int, frames: int) -> list[int]:
        hop_length = self.graph.hop_length
        return [axis_size(axis, batch=rows, frames=frames, hop_length=hop_length) for axis in shape]
