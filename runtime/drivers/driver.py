"""The contract of a driver."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.manifest import GraphEntry
from voirs_vocoder.runtime.providers.session import Session

__all__ = ["Driver", "SessionOpener"]

SessionOpener = Callable[[str], tuple[Session, GraphEntry]]
"""From a graph's role to a session that runs it, and its manifest entry."""


class Driver(Protocol):
    """Turns one window of mel into audio.

    Attributes:
        provider: What runs it, such as `cpu`.
        backend: The same with its version.
        context_frames: Frames before a window's first one that its audio depends on.
        look_ahead_frames: Frames after its last one likewise.
        max_window_frames: Most frames that fit the memory budget at once, context and look-ahead included.
    """

    provider: str
    backend: str
    context_frames: int
    look_ahead_frames: int
    max_window_frames: int

    def synthesize(self, mel: NDArray[np.float32], first_frame: int) -> NDArray[np.float32]:
        """Audio of one window.

        Args:
            mel: [n_mels, frames], checked.
            first_frame: Of the utterance, where the window begins; randomness is addressed by it.

        Returns:
            Audio [frames * hop_length]. It may be overwritten by the next call.
        """
        ...

    def close(self) -> None:
        """Free what the driver holds."""
        ...
