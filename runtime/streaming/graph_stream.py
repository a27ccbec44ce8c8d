"""One utterance in one stream graph, chunk by chunk, without allocating in steady state."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.artifact.axes import axis_size
from voirs_vocoder.runtime.artifact.manifest import GraphEntry
from voirs_vocoder.runtime.config import SessionConfig
from voirs_vocoder.runtime.errors import ArtifactError
from voirs_vocoder.runtime.providers import activation_bytes
from voirs_vocoder.runtime.providers.session import Session

__all__ = [
    "BEGIN",
    "END_FRAME",
    "NEXT_STATE",
    "STATE",
    "UNKNOWN_END",
    "Advance",
    "GraphStream",
    "StreamGraph",
]

BEGIN, END_FRAME, STATE, NEXT_STATE = "begin", "end", "state", "next_state"
"""Names of the inputs and the output of a stream graph besides those of its offline graph."""

UNKNOWN_END = 1 << 20
"""Value of the input `end` while the end of the utterance is unknown."""

_KEPT_SIZES = 4
_MAX_CHUNK_FRAMES = 1 << 16


@dataclass(frozen=True, eq=False)
class StreamGraph:
    """A loaded stream graph, which any number of streams share.

    Attributes:
        session: Session that runs the graph.
        entry: Manifest entry of the graph.
        hop_length: Audio samples per mel frame.
    """

    session: Session
    entry: GraphEntry
    hop_length: int

    @property
    def delay_samples(self) -> int:
        """Samples by which the output lags the input."""
        return self.entry.facts.delay_samples or 0

    @property
    def state_size(self) -> int:
        """Float32 values of the state per utterance."""
        return self.entry.facts.state_size or 0

    def max_chunk_frames(self, config: SessionConfig) -> int:
        """Most mel frames of a run, by the memory budget and the limit of the session."""
        per_frame = self.entry.facts.activation_bytes_per_frame
        if per_frame is None:
            raise ArtifactError(
                f"{self.entry.file.path} must state activation_bytes_per_frame in the manifest, got none; export the "
                "artifact again"
            )
        affordable = max(1, activation_bytes(self.session.provider, config) // per_frame)
        return min(affordable, self.session.max_frames or affordable, _MAX_CHUNK_FRAMES)


@dataclass(frozen=True, eq=False)
class Advance:
    """The arrays of chunks of one size, bound to the graph.

    Attributes:
        inputs: Arrays to fill before a run: the graph's inputs without those that the stream keeps itself.
        output: Array that the run writes.
        runs: Runs of the graph from the first state array to the second, and from the second to the first.
    """

    inputs: dict[str, NDArray[np.float32]]
    output: NDArray[np.float32]
    runs: tuple[Callable[[], None], Callable[[], None]]


class GraphStream:
    """One utterance in one graph. For one thread at a time.

    Args:
        graph: Stream graph, shared with other streams.

    Attributes:
        frames: Number of mel frames taken.
    """

    def __init__(self, graph: StreamGraph) -> None:
        """Start at the beginning of an utterance."""
        self.frames = 0
        self._graph = graph
        self._delay = graph.delay_samples
        self._states = self._zero_states()
        self._current = 0
        self._begin = np.zeros(1, np.int64)
        self._end = np.zeros(1, np.int64)
        # An input without a time axis, such as the step of a diffusion model, is shared by chunks of every size.
        self._whole = {
            info.name: np.zeros(1, np.float32)
            for info in graph.entry.inputs
            if info.shape == ("batch",) and info.name not in (BEGIN, END_FRAME)
        }
        self._advances: OrderedDict[int, Advance] = OrderedDict()
        self._made = 0

    def inputs(self, frames: int) -> dict[str, NDArray[np.float32]]:
        """Find the arrays to fill before `push` of `frames` frames, each with a batch axis of 1."""
        return self._advance(frames).inputs

    def push(self, frames: int) -> NDArray[np.float32]:
        """Run on the arrays of `inputs(frames)`.

        Args:
            frames: Mel frames of the chunk.

        Returns:
            Finished output, float32 [channels, samples]; the next run overwrites it.
        """
        output = self._run(frames, UNKNOWN_END)
        self.frames += frames
        return output

    def finish(self) -> NDArray[np.float32]:
        """End the utterance and return the rest of its output, float32 [channels, samples], in a new array."""
        missing = self.frames * self._graph.hop_length - self._finished()
        if not missing:
            return np.empty((*self._advance(1).output.shape[1:-1], 0), np.float32)
        late = -(-self._delay // self._graph.hop_length)
        pieces = []
        # Not all at once: the look-ahead of a large network would need more memory than a chunk.
        step = max(1, min(late, max(self._advances, default=late)))
        flushed = 0
        while flushed < late:
            count = min(step, late - flushed)
            # The graph masks everything beyond the end.
            pieces.append(self._run(count, -flushed).copy())
            flushed += count
        result: NDArray[np.float32] = np.concatenate(pieces, axis=-1)[..., :missing]
        return result

    def look_ahead(self, frames: int) -> NDArray[np.float32]:
        """Run on the arrays of `inputs(frames)` as if they were the next chunk, without committing them.

        Args:
            frames: Mel frames of the chunk.

        Returns:
            Output that would be finished, float32 [channels, samples]; the next run overwrites it.
        """
        advance = self._advance(frames)
        self._begin[0] = -self.frames
        self._end[0] = UNKNOWN_END
        # The state that the run leaves lies in the other array, which the next real chunk overwrites.
        advance.runs[self._current]()
        output: NDArray[np.float32] = advance.output[0]
        return output

    def run_chunk(self, frames: int, begin: int, end: int) -> NDArray[np.float32]:
        """Run on the arrays of `inputs(frames)`, for a caller that counts the frames itself.

        Args:
            frames: Mel frames of the chunk.
            begin: First frame of the utterance, relative to the chunk.
            end: Frame after the last one of the utterance, relative to the chunk; `UNKNOWN_END` while it is unknown.

        Returns:
            Output of the chunk, float32 [channels, samples], as late as the graph is; the next run overwrites it.
        """
        advance = self._advance(frames)
        self._begin[0], self._end[0] = begin, end
        advance.runs[self._current]()
        self._current = 1 - self._current
        output: NDArray[np.float32] = advance.output[0]
        return output

    def reset(self) -> None:
        """Begin a new utterance."""
        self.frames = self._made = self._current = 0
        # Where the session keeps states on its device, nothing that is done to these arrays would reach them.
        self._states = self._zero_states()
        self._advances.clear()

    def _zero_states(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        size = (1, self._graph.state_size)
        return np.zeros(size, np.float32), np.zeros(size, np.float32)

    def _finished(self) -> int:
        return max(0, self._made - self._delay)

    def _run(self, frames: int, end: int) -> NDArray[np.float32]:
        begin = -self.frames if end == UNKNOWN_END else end - self.frames
        output = self.run_chunk(frames, begin, end)
        first = max(0, self._delay - self._made)
        self._made += output.shape[-1]
        return output[..., min(first, output.shape[-1]) :]

    def _advance(self, frames: int) -> Advance:
        if frames in self._advances:
            self._advances.move_to_end(frames)
            return self._advances[frames]
        entry = self._graph.entry
        kept = {BEGIN: self._begin, END_FRAME: self._end}
        inputs = {
            info.name: self._whole[info.name]
            if info.name in self._whole
            else np.zeros(self._shape(info.shape, frames), np.float32)
            for info in entry.inputs
            if info.name not in (BEGIN, END_FRAME, STATE)
        }
        (name, shape) = next((info.name, info.shape) for info in entry.outputs if info.name != NEXT_STATE)
        output = np.zeros(self._shape(shape, frames), np.float32)
        runs = [
            self._graph.session.bind(
                {**inputs, **kept, STATE: self._states[source]},
                {name: output, NEXT_STATE: self._states[1 - source]},
                resident=(STATE, NEXT_STATE),
            )
            for source in range(2)
        ]
        self._advances[frames] = Advance(inputs, output, (runs[0], runs[1]))
        if len(self._advances) > _KEPT_SIZES:
            self._advances.popitem(last=False)
        return self._advances[frames]

    def _shape(self, shape: Sequence[int | str], frames: int) -> list[int]:
        return [axis_size(axis, batch=1, frames=frames, hop_length=self._graph.hop_length) for axis in shape]
