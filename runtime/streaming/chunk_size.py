"""How many frames to gather for a run: fixed, or grown when deadlines are missed and shrunk again."""

from __future__ import annotations

from voirs_vocoder.runtime.streaming.config import StreamingConfig

__all__ = ["ChunkSize"]

_MISSES_TO_GROW = 2
_REMEMBERED_RUNS = 8
_CALM_RUNS_TO_SHRINK = 64


class ChunkSize:
    """Doubles after two misses within eight runs, halves after 64 runs without one, down to where it began.

    Args:
        config: Of the stream.

    Attributes:
        frames: To gather now; None for whatever arrives.
    """

    def __init__(self, config: StreamingConfig) -> None:
        """Start from the configured size."""
        self.frames = config.chunk_frames
        self._config = config
        self._calm = 0
        self._misses: list[int] = []
        self._runs = 0

    def ran(self, in_time: bool) -> None:
        """Note whether a run met its deadline."""
        least, most = self._config.chunk_frames, self._config.max_chunk_frames
        if not self._config.adaptive or self.frames is None or least is None:
            return
        self._runs += 1
        self._calm = self._calm + 1 if in_time else 0
        if not in_time:
            self._misses = [run for run in self._misses if self._runs - run < _REMEMBERED_RUNS]
            self._misses.append(self._runs)
            if len(self._misses) >= _MISSES_TO_GROW:
                self.frames = min(most, 2 * self.frames)
                self._misses = []
        elif self._calm >= _CALM_RUNS_TO_SHRINK:
            self.frames = max(least, self.frames // 2)
            self._calm = 0
