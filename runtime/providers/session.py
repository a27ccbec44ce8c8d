"""The contract of a session: one loaded graph that runs on one provider."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.errors import ProviderError

__all__ = ["RowSession", "RowsRun", "Session", "bound_by_copying", "require_result", "rows_bound_by_copying"]

RowsRun = Callable[[Sequence[NDArray[np.float32]]], None]
"""Runs a graph once on rows that each have a state: from the states of the first rows, which the run replaces."""


def require_result(
    provider: str, name: str, values: NDArray[np.generic] | None, shape: tuple[int, ...]
) -> None:
    """Refuse an output that is not of the type and shape that a caller relies on.

    Args:
        provider: Name of the provider, for the message.
        name: Name of the output.
        values: What the backend returned for the output; None where it returned nothing.
        shape: Shape that the output must have.

    Raises:
        ProviderError: The output is missing, not float32, or of another shape.
    """
    if values is None or values.dtype != np.float32 or values.shape != shape:
        got = "nothing" if values is None else f"{values.dtype} {list(values.shape)}"
        raise ProviderError(
            f"provider {provider!r}: the graph's output {name} must be float32 {list(shape)}, got {got}; export the "
            "artifact again"
        )


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
        A function that runs the graph once; it raises ProviderError when the backend fails, or returns results of
        another type or shape than the arrays.
    """

    def run() -> None:
        results = session.run(inputs)
        for name, output in outputs.items():
            values = results.get(name)
            require_result(session.provider, name, values, output.shape)
            np.copyto(output, results[name])

    return run


def rows_bound_by_copying(
    run_once: Callable[[], None],
    inputs: Mapping[str, NDArray[np.generic]],
    outputs: Mapping[str, NDArray[np.float32]],
    carried: tuple[str, str],
) -> RowsRun:
    """Implement `RowSession.bind_rows` by a function that `Session.bind` returned: each run copies the states.

    Args:
        run_once: Function that runs the graph once on the arrays.
        inputs: The arrays that it reads.
        outputs: The arrays that it writes.
        carried: Names of the input and the output that hold the states, one row each.
    """
    before, after = inputs[carried[0]], outputs[carried[1]]

    def run(states: Sequence[NDArray[np.float32]]) -> None:
        for row, state in enumerate(states):
            before[row] = state
        run_once()
        for row, state in enumerate(states):
            state[...] = after[row]

    return run


class Session(Protocol):
    """A loaded graph or engine, ready to run.

    Attributes:
        provider: Name of the provider, such as `cpu`.
        backend: Library and version, such as `onnxruntime 1.31.1`.
        max_frames: Longest input in mel frames; None when any length runs.
        max_batch: Most rows of one run; None when any number runs.
    """

    provider: str
    backend: str
    max_frames: int | None
    max_batch: int | None

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
        self,
        inputs: Mapping[str, NDArray[np.generic]],
        outputs: Mapping[str, NDArray[np.float32]],
        resident: Collection[str] = (),
    ) -> Callable[[], None]:
        """Prepare runs that read and write the same arrays each time.

        Args:
            inputs: One contiguous array per graph input, of the element type that the graph declares. Each run reads
                the values that the arrays have then. A read-only array (`flags.writeable` is False) keeps its values: a
                session on a device copies them once.
            outputs: One contiguous float32 array per graph output, of the shape that these inputs give.
            resident: Names of inputs and outputs whose arrays nobody but this session reads or writes between runs,
                such as the state of a stream. They are zero at first. A session on a device keeps their values there,
                and the arrays only stand for them: values that one binding writes to an array are what another
                binding reads from it.

        Returns:
            A function that runs the graph once; it raises ProviderError when the backend fails. Several threads may
            call functions that were bound from one session at the same time.
        """
        ...

    def close(self) -> None:
        """Free the graph and its memory; the session cannot run afterwards."""
        ...


@runtime_checkable
class RowSession(Protocol):
    """What a session may have besides the methods of `Session`: rows whose states stay where the graph runs."""

    def bind_rows(
        self,
        inputs: Mapping[str, NDArray[np.generic]],
        outputs: Mapping[str, NDArray[np.float32]],
        carried: tuple[str, str],
    ) -> RowsRun:
        """Prepare runs whose rows each have a state, which a run takes and replaces.

        Args:
            inputs: One array per graph input, as for `Session.bind`; that of the states gives their shape only.
            outputs: One array per graph output, as for `Session.bind`; that of the states gives their shape only.
            carried: Names of the input and the output that hold the states, one row each.

        Returns:
            A function that runs the graph once, given the states of the first rows; what the other rows have is any
            state. A state is a float32 array that nobody but this session reads or writes, zero at first. A session on
            a device keeps its values there, and the array only stands for them. After an error they are as before.
        """
        ...
