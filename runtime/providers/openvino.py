"""OpenVINO as a second, independent backend for the same graphs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.artifact.manifest import GraphEntry
from voirs_vocoder.runtime.config import SessionConfig
from voirs_vocoder.runtime.errors import ProviderError
from voirs_vocoder.runtime.providers.session import bound_by_copying

__all__ = ["OpenVinoSession"]


class OpenVinoSession:
    """A graph in OpenVINO on the CPU, at full precision. See `Session`."""

    def __init__(self, graph: bytes, entry: GraphEntry, config: SessionConfig) -> None:
        """Load a graph.

        Args:
            graph: The ONNX model, as verified.
            entry: Its manifest entry.
            config: Threads.

        Raises:
            ProviderError: OpenVINO is not installed or does not take the graph.
        """
        try:
            import openvino
        except ImportError as error:
            raise ProviderError(
                "provider 'openvino' cannot run: it is not installed; pip install 'voirs-vocoder[openvino]'"
            ) from error
        self.provider = "openvino"
        self.max_frames: int | None = None
        self.backend = f"openvino {openvino.__version__.split('-')[0]}"
        # On processors with BF16 the default would round every activation to 8 bits of mantissa.
        properties: dict[str, str | int] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        if config.threads is not None:
            properties["INFERENCE_NUM_THREADS"] = config.threads
        try:
            core = openvino.Core()
            model = core.read_model(graph, b"")
            self._compiled = core.compile_model(model, "CPU", properties)
            self._request = self._compiled.create_infer_request()
        except RuntimeError as error:
            reason = " ".join(str(error).split())[-300:]
            raise ProviderError(f"provider 'openvino' does not load {entry.file.path}: {reason}") from error
        self._outputs = [tensor.name for tensor in entry.outputs]
        self._lock = threading.Lock()

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
        """See `Session.run`."""
        try:
            with self._lock:
                results = self._request.infer(dict(inputs), share_inputs=True)
            return {name: results[name] for name in self._outputs}
        except RuntimeError as error:
            raise ProviderError(
                f"provider 'openvino' failed: {' '.join(str(error).split())[-300:]}"
            ) from error

    def bind(
        self, inputs: Mapping[str, NDArray[np.generic]], outputs: Mapping[str, NDArray[np.float32]]
    ) -> Callable[[], None]:
        """See `Session.bind`. Runs wait for each other."""
        return bound_by_copying(self, inputs, outputs)

    def close(self) -> None:
        """See `Session.close`."""
        del self._request, self._compiled
