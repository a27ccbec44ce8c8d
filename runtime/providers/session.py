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
    """`Session.bind` for a backend that owns its memory: run, and copy the results."""

    def run() -> None:
        for name, values in session.run(inputs).items():
            np.copyto(outputs[name], values)

    return run


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
            One new float32 array per graph output. Calls may come from several threads.

        Raises:
            ProviderError: The backend failed.
        """
        ...

    def bind(
        self, inputs: Mapping[str, NDArray[np.generic]], outputs: Mapping[str, NDArray[np.float32]]
    ) -> Callable[[], None]:
        """Prepare runs that read and write the same arrays each time.

        Args:
            inputs: One array per graph input, as for `run`. What they hold at the time of a run counts.
            outputs: One contiguous array per graph output, of the shape that these inputs give.

        Returns:
            What runs the graph. Bound runs of one session may go on in several threads at once. Raises as `run`.
        """
        ...

    def close(self) -> None:
        """Free what the session holds; it cannot run afterwards."""
        ...
