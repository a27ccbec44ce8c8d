"""Audio of a measurement, kept on disk until a page is made of it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["KeptAudio"]


class KeptAudio:
    """Recordings and what each candidate synthesized from them, in a folder that is deleted at the end.

    Use it as a context manager.

    Attributes:
        recordings: Name to sample rate in Hz of each recording that is kept, in the order they came.
        candidates: Titles of the candidates, in the order they came; the values mean nothing.
    """

    def __init__(self, most_recordings: int | None = None) -> None:
        """Start empty.

        Args:
            most_recordings: Number of recordings to keep, counted from the first; None keeps all.
        """
        self._most = most_recordings
        self.recordings: dict[str, int] = {}
        self.candidates: dict[str, None] = {}

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="voirs-audio-")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()

    def keep_recording(self, recording: str, samples: NDArray[np.float32], sample_rate: int) -> None:
        """Keep a recording, unless enough are kept.

        Args:
            recording: Name of the recording.
            samples: Float32 [samples].
            sample_rate: Sample rate in Hz.
        """
        if self._most is None or len(self.recordings) < self._most:
            self.recordings[recording] = sample_rate
            np.save(self._path(recording, ""), samples)

    def keep(self, recording: str, candidate: str, samples: NDArray[np.float32]) -> None:
        """Keep what a candidate synthesized, unless the recording itself is not kept.

        Args:
            recording: Name of the recording.
            candidate: Title of the candidate.
            samples: Float32 [samples].
        """
        if recording in self.recordings:
            self.candidates[candidate] = None
            np.save(self._path(recording, candidate), samples)

    def recording(self, recording: str) -> NDArray[np.float32]:
        """Samples of a kept recording, float32 [samples]."""
        return self._load(recording, "")

    def audio(self, recording: str, candidate: str) -> NDArray[np.float32]:
        """Samples that a candidate synthesized from a kept recording, float32 [samples]."""
        return self._load(recording, candidate)

    def _load(self, recording: str, candidate: str) -> NDArray[np.float32]:
        samples: NDArray[np.float32] = np.load(self._path(recording, candidate))
        return samples

    def _path(self, recording: str, candidate: str) -> Path:
        # By number, since names may contain any character.
        number = list(self.recordings).index(recording)
        place = list(self.candidates).index(candidate) + 1 if candidate else 0
        return Path(self._folder.name) / f"{number}-{place}.npy"
