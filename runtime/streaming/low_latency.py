"""Less latency than the look-ahead: frames that have not arrived yet are extrapolated, and never committed.

The committed state is exactly that of the exact stream. For every chunk the graph runs once from it on the chunk and
extrapolated frames behind it, which gives the audio that is due, and once on the chunk alone, which commits it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.providers.session import Session
from voirs_vocoder.runtime.streaming.graph_stream import GraphStream, StreamGraph

__all__ = [
    "FITTED_FRAMES",
    "Extrapolator",
    "LinearExtrapolator",
    "LowLatencyStream",
    "extrapolated_frames",
    "repeated_last_frame",
]

Extrapolator = Callable[[NDArray[np.float32], int], NDArray[np.float32]]
"""Guesses the next frames [n_mels, count] from the past [n_mels, frames]: the last 16 frames, or fewer at the start."""

FITTED_FRAMES = 4
"""Number of past frames that a fitted extrapolator guesses from."""

_PAST_FRAMES = 16


def repeated_last_frame(past: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Repeat the last frame: the simplest `Extrapolator`."""
    return np.repeat(past[:, -1:], count, axis=1)


class LinearExtrapolator:
    """An `Extrapolator` that was fitted on recordings, a small graph of the artifact.

    Args:
        session: Session of the graph from `mel` [1, n_mels, past] to `future` [1, n_mels, count].
    """

    def __init__(self, session: Session) -> None:
        """Wrap a session, which all streams share."""
        self._session = session

    def __call__(self, past: NDArray[np.float32], count: int) -> NDArray[np.float32]:
        """Guess the next frames. While the past is too short, the first frame stands for the frames before it."""
        missing = max(0, FITTED_FRAMES - past.shape[1])
        known = np.concatenate((np.repeat(past[:, :1], missing, axis=1), past[:, -FITTED_FRAMES:]), axis=1)
        future = self._session.run({"mel": known[np.newaxis]})["future"][0, :, :count]
        return np.concatenate((future, repeated_last_frame(future, count - future.shape[1])), axis=1)


def extrapolated_frames(graph: StreamGraph, look_ahead_frames: int) -> int:
    """Number of frames to extrapolate so that `look_ahead_frames` suffice in place of the graph's own look-ahead."""
    missing = graph.delay_samples - look_ahead_frames * graph.hop_length
    return max(0, math.ceil(missing / graph.hop_length))


class LowLatencyStream:
    """One utterance with less look-ahead than the graph has. See `ChunkStream`.

    Args:
        graph: Stream graph of a one-pass model, shared with other streams.
        chunk_frames: Mel frames of a chunk.
        look_ahead_frames: Real mel frames that are awaited behind a frame before its audio is computed.
        extrapolator: Guesses the other frames of the look-ahead.
    """

    def __init__(
        self,
        graph: StreamGraph,
        chunk_frames: int,
        look_ahead_frames: int,
        extrapolator: Extrapolator = repeated_last_frame,
    ) -> None:
        """Start at the beginning of an utterance."""
        self.chunk_frames: int | None = chunk_frames
        self.max_chunk_frames = chunk_frames
        self.delay_samples = look_ahead_frames * graph.hop_length
        self._hop_length = graph.hop_length
        self._late = graph.delay_samples
        self._extrapolated = extrapolated_frames(graph, look_ahead_frames)
        self._extrapolator = extrapolator
        self._stream = GraphStream(graph)
        self._past: NDArray[np.float32] | None = None
        self._sounded = 0

    def push(self, mel: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take the next frames; see `ChunkStream.push`."""
        frames = mel.shape[1]
        past = mel if self._past is None else np.concatenate((self._past, mel), axis=1)
        self._past = past[:, -_PAST_FRAMES:]
        first = self._stream.frames * self._hop_length - self._late
        due = max(0, (self._stream.frames + frames) * self._hop_length - self.delay_samples)
        inputs = self._stream.inputs(frames + self._extrapolated)["mel"][0]
        inputs[:, :frames] = mel
        if self._extrapolated:
            inputs[:, frames:] = self._extrapolator(self._past, self._extrapolated)
        made = self._stream.look_ahead(frames + self._extrapolated).reshape(-1)
        audio = made[max(0, self._sounded - first) : max(0, due - first)]
        self._sounded = due
        self._stream.inputs(frames)["mel"][0] = mel
        self._stream.push(frames)
        return audio

    def finish(self) -> NDArray[np.float32]:
        """End the utterance; the rest is exact, since nothing follows it. See `ChunkStream.finish`."""
        finished = max(0, self._stream.frames * self._hop_length - self._late)
        rest = self._stream.finish().reshape(-1)
        return rest[self._sounded - finished :]

    def reset(self) -> None:
        """Begin a new utterance; see `ChunkStream.reset`."""
        self._stream.reset()
        self._past = None
        self._sounded = 0
