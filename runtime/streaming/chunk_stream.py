"""The contract of a driver's stream: mel chunks of any size in, finished audio out."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["ChunkStream"]


class ChunkStream(Protocol):
    """One utterance in a driver's stream graphs. For one thread at a time.

    Attributes:
        delay_samples: Samples by which the audio lags behind the mel.
        chunk_frames: Mel frames to gather before each run; None leaves that to `StreamingConfig`.
        max_chunk_frames: Most mel frames that one run takes.
    """

    delay_samples: int
    chunk_frames: int | None
    max_chunk_frames: int

    def push(self, mel: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take the next frames.

        Args:
            mel: Checked mel, float32 [n_mels, frames], with 1 to `max_chunk_frames` frames.

        Returns:
            Finished audio, float32 [samples]; the next call may overwrite it.

        Raises:
            ProviderError: The provider failed; the stream must be reset.
        """
        ...

    def finish(self) -> NDArray[np.float32]:
        """End the utterance and return the rest; with the audio of `push`, it makes frames * hop_length samples."""
        ...

    def reset(self) -> None:
        """Begin a new utterance."""
        ...
