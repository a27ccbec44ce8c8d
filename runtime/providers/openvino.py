"""OpenVINO as a second, independent backend for the same graphs."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.artifact.axes import axis_size
from voirs_vocoder.runtime.artifact.manifest import GraphEntry
from voirs_vocoder.runtime.artifact.reading import Artifact
from voirs_vocoder.runtime.config import SessionConfig, default_threads
from voirs_vocoder.runtime.errors import ProviderError
from voirs_vocoder.runtime.optional import import_optional
from voirs_vocoder.runtime.providers.ort_errors import provider_error
from voirs_vocoder.runtime.providers.prepared_shapes import PreparedShapes, Shapes, shapes_of
from voirs_vocoder.runtime.providers.provider import BF16, Provider
from voirs_vocoder.runtime.providers.session import Session, bound_by_copying

__all__ = ["OPENVINO", "OpenVinoSession"]

_KEPT_SHAPES = 16
_FIRST_USE = threading.Lock()
_ANY_SHAPES: Shapes = ()


class _Compiled:
    """A compiled graph, and its requests that no run holds at the moment."""

    def __init__(self, compiled: Any, runs: int) -> None:
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(runs):
            self._free.put(compiled.create_infer_request())

    def infer(
        self, inputs: Mapping[str, NDArray[np.generic]], outputs: Sequence[str]
    ) -> dict[str, NDArray[np.float32]]:
        """Wait for a free request, and run it."""
        request = self._free.get()
        try:
            results = request.infer(dict(inputs), share_inputs=True)
            return {name: results[name] for name in outputs}
        finally:
            self._free.put(request)


class OpenVinoSession:
    """A graph in OpenVINO on the CPU, with activations and weights of the types that the graph states.

    A graph that takes lengths runs in few shapes, so it is compiled once for each of them, when it first comes: fixed
    shapes run 1.3 times as fast. The least recently used ones are dropped beyond 16. Any other graph is compiled once
    for all shapes. Runs may be called from several threads; of one compiled graph, `SessionConfig.parallel_runs` run at
    the same time.

    Attributes:
        provider: `openvino`.
        backend: Library and version, such as `openvino 2026.0.0`.
        max_frames: None, since the session takes inputs of any length.
        max_batch: None, since the session takes any number of rows.
    """

    def __init__(self, graph: bytes, entry: GraphEntry, config: SessionConfig, hop_length: int = 1) -> None:
        """Load a graph.

        Args:
            graph: The verified ONNX model.
            entry: Manifest entry of the graph.
            config: Number of threads, of runs at the same time, and `bf16_floats`; the session uses none of the other
                fields.
            hop_length: Audio samples per mel frame. Where it is too small, some graphs over samples do not load.

        Raises:
            ProviderError: OpenVINO is not installed, or it does not take the graph.
        """
        openvino = _import_openvino()
        self.provider = OPENVINO.name
        self.max_frames: int | None = None
        self.max_batch: int | None = None
        self.backend = f"openvino {_version(openvino)}"
        # On processors with BF16 the default would round every activation to 8 bits of mantissa. What a graph itself
        # computes in BF16 stays BF16 there.
        self._properties: dict[str, str | int] = {
            "INFERENCE_PRECISION_HINT": "bf16" if config.bf16_floats else "f32",
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._runs = config.parallel_runs
        threads = config.threads or default_threads()
        if threads is not None:
            self._properties["INFERENCE_NUM_THREADS"] = threads * self._runs
        if self._runs > 1:
            self._properties["NUM_STREAMS"] = self._runs
        self._outputs = [tensor.name for tensor in entry.outputs]
        self._by_shape = any(tensor.name == "lengths" for tensor in entry.inputs)
        self._requests = PreparedShapes(
            self._compiled, lambda _: None, lambda all_kept: len(all_kept) <= _KEPT_SHAPES
        )
        try:
            self._core = openvino.Core()
            _require_bf16(self._core, entry)
            self._model = self._core.read_model(graph, b"")
            _state_least_sizes(openvino, self._model, entry, hop_length)
            if not self._by_shape:
                with self._requests.using(_ANY_SHAPES):
                    pass
        except Exception as error:  # pybind11 raises classes of its own below Exception
            raise provider_error(error, f"provider 'openvino' does not load {entry.file.path}") from error

    @property
    def prepared_shapes(self) -> int:
        """Number of shapes that the graph is compiled for and kept; 0 for a graph that is compiled for all shapes."""
        return len(self._requests) if self._by_shape else 0

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
        """Run the graph once; see `Session.run` for arguments, result and errors."""
        try:
            shapes = shapes_of(inputs) if self._by_shape else _ANY_SHAPES
            with self._requests.using(shapes) as compiled:
                return compiled.infer(inputs, self._outputs)
        except Exception as error:  # as above
            raise provider_error(error, "provider 'openvino' failed") from error

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
        self._requests.drop_all()
        del self._model, self._core

    def _compiled(self, shapes: Shapes) -> _Compiled:
        """Compile the graph for these shapes."""
        model = self._model
        if shapes:
            model = self._model.clone()
            model.reshape(dict(shapes))
        return _Compiled(self._core.compile_model(model, "CPU", self._properties), self._runs)


def _require_bf16(core: Any, entry: GraphEntry) -> None:
    """Check that a BF16 graph is computed in BF16: OpenVINO would compute it in FP32 elsewhere."""
    if entry.precision != BF16:
        return
    offered = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if BF16.upper() not in offered:
        raise ProviderError(
            f"BF16 graphs must run where OpenVINO computes in BF16, on this CPU it offers {', '.join(offered)}; use "
            "precision fp32 or int8"
        )


def _state_least_sizes(openvino: Any, model: Any, entry: GraphEntry, hop_length: int) -> None:
    """Give every dynamic axis the size of one frame as its least one.

    OpenVINO derives from it whether a convolution has any output, and compiles no graph in which one might have none,
    such as a dilated one over an axis of unknown size.
    """
    axes = {tensor.name: tensor.shape for tensor in entry.inputs}
    shapes = {}
    for model_input in model.inputs:
        name, shape = model_input.any_name, model_input.partial_shape
        shapes[name] = openvino.PartialShape(
            [
                openvino.Dimension(axis_size(axis, batch=1, frames=1, hop_length=hop_length), -1)
                if size.is_dynamic
                else size
                for axis, size in zip(axes[name], shape, strict=True)
            ]
        )
    model.reshape(shapes)


def _open_artifact(artifact: Artifact, entry: GraphEntry, config: SessionConfig) -> Session:
    return OpenVinoSession(artifact.read_graph(entry), entry, config, artifact.manifest.hop_length)


def _import_openvino() -> Any:
    openvino = import_optional("openvino", purpose="provider 'openvino'", extra="openvino")
    # The binding makes its table of NumPy's types at its first use. Of two threads that use it first, one would make it
    # and wait for the interpreter's lock, the other hold that lock and wait for the table, forever.
    with _FIRST_USE:
        openvino.Type.f32.to_dtype()
    return openvino


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
    open_artifact=_open_artifact,
    int8_target="tensorrt",
    widens_to_fp32=True,
    prepares_shapes=True,
    runs_in_parallel=True,
    has_bf16=True,
    has_bf16_floats=True,
)
