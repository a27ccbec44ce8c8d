"""How a stream runs."""

from __future__ import annotations

from dataclasses import dataclass

from voirs_vocoder.runtime.errors import InputError

__all__ = ["StreamingConfig"]

_MAX_CHUNK_FRAMES = 4096


@dataclass(frozen=True)
class StreamingConfig:
    """How a stream runs. The audio does not depend on it, but for `latency_ms`.

    Attributes:
        chunk_frames: Mel frames that are gathered before the graph runs; None runs it on whatever arrives.
        adaptive: Whether the chunks grow when deadlines are missed, and shrink again when there is time to spare.
        max_chunk_frames: How far they grow.
        latency_ms: A budget from a mel frame to its audio, chunk and computing included. The look-ahead that it leaves
            no time for is extrapolated, so that the audio is no longer exactly that of the offline pass. None waits for
            the whole look-ahead and is exact.
        max_buffered_ms: Finished audio that may lie ahead of its real-time playback before it counts as an overrun.
    """

    chunk_frames: int | None = 16
    adaptive: bool = False
    max_chunk_frames: int = 64
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
        if self.latency_ms is not None and not self.latency_ms > 0.0:
            raise InputError(f"latency_ms must be above 0, got {self.latency_ms}")
        if not self.max_buffered_ms > 0.0:
            raise InputError(f"max_buffered_ms must be above 0, got {self.max_buffered_ms}")
