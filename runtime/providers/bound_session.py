"""One session of ONNX Runtime whose inputs and outputs stay at one place on a device."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from voirs_vocoder.runtime.providers.device_memory import (
    DeviceTensor,
    TensorRow,
    copy_between,
    to_device,
    to_host,
)

__all__ = ["BoundSession"]


class BoundSession:
    """A session of ONNX Runtime for one set of shapes, bound to tensors that stay on a device.

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
        """Bind the tensors.

        Args:
            ort: The module `onnxruntime`.
            session: An `onnxruntime.InferenceSession` of these shapes.
            inputs: Tensor of each input.
            outputs: Tensor of each output.
        """
        self.inputs = inputs
        self.outputs = outputs
        self.lock = threading.Lock()
        self.size_bytes = 0
        self._rows: tuple[list[TensorRow], list[TensorRow]] | None = None
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

    def run(
        self,
        moved_in: Iterable[str],
        sources: Mapping[str, DeviceTensor],
        moved_out: Iterable[str],
        targets: Mapping[str, DeviceTensor],
    ) -> None:
        """Run the graph once, with the copies around it; the results are complete when this returns.

        Args:
            moved_in: Names of the inputs that are copied from host memory.
            sources: Tensors on the device that the other inputs are copied from, by name.
            moved_out: Names of the outputs that are copied to host memory.
            targets: Tensors on the device that the other outputs are copied to, by name.
        """
        to_device(self.inputs[name] for name in moved_in)
        copy_between((tensor, self.inputs[name]) for name, tensor in sources.items())
        self.execute()
        copy_between((self.outputs[name], tensor) for name, tensor in targets.items())
        to_host(self.outputs[name] for name in moved_out)

    def run_rows(
        self,
        moved_in: Iterable[str],
        moved_out: Iterable[str],
        states: Sequence[DeviceTensor],
        carried: tuple[str, str],
    ) -> None:
        """Run the graph once on rows with states; the results are complete when this returns.

        Args:
            moved_in: Names of the inputs that are copied from host memory.
            moved_out: Names of the outputs that are copied to host memory.
            states: Tensors on the device with the states of the first rows, which are replaced.
            carried: Names of the input and the output that hold the states, one row each.
        """
        if self._rows is None:
            self._rows = self.inputs[carried[0]].rows(), self.outputs[carried[1]].rows()
        before, after = self._rows
        to_device(self.inputs[name] for name in moved_in)
        copy_between(zip(states, before, strict=False))
        self.execute()
        copy_between(zip(after, states, strict=False))
        to_host(self.outputs[name] for name in moved_out)

    def free(self, *, device_works: bool) -> None:
        """Free the session and its tensors; it cannot run afterwards.

        Args:
            device_works: False keeps what a lost device held until the process ends.
        """
        if not device_works:
            # ONNX Runtime ends the process when it cannot free a CUDA graph.
            for held in (self._session, self._binding):
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(held))
        self._session = self._binding = None
        for tensor in (*self.inputs.values(), *self.outputs.values()):
            tensor.free()
