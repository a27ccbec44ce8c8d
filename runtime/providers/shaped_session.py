"""A graph that is prepared once for every set of input shapes, and runs on its device from there on.

A GPU plans every operator of a graph for the shapes that it meets, which takes a hundred times as long as a run. So
each set of shapes gets a session of ONNX Runtime of its own, whose dimensions are fixed, whose inputs and outputs stay
at one place on the device, and whose kernels are recorded in a CUDA graph and played back at once.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.artifact.axes import axis_size
from voirs_vocoder.runtime.artifact.declared_shapes import DeclaredShapes
from voirs_vocoder.runtime.artifact.manifest import STREAM_ROLES, GraphEntry
from voirs_vocoder.runtime.errors import DeviceMemoryError, ProviderError, VoirsVocoderError
from voirs_vocoder.runtime.providers.bound_session import BoundSession
from voirs_vocoder.runtime.providers.device_memory import (
    CudaError,
    Device,
    DeviceTensor,
    free_bytes,
    is_working,
)
from voirs_vocoder.runtime.providers.ort_errors import is_device_lost, is_kernel_missing, provider_error
from voirs_vocoder.runtime.providers.prepared_shapes import PreparedShapes, Shapes, shapes_of
from voirs_vocoder.runtime.providers.session import RowsRun

__all__ = ["FixedDimensions", "ShapedSession"]

FixedDimensions = Mapping[str, int]
"""Sizes of a graph's dynamic axes by their names, such as `{"batch": 1, "frames": 256}`."""

# The first run plans, the second one is recorded.
_FIRST_RUNS = 2
# The shape that a graph is prepared for when it is loaded: the shortest bucket, or a usual chunk of a stream.
_FIRST_FRAMES, _FIRST_STREAM_FRAMES = 32, 16

# Loading a graph allocates on the device, which fails while another thread records a CUDA graph.
_loading = threading.RLock()
_log = logging.getLogger(__name__)


class ShapedSession:
    """A graph in ONNX Runtime, prepared for each set of input shapes when it first comes.

    Several threads may run it at the same time. On a GPU the runs take turns, on one thread of the process; while one
    runs, others copy their inputs and results. The least recently used shapes are dropped when those that are kept need
    more memory than the budget. When the device is lost, all of them are, and the next run prepares them again.

    Attributes:
        provider: Name of the provider, such as `cuda`.
        backend: Library and version, such as `onnxruntime 1.31.1`.
        max_frames: None, since the session takes inputs of any length.
        max_batch: None, since the session takes any number of rows.
    """

    def __init__(
        self,
        ort: Any,
        provider: str,
        entry: GraphEntry,
        hop_length: int,
        device: Device,
        open_fixed: Callable[[FixedDimensions], Any],
        budget_bytes: int,
        *,
        open_otherwise: Callable[[FixedDimensions], Any] | None = None,
    ) -> None:
        """Prepare nothing yet.

        Args:
            ort: The module `onnxruntime`.
            provider: Name of the provider.
            entry: Manifest entry of the graph.
            hop_length: Audio samples per mel frame.
            device: Device that inputs and outputs stay on.
            open_fixed: Loads the graph with fixed dimensions, as an `onnxruntime.InferenceSession`.
            budget_bytes: Memory of the device that all prepared shapes together may take; one is always kept.
            open_otherwise: Loads the graph with fixed dimensions in another memory layout, for shapes that the device
                has no kernel for in the usual one; None where there is none.
        """
        self.max_frames: int | None = None
        self.max_batch: int | None = None
        self.provider = provider
        self.backend = f"onnxruntime {ort.__version__}"
        self._ort = ort
        self._entry = entry
        self._hop_length = hop_length
        self._declared = DeclaredShapes(entry, hop_length)
        self._device = device
        self._open_fixed = open_fixed
        self._open_otherwise = open_otherwise
        self._budget_bytes = budget_bytes
        self._has_warned = False
        self._prepared = PreparedShapes(self._prepare, self._free, self._fit)
        self._lock = threading.Lock()
        self._resident: dict[int, DeviceTensor] = {}

    @property
    def built_shapes(self) -> int:
        """Number of sets of shapes that were prepared so far, those that were dropped again included."""
        return self._prepared.built

    @property
    def prepared_shapes(self) -> int:
        """Number of sets of shapes that are prepared and kept."""
        return len(self._prepared)

    def prepare(self, batch: int, frames: int) -> None:
        """Prepare a shape, so that its first run does not wait.

        Args:
            batch: Number of rows.
            frames: Number of mel frames.

        Raises:
            DeviceMemoryError: The device has too little memory.
            ProviderError: The graph does not load or run in this shape.
        """
        shapes = {
            tensor.name: tuple(
                axis_size(axis, batch=batch, frames=frames, hop_length=self._hop_length)
                for axis in tensor.shape
            )
            for tensor in self._entry.inputs
        }
        with self._prepared.using(tuple(sorted(shapes.items()))):
            return

    def prepare_first(self, buckets: Sequence[int] | None) -> None:
        """Prepare the shape that is likely to come first, so that a graph that does not run is refused when it loads.

        Args:
            buckets: `SessionConfig.buckets`.

        Raises:
            DeviceMemoryError: The device has too little memory.
            ProviderError: The graph does not load or run in this shape.
        """
        is_stream = self._entry.role in STREAM_ROLES.values()
        self.prepare(1, _FIRST_STREAM_FRAMES if is_stream else min(buckets or (_FIRST_FRAMES,)))

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
        """Run the graph once; see `Session.run` for arguments, result and errors."""
        with self._prepared.using(shapes_of(inputs)) as prepared, prepared.lock:
            for name, values in inputs.items():
                np.copyto(prepared.inputs[name].host, values)
            self._execute(prepared, list(inputs), {}, list(prepared.outputs), {})
            return {name: tensor.host.copy() for name, tensor in prepared.outputs.items()}

    def bind(
        self,
        inputs: Mapping[str, NDArray[np.generic]],
        outputs: Mapping[str, NDArray[np.float32]],
        resident: Collection[str] = (),
    ) -> Callable[[], None]:
        """Prepare runs on fixed arrays; see `Session.bind` for arguments, result and errors."""
        shapes = shapes_of(inputs)
        with self._prepared.using(shapes):
            sources = {name: self._held(inputs[name]) for name in inputs if name in resident}
            targets = {name: self._held(outputs[name]) for name in outputs if name in resident}
        sources |= self._copied_once({name: inputs[name] for name in inputs if name not in resident})
        moved_in = [name for name in inputs if name not in sources]
        moved_out = [name for name in outputs if name not in resident]

        def run() -> None:
            # Looked up at each run: other shapes may have taken its place in the meantime.
            with self._prepared.using(shapes) as prepared, prepared.lock:
                for name in moved_in:
                    np.copyto(prepared.inputs[name].host, inputs[name])
                self._execute(prepared, moved_in, sources, moved_out, targets)
                for name in moved_out:
                    np.copyto(outputs[name], prepared.outputs[name].host)

        return run

    def bind_rows(
        self,
        inputs: Mapping[str, NDArray[np.generic]],
        outputs: Mapping[str, NDArray[np.float32]],
        carried: tuple[str, str],
    ) -> RowsRun:
        """Prepare runs of rows with states; see `RowSession.bind_rows` for arguments, result and errors."""
        shapes = shapes_of(inputs)
        with self._prepared.using(shapes):
            moved_in = [name for name in inputs if name != carried[0]]
            moved_out = [name for name in outputs if name != carried[1]]

        def run(states: Sequence[NDArray[np.float32]]) -> None:
            held = [self._held(state) for state in states]
            with self._prepared.using(shapes) as prepared, prepared.lock:
                for name in moved_in:
                    np.copyto(prepared.inputs[name].host, inputs[name])
                self._on_device(lambda: prepared.run_rows(moved_in, moved_out, held, carried))
                for name in moved_out:
                    np.copyto(outputs[name], prepared.outputs[name].host)

        return run

    def close(self) -> None:
        """Free everything that was prepared; the session cannot run afterwards."""
        self._open_fixed = _closed
        self._prepared.drop_all()
        with self._lock:
            self._resident.clear()

    def _execute(
        self,
        prepared: BoundSession,
        moved_in: list[str],
        sources: Mapping[str, DeviceTensor],
        moved_out: list[str],
        targets: Mapping[str, DeviceTensor],
    ) -> None:
        self._on_device(lambda: prepared.run(moved_in, sources, moved_out, targets))

    def _on_device(self, work: Callable[[], None]) -> None:
        """Use the device; after an error that ends what it holds, all shapes are dropped."""
        try:
            self._device.call(work)
        except ProviderError:
            raise
        except Exception as error:  # pybind11 raises classes of its own below Exception
            if is_device_lost(error):
                self._prepared.drop_all()
            raise provider_error(error, f"provider {self.provider!r} failed") from error

    def _held(self, array: NDArray[np.generic]) -> DeviceTensor:
        """The tensor on the device that stands for an array of a caller, zero at first, freed with the array."""
        key = id(array)
        with self._lock:
            if key not in self._resident:
                made: list[DeviceTensor] = []
                self._on_device(
                    lambda: made.append(
                        DeviceTensor(self._ort, self._device, array.shape, array.dtype, stays_on_device=True)
                    )
                )
                self._resident[key] = made[0]
                weakref.finalize(array, self._resident.pop, key, None)
            return self._resident[key]

    def _copied_once(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, DeviceTensor]:
        """Tensors on the device with the values of those arrays that are read-only."""
        constant: dict[str, DeviceTensor] = {}

        def work() -> None:
            for name, values in inputs.items():
                if not values.flags.writeable:
                    constant[name] = DeviceTensor(
                        self._ort, self._device, values.shape, values.dtype, stays_on_device=True
                    )
                    constant[name].value.update_inplace(values)

        self._on_device(work)
        return constant

    def _prepare(self, shapes: Shapes) -> BoundSession:
        with _loading:
            try:
                return self._build(shapes)
            except DeviceMemoryError:
                if not self._prepared.drop_all():
                    raise
            _log.warning(
                "provider %s: too little memory for another shape of %s; those that were prepared are dropped",
                self.provider,
                self._entry.file.path,
            )
            return self._build(shapes)

    def _fit(self, all_kept: Sequence[BoundSession]) -> bool:
        """Whether what is prepared keeps within the budget; the first time that it does not is logged."""
        size_bytes = sum(prepared.size_bytes for prepared in all_kept)
        if size_bytes > self._budget_bytes and not self._has_warned:
            self._has_warned = True
            _log.warning(
                "provider %s: %d shapes of %s take %d MiB, more than device_budget_bytes, so the least recently used "
                "ones are dropped and prepared again when they come; use fewer buckets, or a larger budget",
                self.provider,
                len(all_kept),
                self._entry.file.path,
                size_bytes >> 20,
            )
        return size_bytes <= self._budget_bytes

    def _build(self, shapes: Shapes) -> BoundSession:
        try:
            return self._build_by(self._open_fixed, shapes)
        except ProviderError as error:
            if self._open_otherwise is None or not is_kernel_missing(error):
                raise
            _log.info(
                "provider %s: another memory layout for %s, %s: %s",
                self.provider,
                self._entry.file.path,
                dict(shapes),
                error,
            )
        return self._build_by(self._open_otherwise, shapes)

    def _build_by(self, open_fixed: Callable[[FixedDimensions], Any], shapes: Shapes) -> BoundSession:
        by_name = dict(shapes)
        dimensions: dict[str, int] = {}
        for tensor in self._entry.inputs:
            for axis, size in zip(tensor.shape, by_name[tensor.name], strict=True):
                if isinstance(axis, str):
                    dimensions[axis] = size
        zeros = {tensor.name: np.zeros(by_name[tensor.name], tensor.dtype) for tensor in self._entry.inputs}
        prepared: BoundSession | None = None
        try:
            free_before = free_bytes(self._device)
            session = open_fixed(dimensions)
            prepared = BoundSession(
                self._ort,
                session,
                {
                    name: DeviceTensor(self._ort, self._device, values.shape, values.dtype)
                    for name, values in zeros.items()
                },
                {
                    name: DeviceTensor(self._ort, self._device, shape, np.dtype(np.float32))
                    for name, shape in self._declared.outputs(zeros).items()
                },
            )
            for _ in range(_FIRST_RUNS):
                self._device.call(prepared.execute)
            free_after = free_bytes(self._device)
        except VoirsVocoderError:
            raise
        except Exception as error:  # as above
            if prepared is not None:
                self._free(prepared)
            raise provider_error(
                error,
                f"provider {self.provider!r} does not run {self._entry.file.path} with {_words(dimensions)}",
            ) from error
        if free_before is not None and free_after is not None:
            prepared.size_bytes = max(0, free_before - free_after)
        return prepared

    def _free(self, prepared: BoundSession) -> None:
        try:
            self._device.call(lambda: prepared.free(device_works=is_working(self._device)))
        except CudaError:  # the device cannot even be selected
            prepared.free(device_works=False)


def _words(dimensions: FixedDimensions) -> str:
    return ", ".join(f"{name} {size}" for name, size in dimensions.items())


def _closed(dimensions: FixedDimensions) -> Any:
    raise ProviderError(
        f"a session must be open to prepare {_words(dimensions)}, this one is closed; load it again"
    )
