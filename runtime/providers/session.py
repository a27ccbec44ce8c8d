"""The contract of a session: one loaded graph that runs on one provider."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Session", "bound_by_copying"]


def bound_by_copying(
    session: Session,
    inputs: Mapping[str, NDArray[np.generic]],
    outputs: Mapping[str, NDArray[np.float32]],
) -> Callable[[], None]:
    """Implement `Session.bind` for a backend that owns its memory: each run copies the results.

    Args:
        session: The session to run.
        inputs: One array per graph input, read at each run.
        outputs: One array per graph output, overwritten at each run.

    Returns:
        A function that runs the graph once; it raises ProviderError when the backend fails.
    """

    def run() -> None:
        for name, values in session.run(inputs).items():
            np.copyto(outputs[name], values)

    return run


class Session(Protocol):
    """A loaded graph or engine, ready to run.

    Attributes:
        provider: Name of the provider, such as `cpu`.
        backend: Library and version, such as `onnxruntime 1.31.1`.
        max_frames: Longest input in mel frames; None when any length runs.
    """

    provider: str
    backend: str
    max_frames: int | None

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
        """Run the graph once. Several threads may call it at the same time.

        Args:
            inputs: One array per graph input, contiguous, of the element type that the graph declares.

        Returns:
            One new float32 array per graph output.

        Raises:
            ProviderError: The backend failed.
        """
        ...

    def bind(
        self, inputs: Mapping[str, NDArray[np.generic]], outputs: Mapping[str, NDArray[np.float32]]
    ) -> Callable[[], None]:
        """Prepare runs that read and write the same arrays each time.

        Args:
            inputs: One contiguous array per graph input, of the element type that the graph declares. Each run reads
                the values that the arrays have then.
            outputs: One contiguous float32 array per graph output, of the shape that these inputs give.

        Returns:
            A function that runs the graph once; it raises ProviderError when the backend fails. Several threads may
            call functions that were bound from one session at the same time.
        """
        ...

    def close(self) -> None:
        """Free the graph and its memory; the session cannot run afterwards."""
        ...
