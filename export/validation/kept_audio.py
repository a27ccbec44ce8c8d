"""The audio that a measurement heard, kept on disk until a page is made of it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["Heard"]


class Heard:
    """Recordings and what each variant made of them. Use it as a context manager; its folder goes at the end.

    Attributes:
        recordings: Names of those kept, with their rates in Hz, in order.
        variants: Names of the variants, in order.
    """

    def __init__(self, most_recordings: int | None = None) -> None:
        """Keep nothing yet.

        Args:
            most_recordings: How many are kept, the first; None keeps all.
        """
        self._most = most_recordings
        self.recordings: dict[str, int] = {}
        self.variants: dict[str, None] = {}

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="voirs-heard-")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()

    def keep_recording(self, recording: str, samples: NDArray[np.float32], sample_rate: int) -> None:
        """Keep what was recorded, float32 [samples], unless there are enough."""
        if self._most is None or len(self.recordings) < self._most:
            self.recordings[recording] = sample_rate
            np.save(self._path(recording, ""), samples)

    def keep(self, recording: str, variant: str, samples: NDArray[np.float32]) -> None:
        """Keep what a variant made of a recording that is kept, float32 [samples]."""
        if recording in self.recordings:
            self.variants[variant] = None
            np.save(self._path(recording, variant), samples)

    def recording(self, recording: str) -> NDArray[np.float32]:
        """Float32 [samples]."""
        return self._load(recording, "")

    def audio(self, recording: str, variant: str) -> NDArray[np.float32]:
        """What a variant made of it, float32 [samples]."""
        return self._load(recording, variant)

    def _load(self, recording: str, variant: str) -> NDArray[np.float32]:
        samples: NDArray[np.float32] = np.load(self._path(recording, variant))
        return samples

    def _path(self, recording: str, variant: str) -> Path:
        # By number, since names may hold anything.
        number = list(self.recordings).index(recording)
        place = list(self.variants).index(variant) + 1 if variant else 0
        return Path(self._folder.name) / f"{number}-{place}.npy"
