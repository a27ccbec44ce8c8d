"""The driver of one-pass vocoders: mel in, audio out (HiFi-GAN)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.artifact.manifest import EXTRAPOLATOR_ROLE, Manifest
from voirs_vocoder.runtime.batch import BatchGraph
from voirs_vocoder.runtime.config import SessionConfig, VocodingConfig
from voirs_vocoder.runtime.drivers.driver import BatchGraphs, SessionOpener, StreamGraphs, affordable_frames
from voirs_vocoder.runtime.drivers.window import MelReader, synthesize_windows
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.streaming.chunk_stream import ChunkStream
from voirs_vocoder.runtime.streaming.config import StreamingConfig
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


class DirectDriver:
    """Runs the `offline` graph. See `Driver`."""

    roles: tuple[str, ...] = ("offline",)
    settings: frozenset[str] = frozenset()

    def __init__(self, manifest: Manifest, opener: SessionOpener, config: SessionConfig) -> None:
        """Load the graph. Raises as `open_driver`."""
        self._session, entry = opener("offline")
        self._config = config
        self._streams = StreamGraphs(opener, manifest.hop_length)
        self._hop_length = manifest.hop_length
        self._sample_rate = manifest.sample_rate
        self._watch: Stopwatch | None = None
        self._extrapolates = any(graph.role == EXTRAPOLATOR_ROLE for graph in manifest.graphs)
        self.provider = self._session.provider
        self.backend = self._session.backend
        self._batches = BatchGraphs(manifest, opener, config, self.provider)
        self.context_frames = manifest.context_frames
        self.look_ahead_frames = manifest.look_ahead_frames
        context = self.context_frames + self.look_ahead_frames
        self.max_window_frames = affordable_frames(entry, config, self._session.max_frames, context)

    def vocode(self, mel: MelReader, config: VocodingConfig) -> Iterator[NDArray[np.float32]]:
        """See `Driver.vocode`."""
        return synthesize_windows(self, mel, self._hop_length, config)

    def synthesize(
        self, mel: NDArray[np.float32], first_frame: int, config: VocodingConfig
    ) -> NDArray[np.float32]:
        """See `WindowDriver.synthesize`. A direct graph does not care where in the utterance it is."""
        del first_frame, config
        audio = self._session.run({"mel": np.ascontiguousarray(mel)[np.newaxis]})["audio"]
        return audio.reshape(-1)

    def batch_graph(self) -> BatchGraph | None:
        """See `Driver.batch_graph`."""
        return self._batches.get()

    def batch_inputs(
        self, mel: NDArray[np.float32], config: VocodingConfig
    ) -> dict[str, NDArray[np.float32]]:
        """See `Driver.batch_inputs`."""
        del config
        return {"mel": mel}

    def batches(self, config: VocodingConfig) -> bool:
        """See `Driver.batches`."""
        del config
        return True

    def open_stream(self, config: VocodingConfig, streaming: StreamingConfig) -> ChunkStream:
        """See `Driver.open_stream`."""
        del config
        graph = self._streams.get("stream")
        if streaming.latency_setting is None:
            return DirectStream(graph, self._config)
        plan = self._latency_plan(graph, streaming)
        if plan.look_ahead_frames * self._hop_length >= graph.delay_samples:
            return DirectStream(graph, self._config, plan.chunk_frames)
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
        """That of the artifact; one made without calibration has none, and repeats the last frame."""
        if not self._extrapolates:
            return repeated_last_frame
        return LinearExtrapolator(self._streams.get(EXTRAPOLATOR_ROLE).session)

    def close(self) -> None:
        """See `Driver.close`."""
        self._session.close()
        self._streams.close()
        self._batches.close()


class DirectStream:
    """One utterance through a one-pass model's stream graph. See `ChunkStream`.

    Args:
        graph: Shared with other streams.
        config: The memory budget.
        chunk_frames: See `ChunkStream`.
    """

    def __init__(self, graph: StreamGraph, config: SessionConfig, chunk_frames: int | None = None) -> None:
        """A stream at the start of an utterance."""
        self.chunk_frames = chunk_frames
        self.delay_samples = graph.delay_samples
        self.max_chunk_frames = graph.max_chunk_frames(config)
        self._stream = GraphStream(graph)

    def push(self, mel: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `ChunkStream.push`."""
        frames = mel.shape[1]
        self._stream.inputs(frames)["mel"][0] = mel
        return self._stream.push(frames).reshape(-1)

    def finish(self) -> NDArray[np.float32]:
        """See `ChunkStream.finish`."""
        return self._stream.finish().reshape(-1)

    def reset(self) -> None:
        """See `ChunkStream.reset`."""
        self._stream.reset()


def _measured_look_ahead(graph: StreamGraph) -> int:
    frames = graph.entry.details.get("low_latency_frames")
    if not isinstance(frames, int) or frames < 0:
        raise InputError(
            "low_latency takes the look-ahead that was measured, and none was; run voirs-vocoder tune DIR "
            "--speech S --only look-ahead, or give look_ahead_frames"
        )
    return frames
