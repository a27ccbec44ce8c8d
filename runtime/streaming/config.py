"""Settings of a stream."""

from __future__ import annotations

from dataclasses import dataclass

from voirs_vocoder.runtime.errors import InputError

__all__ = ["StreamingConfig"]

_LATENCY_SETTINGS = ("look_ahead_frames", "low_latency", "latency_ms")

_MAX_CHUNK_FRAMES = 4096


@dataclass(frozen=True)
class StreamingConfig:
    """How a stream runs. The audio does not depend on it, unless a latency is set (`latency_setting`).

    Attributes:
        chunk_frames: Mel frames that are gathered before the graph runs, in [1, 4096]; None runs it on all that
            arrives.
        adaptive: Whether the chunks grow when deadlines are missed, and shrink again when there is time to spare.
        max_chunk_frames: Most mel frames of an adaptive chunk, at least `chunk_frames` and at most 4096.
        look_ahead_frames: Mel frames that are awaited behind a chunk before its audio is made; those that the model
            needs beyond them are extrapolated. None awaits them all and is exact.
        low_latency: Whether to await the look-ahead that `voirs-vocoder tune` measured to lose at most the tolerance of
            PESQ in `runtime.metrics.FIGURES`, instead of the model's whole look-ahead.
        latency_ms: Or a budget from a mel frame to its audio, chunk and computing included. The look-ahead that
            it leaves no time for is extrapolated, and chunks are as small as this machine can keep up with. None is no
            budget.
        max_buffered_ms: Finished audio in ms, above 0, that may lie ahead of its real-time playback before it counts as
            an overrun.

    Raises:
        InputError: A value is out of range, or several latency settings are given.
    """

    chunk_frames: int | None = 16
    adaptive: bool = False
    max_chunk_frames: int = 64
    look_ahead_frames: int | None = None
    low_latency: bool = False
    latency_ms: float | None = None
    max_buffered_ms: float = 2000.0

    def __post_init__(self) -> None:
        """Check that each value is in its range and that at most one sets a latency."""
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
        given = self._latency_settings()
        if len(given) > 1:
            raise InputError(f"a stream has one of {', '.join(_LATENCY_SETTINGS)}, got {' and '.join(given)}")
        if not self.max_buffered_ms > 0.0:
            raise InputError(f"max_buffered_ms must be above 0, got {self.max_buffered_ms}")

    @property
    def latency_setting(self) -> str | None:
        """Name of the field that gives up exactness for latency; None for an exact stream."""
        return next(iter(self._latency_settings()), None)

    def _latency_settings(self) -> list[str]:
        # A look-ahead of 0 is a setting too.
        values = {name: getattr(self, name) for name in _LATENCY_SETTINGS}
        return [name for name, value in values.items() if value is not None and value is not False]
