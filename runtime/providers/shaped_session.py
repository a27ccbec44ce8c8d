"""A graph that is prepared once for every set of input shapes, and runs on its device from there on.

A GPU plans every operator of a graph for the shapes that it meets, which takes a hundred times as long as a run. So
each set of shapes gets a session of ONNX Runtime of its own, whose dimensions are fixed, whose inputs and outputs stay
at one place on the device, and whose kernels are recorded in a CUDA graph and played back at once.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.artifact.declared_shapes import DeclaredShapes
from voirs_vocoder.runtime.artifact.manifest import GraphEntry
from voirs_vocoder.runtime.errors import ProviderError
from voirs_vocoder.runtime.providers.device_memory import (
    Device,
    DeviceTensor,
    copy_between,
    free_bytes,
    to_device,
    to_host,
)
from voirs_vocoder.runtime.providers.ort_errors import explained, is_out_of_memory

__all__ = ["FixedDimensions", "ShapedSession"]

FixedDimensions = Mapping[str, int]
"""Sizes of a graph's dynamic axes by their names, such as `{"batch": 1, "frames": 256}`."""

_Key = tuple[tuple[str, tuple[int, ...]], ...]
# The first run plans, the second one is recorded.
_FIRST_RUNS = 2

_log = logging.getLogger(__name__)


class ShapedSession:
    """A graph in ONNX Runtime, prepared for each set of input shapes when it first comes.

    Several threads may run it at the same time; runs of equal shapes take turns. The least recently used shapes are
    dropped when those that are kept need more memory than the budget.

    Attributes:
        provider: Name of the provider, such as `cuda`.
        backend: Library and version, such as `onnxruntime 1.31.1`.
        max_frames: None, since inputs of any length run.
        max_batch: None, since any number of rows runs.
        built_shapes: Number of sets of shapes that were prepared so far, those that were dropped again included.
    """

    max_frames: int | None = None
    max_batch: int | None = None

    def __init__(
        self,
        ort: Any,
        provider: str,
        entry: GraphEntry,
        hop_length: int,
        device: Device,
        open_fixed: Callable[[FixedDimensions], Any],
        budget_bytes: int,
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
        """
        self.provider = provider
        self.backend = f"onnxruntime {ort.__version__}"
        self.built_shapes = 0
        self._ort = ort
        self._entry = entry
        self._shapes = DeclaredShapes(entry, hop_length)
        self._device = device
        self._open_fixed = open_fixed
        self._budget_bytes = budget_bytes
        self._lock = threading.Lock()
        self._prepared: OrderedDict[_Key, _Prepared] = OrderedDict()
        self._being_built: dict[_Key, threading.Lock] = {}
        self._resident: dict[int, DeviceTensor] = {}

    @property
    def prepared_shapes(self) -> int:
        """Number of sets of shapes that are prepared and kept."""
        return len(self._prepared)

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
        """Run the graph once; see `Session.run` for arguments, result and errors."""
        prepared = self._for(inputs)
        with prepared.lock:
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
        self._for(inputs)
        sources = {name: self._held(inputs[name]) for name in inputs if name in resident}
        targets = {name: self._held(outputs[name]) for name in outputs if name in resident}
        moved_in = [name for name in inputs if name not in resident]
        moved_out = [name for name in outputs if name not in resident]

        def run() -> None:
            # Looked up at each run: other shapes may have taken its place in the meantime.
            prepared = self._for(inputs)
            with prepared.lock:
                for name in moved_in:
                    np.copyto(prepared.inputs[name].host, inputs[name])
                self._execute(prepared, moved_in, sources, moved_out, targets)
                for name in moved_out:
                    np.copyto(outputs[name], prepared.outputs[name].host)

        return run

    def close(self) -> None:
        """Free everything that was prepared; the session cannot run afterwards."""
        with self._lock:
            self._prepared.clear()
            self._resident.clear()

    def _execute(
        self,
        prepared: _Prepared,
        moved_in: list[str],
        sources: Mapping[str, DeviceTensor],
        moved_out: list[str],
        targets: Mapping[str, DeviceTensor],
    ) -> None:
        try:
            to_device(prepared.inputs[name] for name in moved_in)
            copy_between((tensor, prepared.inputs[name]) for name, tensor in sources.items())
            prepared.execute()
            copy_between((prepared.outputs[name], tensor) for name, tensor in targets.items())
            to_host(prepared.outputs[name] for name in moved_out)
        except Exception as error:  # pybind11 raises classes of its own below Exception
            raise ProviderError(f"provider {self.provider!r} failed: {explained(error)}") from error

    def _held(self, array: NDArray[np.generic]) -> DeviceTensor:
        """The tensor on the device that stands for an array of a caller, zero at first, freed with the array."""
        key = id(array)
        with self._lock:
            if key not in self._resident:
                self._resident[key] = DeviceTensor(self._ort, self._device, array.shape, array.dtype)
                weakref.finalize(array, self._resident.pop, key, None)
            return self._resident[key]

    def _for(self, inputs: Mapping[str, NDArray[np.generic]]) -> _Prepared:
        key = tuple((name, values.shape) for name, values in sorted(inputs.items()))
        with self._lock:
            if key in self._prepared:
                self._prepared.move_to_end(key)
                return self._prepared[key]
            building = self._being_built.setdefault(key, threading.Lock())
        # Other shapes run on while this one is built, and nobody builds it twice.
        with building:
            with self._lock:
                if key in self._prepared:
                    return self._prepared[key]
            prepared = self._built(inputs)
            with self._lock:
                self._prepared[key] = prepared
                self._being_built.pop(key, None)
                self.built_shapes += 1
                self._drop_least_recent()
            return prepared

    def _built(self, inputs: Mapping[str, NDArray[np.generic]]) -> _Prepared:
        try:
            return self._build(inputs)
        except ProviderError as error:
            if not is_out_of_memory(error) or not self._prepared:
                raise
        _log.warning(
            "provider %s: too little memory for another shape of %s; those that were prepared are dropped",
            self.provider,
            self._entry.file.path,
        )
        with self._lock:
            self._prepared.clear()
        return self._build(inputs)

    def _build(self, inputs: Mapping[str, NDArray[np.generic]]) -> _Prepared:
        dimensions: dict[str, int] = {}
        for tensor in self._entry.inputs:
            for axis, size in zip(tensor.shape, inputs[tensor.name].shape, strict=True):
                if isinstance(axis, str):
                    dimensions[axis] = size
        free_before = free_bytes(self._device)
        try:
            session = self._open_fixed(dimensions)
            prepared = _Prepared(
                self._ort,
                session,
                {
                    name: DeviceTensor(self._ort, self._device, values.shape, values.dtype)
                    for name, values in inputs.items()
                },
                {
                    name: DeviceTensor(self._ort, self._device, shape, np.dtype(np.float32))
                    for name, shape in self._shapes.outputs(inputs).items()
                },
            )
            for _ in range(_FIRST_RUNS):
                prepared.execute()
        except ProviderError:
            raise
        except Exception as error:  # as above
            raise ProviderError(
                f"provider {self.provider!r} does not run {self._entry.file.path} with {_words(dimensions)}: "
                f"{explained(error)}"
            ) from error
        free_after = free_bytes(self._device)
        if free_before is not None and free_after is not None:
            prepared.size_bytes = max(0, free_before - free_after)
        return prepared

    def _drop_least_recent(self) -> None:
        while len(self._prepared) > 1:
            if sum(prepared.size_bytes for prepared in self._prepared.values()) <= self._budget_bytes:
                return
            self._prepared.popitem(last=False)


class _Prepared:
    """A session of ONNX Runtime for one set of shapes, bound to its tensors.

    Attributes:
        inputs: Tensor of each input.
        outputs: Tensor of each output.
        lock: Held while the tensors are in use.
        size_bytes: Memory of the device that the session takes; 0 where the device is not asked.
    """

    def __init__(
        self,
        ort: Any,
        session: Any,
        inputs: Mapping[str, DeviceTensor],
        outputs: Mapping[str, DeviceTensor],
    ) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self.lock = threading.Lock()
        self.size_bytes = 0
        self._session = session
        self._binding = session.io_binding()
        for name, tensor in inputs.items():
            self._binding.bind_ortvalue_input(name, tensor.value)
        for name, tensor in outputs.items():
            self._binding.bind_ortvalue_output(name, tensor.value)
        self._options = ort.RunOptions()

    def execute(self) -> None:
        """Run the graph from its inputs to its outputs, all of them on the device."""
        self._session.run_with_iobinding(self._binding, self._options)


def _words(dimensions: FixedDimensions) -> str:
    return ", ".join(f"{name} {size}" for name, size in dimensions.items())
