"""Sessions of ONNX Runtime on the CPU, for inputs of any shape."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.artifact.declared_tensors import require_declared
from voirs_vocoder.runtime.artifact.manifest import GraphEntry
from voirs_vocoder.runtime.artifact.reading import Artifact
from voirs_vocoder.runtime.artifact.split_graph import SplitGraph
from voirs_vocoder.runtime.config import SessionConfig
from voirs_vocoder.runtime.errors import ProviderError
from voirs_vocoder.runtime.providers.ort_errors import provider_error
from voirs_vocoder.runtime.providers.ort_library import (
    CPU_EXECUTION,
    load_session,
    ort_backend,
    ort_problem,
    require_ort,
    session_options,
)
from voirs_vocoder.runtime.providers.provider import Provider
from voirs_vocoder.runtime.providers.session import Session

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["CPU", "OrtSession"]

_WEIGHTS_FOLDER = Path(__file__).parent.parent
# Reading a graph in pieces pays off for large graphs only.
_SPLIT_FROM_BYTES = 8 << 20


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
    ) -> None:
        """Load a graph.

        Args:
            graph: The verified ONNX model, as it is or in two parts.
            entry: Manifest entry of the graph.
            provider: `cpu`.
            config: Threads and spinning of the session.

        Raises:
            ProviderError: The provider is another one, or cannot run on this machine, or it does not take every node.
        """
        if provider != CPU_EXECUTION.provider:
            raise ProviderError(
                f"provider must be 'cpu' here, got {provider!r}; open it by its row of PROVIDERS"
            )
        ort = require_ort(CPU_EXECUTION)
        self.provider = provider
        self.backend = f"onnxruntime {ort.__version__}"
        self.max_frames: int | None = None
        self.max_batch: int | None = None
        options = session_options(ort, CPU_EXECUTION, config)
        # ONNX Runtime works with these very arrays, so they live as long as the session.
        self._weights = _shared_weights(ort, options, graph) if isinstance(graph, SplitGraph) else []
        self._session = load_session(ort, graph, entry, CPU_EXECUTION, options, {})
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


def _open_graph(graph: bytes, entry: GraphEntry, config: SessionConfig) -> Session:
    return OrtSession(graph, entry, CPU.name, config)


def _open_artifact(artifact: Artifact, entry: GraphEntry, config: SessionConfig) -> Session:
    if entry.precision == "fp32" and entry.file.size_bytes >= _SPLIT_FROM_BYTES:
        graph = artifact.read_split(entry.file)
        require_declared(graph.rules.inputs, graph.rules.outputs, entry)
        return OrtSession(graph, entry, CPU.name, config)
    return OrtSession(artifact.read_graph(entry), entry, CPU.name, config)


CPU = Provider(
    name="cpu",
    on_gpu=False,
    problem=partial(ort_problem, CPU_EXECUTION),
    backend=ort_backend,
    open_graph=_open_graph,
    open_artifact=_open_artifact,
    int8_target="cpu",
    auto_rank=300,
    reopens_after_fork=True,
    runs_in_parallel=True,
)
