"""OpenVINO as a second, independent backend for the same graphs."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.artifact.manifest import GraphEntry
from voirs_vocoder.runtime.config import SessionConfig, default_threads
from voirs_vocoder.runtime.errors import ProviderError
from voirs_vocoder.runtime.optional import import_optional
from voirs_vocoder.runtime.providers.provider import Provider
from voirs_vocoder.runtime.providers.session import bound_by_copying

__all__ = ["OPENVINO", "OpenVinoSession"]

_KEPT_SHAPES = 16

_Shapes = tuple[tuple[str, tuple[int, ...]], ...]
"""Name and shape of each input, by name."""


class OpenVinoSession:
    """A graph in OpenVINO on the CPU, with FP32 activations and weights where the graph does not quantize them.

    A graph that takes lengths runs in few shapes, so it is compiled once for each of them, when it first comes: fixed
    shapes run 1.3 times as fast. The least recently used ones are dropped beyond 16. Any other graph is compiled once
    for all shapes. Runs may be called from several threads; they run one after the other.

    Attributes:
        provider: `openvino`.
        backend: Library and version, such as `openvino 2026.0.0`.
        max_frames: None, since the session takes inputs of any length.
        max_batch: None, since the session takes any number of rows.
    """

    def __init__(self, graph: bytes, entry: GraphEntry, config: SessionConfig) -> None:
        """Load a graph.

        Args:
            graph: The verified ONNX model.
            entry: Manifest entry of the graph.
            config: Number of threads; the session uses none of the other fields.

        Raises:
            ProviderError: OpenVINO is not installed, or it does not take the graph.
        """
        openvino = _import_openvino()
        self.provider = OPENVINO.name
        self.max_frames: int | None = None
        self.max_batch: int | None = None
        self.backend = f"openvino {_version(openvino)}"
        # On processors with BF16 the default would round every activation to 8 bits of mantissa.
        self._properties: dict[str, str | int] = {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
        }
        threads = config.threads or default_threads()
        if threads is not None:
            self._properties["INFERENCE_NUM_THREADS"] = threads
        self._outputs = [tensor.name for tensor in entry.outputs]
        self._lock = threading.Lock()
        self._by_shape = any(tensor.name == "lengths" for tensor in entry.inputs)
        # A key of None is the graph for all shapes.
        self._requests: OrderedDict[_Shapes | None, Any] = OrderedDict()
        try:
            self._core = openvino.Core()
            self._model = self._core.read_model(graph, b"")
            if not self._by_shape:
                self._request(None)
        except Exception as error:  # pybind11 raises classes of its own below Exception
            raise ProviderError(
                f"provider 'openvino' does not load {entry.file.path}: {_one_line(error)}"
            ) from error

    @property
    def prepared_shapes(self) -> int:
        """Number of shapes that the graph is compiled for and kept; 0 for a graph that is compiled for all shapes."""
        return len(self._requests) if self._by_shape else 0

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
        """Run the graph once; see `Session.run` for arguments, result and errors."""
        try:
            with self._lock:
                request = self._request(_shapes(inputs) if self._by_shape else None)
                results = request.infer(dict(inputs), share_inputs=True)
            return {name: results[name] for name in self._outputs}
        except Exception as error:  # as above
            raise ProviderError(f"provider 'openvino' failed: {_one_line(error)}") from error

    def bind(
        self,
        inputs: Mapping[str, NDArray[np.generic]],
        outputs: Mapping[str, NDArray[np.float32]],
        resident: Collection[str] = (),
    ) -> Callable[[], None]:
        """Prepare runs on fixed arrays; see `Session.bind` for arguments, result and errors."""
        return bound_by_copying(self, inputs, outputs)

    def close(self) -> None:
        """Free the compiled graph; the session cannot run afterwards."""
        self._requests.clear()
        del self._model, self._core

    def _request(self, shapes: _Shapes | None) -> Any:
        """The compiled graph for these shapes, ready to run."""
        if shapes in self._requests:
            self._requests.move_to_end(shapes)
            return self._requests[shapes]
        model = self._model
        if shapes is not None:
            model = self._model.clone()
            model.reshape(dict(shapes))
        request = self._core.compile_model(model, "CPU", self._properties).create_infer_request()
        self._requests[shapes] = request
        if len(self._requests) > _KEPT_SHAPES:
            self._requests.popitem(last=False)
        return request


def _shapes(inputs: Mapping[str, NDArray[np.generic]]) -> _Shapes:
    return tuple((name, values.shape) for name, values in sorted(inputs.items()))


def _one_line(error: Exception) -> str:
    """The end of an error's text, which states the reason; places in OpenVINO's source come before it."""
    return " ".join(str(error).split())[-300:] or type(error).__name__


def _import_openvino() -> Any:
    return import_optional("openvino", purpose="provider 'openvino'", extra="openvino")


def _version(openvino: Any) -> str:
    version: str = openvino.__version__
    return version.split("-")[0]


def _problem() -> str | None:
    try:
        _import_openvino()
    except ProviderError as error:
        return str(error)
    return None


def _backend() -> str | None:
    try:
        return f"openvino {_version(_import_openvino())}"
    except ProviderError:
        return None


OPENVINO = Provider(
    name="openvino",
    on_gpu=False,
    problem=_problem,
    backend=_backend,
    open_graph=OpenVinoSession,
    int8_target="tensorrt",
    widens_to_fp32=True,
    prepares_shapes=True,
)
