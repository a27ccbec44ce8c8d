"""The contract of a driver's stream: mel chunks of any size in, finished audio out."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["ChunkStream"]


class ChunkStream(Protocol):
    """One utterance on its way through a driver's stream graphs. Used by one thread at a time.

    Attributes:
        delay_samples: How far the audio lags behind the mel.
        chunk_frames: How many it wants gathered; None leaves that to `StreamingConfig`.
        max_chunk_frames: Most mel frames that it takes at once.
    """

    delay_samples: int
    chunk_frames: int | None
    max_chunk_frames: int

    def push(self, mel: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take the next frames.

        Args:
            mel: [n_mels, frames], checked; 1 to `max_chunk_frames` frames.

        Returns:
            The audio that is finished, [samples]; it may be overwritten by the next call.

        Raises:
            ProviderError: The provider failed; the stream must be reset.
        """
        ...

    def finish(self) -> NDArray[np.float32]:
        """The rest of the utterance; together with what `push` returned, frames * hop_length samples."""
        ...

    def reset(self) -> None:
        """Begin a new utterance."""
        ...
