"""A stream in chunks of one length, from the first to the last: a provider that prepares every new shape prepares one.

The last chunk is filled up, and the graph masks what lies behind the end of the utterance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.artifact.axes import axis_size
from voirs_vocoder.runtime.errors import VoirsVocoderError
from voirs_vocoder.runtime.streaming.graph_stream import (
    BEGIN,
    END_FRAME,
    NEXT_STATE,
    STATE,
    UNKNOWN_END,
    GraphStream,
    StreamGraph,
)

__all__ = ["Chunk", "ChunkRunner", "FixedChunkStream", "OwnRuns"]


class Chunk:
    """One chunk of one stream on its way through the graph.

    Attributes:
        inputs: Inputs of the chunk without the batch axis, by name.
        frames: Length in mel frames.
        begin: First frame of the utterance, relative to the chunk.
        end: Frame after the last one of the utterance, relative to the chunk.
        state: State of the stream, float32 [state_size], which the run replaces; zero before the first run. Where the
            session keeps states on its device, the array only stands for it.
        output: Output of the chunk, [channels, samples]; None before the run.
        error: Why the run failed; None otherwise.
    """

    def __init__(
        self,
        inputs: Mapping[str, NDArray[np.float32]],
        frames: int,
        begin: int,
        end: int,
        state: NDArray[np.float32],
    ) -> None:
        self.inputs, self.frames = inputs, frames
        self.begin, self.end = begin, end
        self.state = state
        self.output: NDArray[np.float32] | None = None
        self.error: VoirsVocoderError | None = None

    @property
    def is_done(self) -> bool:
        """Whether the chunk has an output or an error."""
        return self.output is not None or self.error is not None


class ChunkRunner(Protocol):
    """Runs the chunks of streams.

    Attributes:
        graph: Stream graph that runs them.
    """

    graph: StreamGraph

    def run(self, chunk: Chunk) -> NDArray[np.float32]:
        """Run a chunk.

        Args:
            chunk: The chunk.

        Returns:
            Output of the chunk, float32 [channels, samples], in a new array.

        Raises:
            ProviderError: The provider failed on this chunk.
        """
        ...

    def reset(self) -> None:
        """Forget what is kept for a stream that begins a new utterance."""
        ...


class OwnRuns(ChunkRunner):
    """Runs the chunks of one stream by itself, whose state stays on the device.

    Args:
        graph: Stream graph, shared with other streams.
    """

    def __init__(self, graph: StreamGraph) -> None:
        self.graph = graph
        self._stream = GraphStream(graph)

    def run(self, chunk: Chunk) -> NDArray[np.float32]:
        """Run a chunk; its `state` is not used. See `ChunkRunner.run`."""
        for name, values in self._stream.inputs(chunk.frames).items():
            values[0] = chunk.inputs[name]
        return self._stream.run_chunk(chunk.frames, chunk.begin, chunk.end).copy()

    def warm(self, frames: int) -> None:
        """Prepare chunks of a length, without an effect on the stream.

        Args:
            frames: Length of the chunks in mel frames.

        Raises:
            ProviderError: The provider failed.
        """
        self._stream.inputs(frames)
        self._stream.look_ahead(frames)

    def reset(self) -> None:
        """Begin with a state of zeros."""
        self._stream.reset()


class FixedChunkStream:
    """One utterance in one graph, run in chunks of one length to its very end. For one thread at a time.

    It has the methods of `GraphStream`, except for `look_ahead`.

    Args:
        runner: Runs the chunks, alone or together with those of other streams.
        chunk_frames: Length of every run in mel frames, at least 1; frames wait until a chunk is full.

    Attributes:
        frames: Number of mel frames taken.
        chunk_frames: Length of every run in mel frames.
    """

    def __init__(self, runner: ChunkRunner, chunk_frames: int) -> None:
        """Start at the beginning of an utterance."""
        self.frames = 0
        self._runner = runner
        self.chunk_frames = chunk_frames
        graph = runner.graph
        self._delay = graph.delay_samples
        self._hop_length = graph.hop_length
        self._state = np.zeros(graph.state_size, np.float32)
        self._infos = [info for info in graph.entry.inputs if info.name not in (BEGIN, END_FRAME, STATE)]
        self._chunk = {info.name: self._array(info.shape, chunk_frames) for info in self._infos}
        self._given: dict[str, NDArray[np.float32]] = {}
        self._filled = self._ran = self._made = 0

    def inputs(self, frames: int) -> dict[str, NDArray[np.float32]]:
        """Make the arrays to fill before `push` of `frames` frames, each with a batch axis of 1."""
        self._given = {info.name: self._array(info.shape, frames)[np.newaxis] for info in self._infos}
        return self._given

    def push(self, frames: int) -> NDArray[np.float32]:
        """Take the arrays of `inputs(frames)`.

        Args:
            frames: Mel frames of the arrays.

        Returns:
            Finished output, float32 [channels, samples].

        Raises:
            ProviderError: The provider failed.
        """
        taken = 0
        pieces = []
        while taken < frames:
            count = min(frames - taken, self.chunk_frames - self._filled)
            for name, chunk in self._chunk.items():
                values = self._given[name][0]
                if values.ndim:
                    rate = values.shape[-1] // frames
                    place = slice(self._filled * rate, (self._filled + count) * rate)
                    chunk[..., place] = values[..., taken * rate : (taken + count) * rate]
                else:
                    chunk[...] = values
            taken += count
            self._filled += count
            self.frames += count
            if self._filled == self.chunk_frames:
                pieces.append(self._run(UNKNOWN_END))
        return self._joined(pieces)

    def finish(self) -> NDArray[np.float32]:
        """End the utterance and return the rest of its output, float32 [channels, samples], in a new array."""
        missing = self.frames * self._hop_length - max(0, self._made - self._delay)
        pieces: list[NDArray[np.float32]] = []
        while sum(piece.shape[-1] for piece in pieces) < missing:
            # The graph masks everything beyond the end.
            pieces.append(self._run(self.frames - self._ran))
        return self._joined(pieces)[..., :missing]

    def reset(self) -> None:
        """Begin a new utterance."""
        self.frames = self._filled = self._ran = self._made = 0
        # A new array, since a session on a device keeps the values of the old one there.
        self._state = np.zeros_like(self._state)
        self._runner.reset()

    def _run(self, end: int) -> NDArray[np.float32]:
        """Run the chunk as it is filled; returns what it finishes."""
        chunk = Chunk(self._chunk, self.chunk_frames, -self._ran, end, self._state)
        output = self._runner.run(chunk)
        self._ran += self.chunk_frames
        self._filled = 0
        first = max(0, self._delay - self._made)
        self._made += output.shape[-1]
        return output[..., min(first, output.shape[-1]) :]

    def _joined(self, pieces: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        if len(pieces) == 1:
            return pieces[0]
        shape = next(info.shape for info in self._runner.graph.entry.outputs if info.name != NEXT_STATE)
        return np.concatenate([self._array((*shape[:-1], 0), 1), *pieces], axis=-1)

    def _array(self, shape: Sequence[int | str], frames: int) -> NDArray[np.float32]:
        """Zeros of a tensor's shape for so many frames, without the batch axis."""
        sizes = [axis_size(axis, batch=1, frames=frames, hop_length=self._hop_length) for axis in shape[1:]]
        return np.zeros(sizes, np.float32)
