"""The timing of a stream."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["StreamClock", "StreamStatistics"]

_WINDOW = 1024


@dataclass(frozen=True)
class StreamStatistics:
    """Timing of a stream so far.

    Attributes:
        chunks: Number of runs of the graph.
        frames: Number of mel frames taken.
        samples: Number of audio samples finished.
        chunk_frames: Mel frames that are gathered for a run at present; None while every push runs the graph.
        first_audio_ms: Time in ms from the first pushed frame to the first finished sample; None before that.
        compute_p50_ms: Median time in ms of the last 1,024 runs; None before the first run.
        compute_p99_ms: 99th percentile of the time in ms of the last 1,024 runs; None before the first run.
        deadline_misses: Number of runs that took longer than the duration of their chunk.
        underruns: Number of runs whose audio was late for playback in real time, begun with the first sample.
        overruns: Number of runs after which more than `max_buffered_ms` of audio lay ahead of playback in real time.
    """

    chunks: int
    frames: int
    samples: int
    chunk_frames: int | None
    first_audio_ms: float | None
    compute_p50_ms: float | None
    compute_p99_ms: float | None
    deadline_misses: int
    underruns: int
    overruns: int


class StreamClock:
    """Counts and times the runs of one stream.

    Args:
        sample_rate: Sample rate of the audio in Hz.
        hop_length: Audio samples per mel frame.
        max_buffered_ms: Audio in ms ahead of playback above which a run counts as an overrun.
    """

    def __init__(self, sample_rate: int, hop_length: int, max_buffered_ms: float) -> None:
        """Start at the beginning of an utterance."""
        self._sample_rate = sample_rate
        self._frame_ms = 1e3 * hop_length / sample_rate
        self._max_buffered_ms = max_buffered_ms
        self._times_ms = np.zeros(_WINDOW)
        self.reset()

    def reset(self) -> None:
        """Begin a new utterance."""
        self._chunks = self._frames = self._samples = 0
        self._misses = self._underruns = self._overruns = 0
        self._began_s: float | None = None
        self._sounded_s: float | None = None

    def ran(self, started_s: float, ended_s: float, frames: int, samples: int) -> bool:
        """Count a run.

        Args:
            started_s: Time at which the run began, by `time.perf_counter`.
            ended_s: Time at which the run ended, by `time.perf_counter`.
            frames: Mel frames of the run's chunk; 0 at the end of the utterance.
            samples: Audio samples that the run finished.

        Returns:
            Whether the run took no longer than its chunk's duration.
        """
        taken_ms = 1e3 * (ended_s - started_s)
        self._times_ms[self._chunks % _WINDOW] = taken_ms
        self._chunks += 1
        self._frames += frames
        if self._began_s is None:
            self._began_s = started_s
        # The end of an utterance brings no frames, and nothing that has to be ready before the next ones.
        in_time = not frames or taken_ms <= frames * self._frame_ms
        self._misses += not in_time
        if samples:
            if self._sounded_s is None:
                self._sounded_s = ended_s
            played_ms = 1e3 * (ended_s - self._sounded_s)
            self._underruns += played_ms > 1e3 * self._samples / self._sample_rate and self._samples > 0
            self._samples += samples
            ahead_ms = 1e3 * self._samples / self._sample_rate - played_ms
            self._overruns += ahead_ms > self._max_buffered_ms
        return in_time

    def statistics(self, chunk_frames: int | None) -> StreamStatistics:
        """Compute the statistics of the utterance so far; `chunk_frames` is passed through."""
        times_ms = self._times_ms[: min(self._chunks, _WINDOW)]
        first_ms = None
        if self._began_s is not None and self._sounded_s is not None:
            first_ms = 1e3 * (self._sounded_s - self._began_s)
        return StreamStatistics(
            chunks=self._chunks,
            frames=self._frames,
            samples=self._samples,
            chunk_frames=chunk_frames,
            first_audio_ms=first_ms,
            compute_p50_ms=float(np.median(times_ms)) if self._chunks else None,
            compute_p99_ms=float(np.percentile(times_ms, 99)) if self._chunks else None,
            deadline_misses=self._misses,
            underruns=self._underruns,
            overruns=self._overruns,
        )
