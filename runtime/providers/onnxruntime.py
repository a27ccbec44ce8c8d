"""Sessions of ONNX Runtime for inputs of any shape: on the CPU, and in engines of TensorRT that it builds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.artifact.axes import axis_size
from voirs_vocoder.runtime.artifact.declared_tensors import require_declared
from voirs_vocoder.runtime.artifact.manifest import GraphEntry
from voirs_vocoder.runtime.artifact.reading import Artifact
from voirs_vocoder.runtime.artifact.split_graph import SplitGraph
from voirs_vocoder.runtime.config import SessionConfig
from voirs_vocoder.runtime.providers.ort_errors import provider_error
from voirs_vocoder.runtime.providers.ort_library import (
    CPU_EXECUTION,
    Execution,
    load_session,
    ort_backend,
    ort_problem,
    require_ort,
    session_options,
)
from voirs_vocoder.runtime.providers.provider import Provider
from voirs_vocoder.runtime.providers.session import Session, bound_by_copying

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["CPU", "TENSORRT", "OrtSession"]

_WEIGHTS_FOLDER = Path(__file__).parent.parent
# Reading a graph in pieces pays off for large graphs only.
_SPLIT_FROM_BYTES = 8 << 20
_TENSORRT_EXECUTION = Execution("tensorrt", "TensorrtExecutionProvider", "tensorrt")
_TENSORRT_MAX_FRAMES = 2048
_TENSORRT_MAX_BATCH = 8
_TENSORRT_SHAPES = (("min", 1, 1), ("opt", 1, 256), ("max", _TENSORRT_MAX_BATCH, _TENSORRT_MAX_FRAMES))


class OrtSession:
    """A graph in ONNX Runtime on one execution provider.

    Runs may be called from several threads at once.

    Attributes:
        provider: Name of the provider, such as `cpu`.
        backend: Library and version, such as `onnxruntime 1.31.1`.
        max_frames: Longest input in mel frames; None for any.
        max_batch: Most rows of one run; None for any number.
    """

    def __init__(
        self,
        graph: bytes | SplitGraph,
        entry: GraphEntry,
        provider: str,
        config: SessionConfig,
        hop_length: int = 1,
    ) -> None:
        """Load a graph.

        Args:
            graph: The verified ONNX model; in two parts for the provider `cpu` only.
            entry: Manifest entry of the graph.
            provider: `cpu` or `tensorrt`.
            config: Threads, device and spinning of the session.
            hop_length: Audio samples per mel frame; used by the provider `tensorrt` only.

        Raises:
            ProviderError: The provider cannot run on this machine, or it does not take every node.
        """
        execution = _EXECUTIONS[provider]
        ort = require_ort(execution)
        self.provider = provider
        self.backend = f"onnxruntime {ort.__version__}"
        in_engine = execution is _TENSORRT_EXECUTION
        self.max_frames = _TENSORRT_MAX_FRAMES if in_engine else None
        self.max_batch = _TENSORRT_MAX_BATCH if in_engine else None
        options = session_options(ort, execution, config)
        # ONNX Runtime works with these very arrays, so they live as long as the session.
        self._weights = _shared_weights(ort, options, graph) if isinstance(graph, SplitGraph) else []
        provider_options = _tensorrt_options(entry, config, hop_length) if in_engine else {}
        self._session = load_session(ort, graph, entry, execution, options, provider_options)
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
        """Run the graph once; see `Session.run` for arguments, result and errors."""
        try:
            return dict(zip(self._outputs, self._session.run(None, dict(inputs)), strict=True))
        except Exception as error:  # pybind11 raises classes of its own below Exception
            raise provider_error(error, f"provider {self.provider!r} failed") from error

    def bind(
        self,
        inputs: Mapping[str, NDArray[np.generic]],
        outputs: Mapping[str, NDArray[np.float32]],
        resident: Collection[str] = (),
    ) -> Callable[[], None]:
        """Prepare runs on fixed arrays; see `Session.bind` for arguments, result and errors."""
        if self.provider != CPU.name:
            # A binding copies its inputs to the GPU once, when it is made.
            return bound_by_copying(self, inputs, outputs)
        session = self._session
        binding = session.io_binding()
        for name, values in inputs.items():
            binding.bind_cpu_input(name, values)
        for name, values in outputs.items():
            binding.bind_output(name, "cpu", 0, values.dtype, values.shape, values.ctypes.data)

        def run() -> None:
            try:
                session.run_with_iobinding(binding)
            except Exception as error:  # as above
                raise provider_error(error, "provider 'cpu' failed") from error

        return run

    def close(self) -> None:
        """Free the graph and its weights; the session cannot run afterwards."""
        del self._session
        self._weights = []


def _shared_weights(ort: Any, options: onnxruntime.SessionOptions, graph: SplitGraph) -> list[Any]:
    values = []
    for name, weight in graph.weights.items():
        values.append(ort.OrtValue.ortvalue_from_numpy(weight))
        options.add_initializer(name, values[-1])
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(_WEIGHTS_FOLDER)
    )
    return values


def _tensorrt_options(entry: GraphEntry, config: SessionConfig, hop_length: int) -> dict[str, str]:
    shapes = {
        name: _profile_shapes(entry, batch, frames, hop_length) for name, batch, frames in _TENSORRT_SHAPES
    }
    return {
        "device_id": str(config.device),
        **{f"trt_profile_{name}_shapes": text for name, text in shapes.items()},
    }


def _profile_shapes(entry: GraphEntry, batch: int, frames: int, hop_length: int) -> str:
    return ",".join(
        f"{tensor.name}:"
        + "x".join(
            str(axis_size(axis, batch=batch, frames=frames, hop_length=hop_length)) for axis in tensor.shape
        )
        for tensor in entry.inputs
    )


def _open_graph(provider: str, graph: bytes, entry: GraphEntry, config: SessionConfig) -> Session:
    return OrtSession(graph, entry, provider, config)


def _open_artifact(provider: str, artifact: Artifact, entry: GraphEntry, config: SessionConfig) -> Session:
    if (provider, entry.precision) == (CPU.name, "fp32") and entry.file.size_bytes >= _SPLIT_FROM_BYTES:
        graph = artifact.read_split(entry.file)
        require_declared(graph.rules.inputs, graph.rules.outputs, entry)
        return OrtSession(graph, entry, provider, config)
    return OrtSession(artifact.read_graph(entry), entry, provider, config, artifact.manifest.hop_length)


_EXECUTIONS = {execution.provider: execution for execution in (CPU_EXECUTION, _TENSORRT_EXECUTION)}

CPU = Provider(
    name="cpu",
    on_gpu=False,
    problem=partial(ort_problem, CPU_EXECUTION),
    backend=ort_backend,
    open_graph=partial(_open_graph, "cpu"),
    open_artifact=partial(_open_artifact, "cpu"),
    int8_target="cpu",
    auto_rank=300,
)
TENSORRT = Provider(
    name="tensorrt",
    on_gpu=True,
    problem=partial(ort_problem, _TENSORRT_EXECUTION),
    backend=ort_backend,
    open_graph=partial(_open_graph, "tensorrt"),
    open_artifact=partial(_open_artifact, "tensorrt"),
    int8_target="tensorrt",
    prepares_shapes=True,
    builds_engines=True,
)
