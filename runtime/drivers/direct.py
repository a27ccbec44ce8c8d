"""The driver of one-pass vocoders: mel in, audio out (HiFi-GAN)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.artifact.manifest import EXTRAPOLATOR_ROLE, Manifest
from voirs_vocoder.runtime.config import SessionConfig, VocodingConfig
from voirs_vocoder.runtime.drivers.driver import SessionOpener
from voirs_vocoder.runtime.drivers.offline_graph import OfflineGraphDriver
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.streaming.chunk_stream import ChunkStream
from voirs_vocoder.runtime.streaming.config import StreamingConfig
from voirs_vocoder.runtime.streaming.fixed_chunk_stream import FixedChunkStream
from voirs_vocoder.runtime.streaming.graph_stream import GraphStream, StreamGraph
from voirs_vocoder.runtime.streaming.latency_budget import (
    LatencyPlan,
    Stopwatch,
    plan_for_budget,
    plan_for_look_ahead,
)
from voirs_vocoder.runtime.streaming.low_latency import (
    Extrapolator,
    LinearExtrapolator,
    LowLatencyStream,
    repeated_last_frame,
)

__all__ = ["DirectDriver"]


class DirectDriver(OfflineGraphDriver):
    """The driver `direct`: the graph takes the mel alone."""

    settings: frozenset[str] = frozenset()

    def __init__(self, manifest: Manifest, opener: SessionOpener, config: SessionConfig) -> None:
        """Load the graph."""
        super().__init__(manifest, opener, config)
        self._sample_rate = manifest.sample_rate
        self._watch: Stopwatch | None = None
        self._extrapolates = any(graph.role == EXTRAPOLATOR_ROLE for graph in manifest.graphs)

    def inputs(
        self, mel: NDArray[np.float32], first_frame: int, config: VocodingConfig
    ) -> dict[str, NDArray[np.float32]]:
        """Take the mel as it is: the audio of a window does not depend on its place in the utterance."""
        del first_frame, config
        return {"mel": mel}

    def open_stream(self, config: VocodingConfig, streaming: StreamingConfig) -> ChunkStream:
        """Begin a live utterance, exact or within a latency; see `Driver.open_stream`."""
        del config
        graph = self._streams.get("stream")
        if streaming.latency_setting is None:
            stream = self._streams.open("stream", streaming)
            return DirectStream(graph, stream, self._config)
        plan = self._latency_plan(graph, streaming)
        if plan.look_ahead_frames * self._hop_length >= graph.delay_samples:
            return DirectStream(graph, GraphStream(graph), self._config, plan.chunk_frames)
        return LowLatencyStream(graph, plan.chunk_frames, plan.look_ahead_frames, self._extrapolator())

    def _latency_plan(self, graph: StreamGraph, streaming: StreamingConfig) -> LatencyPlan:
        if self._watch is None:
            self._watch = Stopwatch(graph)
        frame_ms = 1e3 * self._hop_length / self._sample_rate
        if streaming.latency_ms is not None:
            most = streaming.chunk_frames or streaming.max_chunk_frames
            return plan_for_budget(graph, self._watch, frame_ms, streaming.latency_ms, most)
        look_ahead_frames = streaming.look_ahead_frames
        if look_ahead_frames is None:
            look_ahead_frames = _measured_look_ahead(graph)
        return plan_for_look_ahead(
            graph, self._watch, frame_ms, streaming.chunk_frames or 1, look_ahead_frames
        )

    def _extrapolator(self) -> Extrapolator:
        """The artifact's extrapolator; an artifact made without calibration has none and repeats the last frame."""
        if not self._extrapolates:
            return repeated_last_frame
        return LinearExtrapolator(self._streams.get(EXTRAPOLATOR_ROLE).session)


class DirectStream:
    """One utterance through a one-pass model's stream graph. See `ChunkStream`.

    Args:
        graph: Stream graph, shared with other streams.
        stream: An utterance in that graph, at its beginning.
        config: Memory budget.
        chunk_frames: Mel frames to gather before each run; None leaves that to `StreamingConfig`.
    """

    def __init__(
        self,
        graph: StreamGraph,
        stream: GraphStream | FixedChunkStream,
        config: SessionConfig,
        chunk_frames: int | None = None,
    ) -> None:
        """Start at the beginning of an utterance."""
        self.chunk_frames = chunk_frames
        self.delay_samples = graph.delay_samples
        self.max_chunk_frames = graph.max_chunk_frames(config)
        self._stream = stream

    def push(self, mel: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take the next frames; see `ChunkStream.push`."""
        frames = mel.shape[1]
        self._stream.inputs(frames)["mel"][0] = mel
        return self._stream.push(frames).reshape(-1)

    def finish(self) -> NDArray[np.float32]:
        """Return the rest of the utterance; see `ChunkStream.finish`."""
        return self._stream.finish().reshape(-1)

    def reset(self) -> None:
        """Begin a new utterance; see `ChunkStream.reset`."""
        self._stream.reset()


def _measured_look_ahead(graph: StreamGraph) -> int:
    frames = graph.entry.facts.low_latency_frames
    if frames is None:
        raise InputError(
            "low_latency takes the look-ahead that was measured, and none was; run voirs-vocoder tune DIR "
            "--speech S --only look-ahead, or give look_ahead_frames"
        )
    return frames
