"""The contract of a session: one loaded graph that runs on one provider."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Session"]


class Session(Protocol):
    """A graph, ready to run.

    Attributes:
        provider: The name that it was asked for by, such as `cpu`.
        backend: What runs it, with its version, such as `onnxruntime 1.31.1`.
        max_frames: The longest input that it takes, in mel frames; None: any.
    """

    provider: str
    backend: str
    max_frames: int | None

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
        """Run the graph once.

        Args:
            inputs: One array per graph input, contiguous, of the element type that the graph declares.

        Returns:
            One float32 array per graph output. It may be overwritten by the next call.

        Raises:
            ProviderError: The backend failed.
        """
        ...

    def close(self) -> None:
        """Free what the session holds; it cannot run afterwards."""
        ...
