"""The contract of a driver."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.config import SessionConfig, VocodingConfig
from voirs_vocoder.runtime.errors import ArtifactError
from voirs_vocoder.runtime.manifest import GraphEntry
from voirs_vocoder.runtime.providers.session import Session

__all__ = ["Driver", "SessionOpener", "affordable_frames"]

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
        settings: Which optional fields of `VocodingConfig` it honours; the others must be left at None.
    """

    provider: str
    backend: str
    context_frames: int
    look_ahead_frames: int
    max_window_frames: int
    settings: frozenset[str]

    def synthesize(
        self, mel: NDArray[np.float32], first_frame: int, config: VocodingConfig
    ) -> NDArray[np.float32]:
        """Audio of one window.

        Args:
            mel: [n_mels, frames], checked.
            first_frame: Of the utterance, where the window begins; randomness is addressed by it.
            config: Of the utterance, the same for each of its windows.

        Returns:
            Audio [frames * hop_length]. It may be overwritten by the next call.
        """
        ...

    def close(self) -> None:
        """Free what the driver holds."""
        ...


def affordable_frames(entry: GraphEntry, config: SessionConfig, max_frames: int | None) -> int:
    """Most mel frames that a graph may take at once.

    Args:
        entry: Of the graph, which states what a frame costs.
        config: The memory budget.
        max_frames: The session's own limit; None for none.

    Raises:
        ArtifactError: The entry does not state it.
    """
    per_frame = entry.details.get("activation_bytes_per_frame")
    if not isinstance(per_frame, int) or per_frame < 1:
        raise ArtifactError(
            f"{entry.file.path} must state activation_bytes_per_frame in the manifest, got {per_frame!r}; "
            "export the artifact again"
        )
    affordable = config.activation_budget_bytes // per_frame
    return min(affordable, max_frames or affordable)
