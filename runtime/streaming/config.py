"""How a stream runs."""

from __future__ import annotations

from dataclasses import dataclass

from voirs_vocoder.runtime.errors import InputError

__all__ = ["StreamingConfig"]

_MAX_CHUNK_FRAMES = 4096


@dataclass(frozen=True)
class StreamingConfig:
    """How a stream runs. The audio does not depend on it, but for `look_ahead_frames` and `latency_ms`.

    Attributes:
        chunk_frames: Mel frames that are gathered before the graph runs; None runs it on whatever arrives.
        adaptive: Whether the chunks grow when deadlines are missed, and shrink again when there is time to spare.
        max_chunk_frames: How far they grow.
        look_ahead_frames: Mel frames that are awaited behind a chunk before its audio is made; those that the model
            hears beyond them are extrapolated. None awaits them all and is exact.
        latency_ms: Instead, a budget from a mel frame to its audio, chunk and computing included. The look-ahead that
            it leaves no time for is extrapolated, and chunks are as small as this machine can keep up with. None is no
            budget.
        max_buffered_ms: Finished audio that may lie ahead of its real-time playback before it counts as an overrun.
    """

    chunk_frames: int | None = 16
    adaptive: bool = False
    max_chunk_frames: int = 64
    look_ahead_frames: int | None = None
    latency_ms: float | None = None
    max_buffered_ms: float = 2000.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.chunk_frames is not None and not 1 <= self.chunk_frames <= _MAX_CHUNK_FRAMES:
            raise InputError(f"chunk_frames must be in [1, {_MAX_CHUNK_FRAMES}], got {self.chunk_frames}")
        if not (self.chunk_frames or 1) <= self.max_chunk_frames <= _MAX_CHUNK_FRAMES:
            raise InputError(
                f"max_chunk_frames must be in [chunk_frames, {_MAX_CHUNK_FRAMES}], got {self.max_chunk_frames}"
            )
        if self.adaptive and self.chunk_frames is None:
            raise InputError("adaptive chunks need a chunk_frames to start from, got None")
        if self.latency_ms is not None and not 0.0 < self.latency_ms < float("inf"):
            raise InputError(f"latency_ms must be a duration above 0, got {self.latency_ms}")
        if self.look_ahead_frames is not None and self.look_ahead_frames < 0:
            raise InputError(f"look_ahead_frames must not be negative, got {self.look_ahead_frames}")
        if self.latency_ms is not None and self.look_ahead_frames is not None:
            raise InputError("a stream has either latency_ms or look_ahead_frames, got both; leave one out")
        if not self.max_buffered_ms > 0.0:
            raise InputError(f"max_buffered_ms must be above 0, got {self.max_buffered_ms}")
