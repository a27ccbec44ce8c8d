"""From a latency budget to chunk and look-ahead, by the time that this machine takes to compute."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.streaming.graph_stream import GraphStream, StreamGraph
from voirs_vocoder.runtime.streaming.low_latency import extrapolated_frames

__all__ = ["LatencyPlan", "Stopwatch", "plan_for_budget", "plan_for_look_ahead"]

_TIMED_RUNS = 24
_WARM_UP_RUNS = 3
_CHUNKS = (1, 2, 3, 4, 6, 8)
# Largest share of a chunk's duration for computing; the rest is for other work of the machine.
_MAX_LOAD = 0.8


@dataclass(frozen=True)
class LatencyPlan:
    """How a stream keeps a budget.

    Attributes:
        chunk_frames: Mel frames of a chunk.
        look_ahead_frames: Real mel frames that are awaited behind a chunk.
        compute_ms: 99th percentile of the time in ms that the audio of a chunk takes to compute.
        latency_ms: Time in ms from the first mel frame of a chunk to its audio: the duration of chunk and look-ahead,
            and `compute_ms`.
    """

    chunk_frames: int
    look_ahead_frames: int
    compute_ms: float
    latency_ms: float


class Stopwatch:
    """Times a stream graph on chunks of each size, once.

    Args:
        graph: Stream graph to time.
    """

    def __init__(self, graph: StreamGraph) -> None:
        """Time nothing yet."""
        self._graph = graph
        self._times_ms: dict[int, float] = {}

    def compute_ms(self, frames: int) -> float:
        """99th percentile of the time in ms of a run on `frames` mel frames, over 24 runs."""
        if frames not in self._times_ms:
            stream = GraphStream(self._graph)
            stream.inputs(frames)
            times_ms = []
            for _ in range(_WARM_UP_RUNS + _TIMED_RUNS):
                started_s = time.perf_counter()
                stream.look_ahead(frames)
                times_ms.append(1e3 * (time.perf_counter() - started_s))
            self._times_ms[frames] = float(np.percentile(times_ms[_WARM_UP_RUNS:], 99))
        return self._times_ms[frames]


def plan_for_look_ahead(
    graph: StreamGraph, watch: Stopwatch, frame_ms: float, chunk_frames: int, look_ahead_frames: int
) -> LatencyPlan:
    """Compute the latency of a chunk size and a look-ahead on this machine.

    Args:
        graph: Stream graph.
        watch: Stopwatch of the graph.
        frame_ms: Duration of a mel frame in ms.
        chunk_frames: Mel frames of a chunk.
        look_ahead_frames: Real mel frames that are awaited behind a chunk.
    """
    compute_ms = watch.compute_ms(chunk_frames + extrapolated_frames(graph, look_ahead_frames))
    latency_ms = (chunk_frames + look_ahead_frames) * frame_ms + compute_ms
    return LatencyPlan(chunk_frames, look_ahead_frames, compute_ms, latency_ms)


def plan_for_budget(
    graph: StreamGraph, watch: Stopwatch, frame_ms: float, budget_ms: float, max_chunk_frames: int
) -> LatencyPlan:
    """Find the longest look-ahead within a budget, with the smallest chunk that this machine keeps up with.

    Args:
        graph: Stream graph.
        watch: Stopwatch of the graph.
        frame_ms: Duration of a mel frame in ms.
        budget_ms: Largest time in ms from a mel frame to its audio.
        max_chunk_frames: Most mel frames of a chunk.

    Raises:
        InputError: No plan fits; the message states the least possible latency.
    """
    whole = -(-graph.delay_samples // graph.hop_length)
    least: LatencyPlan | None = None
    for chunk_frames in _CHUNKS:
        if chunk_frames > max_chunk_frames:
            break
        best: LatencyPlan | None = None
        for look_ahead_frames in range(whole + 1):
            plan = plan_for_look_ahead(graph, watch, frame_ms, chunk_frames, look_ahead_frames)
            # An exact stream runs the graph once, one that extrapolates a second time to commit the chunk.
            exact = extrapolated_frames(graph, look_ahead_frames) == 0
            load_ms = plan.compute_ms + (0.0 if exact else watch.compute_ms(chunk_frames))
            if load_ms > _MAX_LOAD * chunk_frames * frame_ms:
                continue
            if least is None or plan.latency_ms < least.latency_ms:
                least = plan
            if plan.latency_ms <= budget_ms:
                best = plan
        # A larger chunk leaves less for the look-ahead.
        if best is not None:
            return best
    if least is None:
        raise InputError(
            "this machine cannot compute the extrapolation in real time; stream without latency_ms, in INT8, or with "
            "more threads"
        )
    frames = f"{least.chunk_frames} + {least.look_ahead_frames} frames of {frame_ms:.2f} ms"
    raise InputError(
        f"a latency of {budget_ms:g} ms is impossible here, the least is {least.latency_ms:.1f} ms: {frames} and "
        f"{least.compute_ms:.1f} ms of computing; allow more"
    )
