"""The one boundary where graphs are run: every result is compared with what the manifest states."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.artifact.declared_shapes import DeclaredShapes
from voirs_vocoder.runtime.artifact.manifest import GraphEntry
from voirs_vocoder.runtime.errors import ArtifactError, InputError, ProviderError
from voirs_vocoder.runtime.providers.session import (
    RowSession,
    RowsRun,
    Session,
    require_result,
    rows_bound_by_copying,
)

__all__ = ["CheckedSession"]

_Check = tuple[str, NDArray[np.float32], NDArray[np.bool_]]
"""Name and array of an output, and an array for which of its values are finite."""


class CheckedSession:
    """A session whose inputs and outputs are compared with the graph's manifest entry in every run.

    A backend that returns another number of samples, another element type, NaN or infinity raises an error, so that
    no caller copies what was not computed.

    Attributes:
        provider: Name of the provider, such as `cpu`.
        backend: Library and version, such as `onnxruntime 1.31.1`.
        max_frames: Longest input in mel frames; None when any length runs.
        max_batch: Most rows of one run; None when any number runs.
    """

    def __init__(self, session: Session, entry: GraphEntry, hop_length: int) -> None:
        """Wrap a session, which is closed with this one.

        Args:
            session: The session that runs the graph.
            entry: Manifest entry of the graph.
            hop_length: Audio samples per mel frame.

        Raises:
            ArtifactError: The manifest names an axis that this version does not know, an output whose size does not
                follow from an input's, or an output that is an input.
        """
        self.provider = session.provider
        self.backend = session.backend
        self.max_frames = session.max_frames
        # Sessions of other packages may be older than this attribute.
        self.max_batch: int | None = getattr(session, "max_batch", None)
        self._session = session
        self._process = os.getpid()
        self._changed = threading.Condition()
        self._running = 0
        self._is_closed = False
        self._entry = entry
        self._shapes = DeclaredShapes(entry, hop_length)
        # ONNX Runtime does not write the bound array of an output that is an input.
        both = {tensor.name for tensor in entry.inputs} & {tensor.name for tensor in entry.outputs}
        if both:
            raise ArtifactError(
                f"{entry.file.path}: an output must not be an input, got {min(both)!r}; export the artifact again"
            )

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
        """Run the graph once; see `Session.run` for arguments.

        Returns:
            One float32 array per output of the manifest, of the shape that it states for these inputs, finite.

        Raises:
            InputError: The inputs are not those that the manifest states.
            ProviderError: The backend failed, or its results are not what the manifest states.
        """
        shapes = self._shapes.outputs(inputs)
        with self._in_use():
            results = self._session.run(inputs)
        for name, shape in shapes.items():
            require_result(self.provider, name, results.get(name), shape)
            self._require_finite(name, bool(np.isfinite(results[name]).all()))
        return {name: results[name] for name in shapes}

    def bind(
        self,
        inputs: Mapping[str, NDArray[np.generic]],
        outputs: Mapping[str, NDArray[np.float32]],
        resident: Collection[str] = (),
    ) -> Callable[[], None]:
        """Prepare runs on fixed arrays; see `Session.bind` for arguments.

        Returns:
            A function that runs the graph once. It raises ProviderError when the backend fails, or has not written
            finite values to all of every output that is not resident.

        Raises:
            InputError: The inputs are not those that the manifest states.
            ProviderError: The outputs are not those that the manifest states, or the backend failed.
        """
        shapes = self._shapes.outputs(inputs)
        for name, shape in shapes.items():
            require_result(self.provider, name, outputs.get(name), shape)
        with self._in_use():
            run_once = self._session.bind(inputs, outputs, resident)
        checks = self._checks(outputs, shapes, resident)

        def run() -> None:
            with self._checked(checks):
                run_once()

        return run

    def bind_rows(
        self,
        inputs: Mapping[str, NDArray[np.generic]],
        outputs: Mapping[str, NDArray[np.float32]],
        carried: tuple[str, str],
    ) -> RowsRun:
        """Prepare runs of rows with states; see `RowSession.bind_rows` for arguments and result, `bind` for errors.

        States that stay where the graph runs are not compared; those that are copied must be finite.
        """
        if not isinstance(self._session, RowSession):
            return rows_bound_by_copying(self.bind(inputs, outputs), inputs, outputs, carried)
        shapes = self._shapes.outputs(inputs)
        for name, shape in shapes.items():
            require_result(self.provider, name, outputs.get(name), shape)
        with self._in_use():
            run_rows = self._session.bind_rows(inputs, outputs, carried)
        checks = self._checks(outputs, shapes, carried)

        def run(states: Sequence[NDArray[np.float32]]) -> None:
            with self._checked(checks):
                run_rows(states)

        return run

    def close(self) -> None:
        """Free the graph, after the runs of other threads have ended. Closing twice is harmless.

        Runs that begin later raise InputError.
        """
        with self._changed:
            if self._is_closed:
                return
            self._is_closed = True
            # In a fork, the threads that run are those of the other process.
            self._changed.wait_for(lambda: not self._running or self._process != os.getpid())
        self._session.close()

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        """Keep the session open for a run.

        Raises:
            InputError: The session is closed.
            ProviderError: The session was opened before this process was forked, and its threads are not here.
        """
        if self._process != os.getpid():
            raise ProviderError(
                f"provider {self.provider!r}: {self._entry.file.path} was loaded before this process was forked, and "
                "the threads that run it did not come along; load the artifact in each process"
            )
        with self._changed:
            if self._is_closed:
                raise InputError(f"{self._entry.file.path} is closed; load the artifact again")
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                if not self._running:
                    self._changed.notify_all()

    def _checks(
        self,
        outputs: Mapping[str, NDArray[np.float32]],
        shapes: Mapping[str, tuple[int, ...]],
        unchecked: Collection[str],
    ) -> list[_Check]:
        return [
            (name, outputs[name], np.empty(shape, np.bool_))
            for name, shape in shapes.items()
            if name not in unchecked
        ]

    @contextmanager
    def _checked(self, checks: Sequence[_Check]) -> Iterator[None]:
        """Compare what is written inside the `with` block."""
        for _, values, _ in checks:
            # What the backend does not write stays NaN.
            values.fill(np.nan)
        with self._in_use():
            yield
        for name, values, finite in checks:
            np.isfinite(values, out=finite)
            self._require_finite(name, bool(finite.all()))

    def _require_finite(self, name: str, finite: bool) -> None:
        if not finite:
            raise ProviderError(
                f"provider {self.provider!r}: {self._entry.file.path} must compute finite {name}, got NaN, infinity or "
                "too few values; use another precision, or export the artifact again"
            )
