"""ONNX Runtime, strictly: the provider that was asked for runs every node, or an error says why not.

ONNX Runtime itself falls back to the CPU in four ways: when a provider is not compiled in, when its library does not
load, when it does not take a node, and when it fails while running. Each is closed here.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.artifact.axes import axis_size
from voirs_vocoder.runtime.artifact.manifest import GraphEntry
from voirs_vocoder.runtime.artifact.split_graph import SplitGraph
from voirs_vocoder.runtime.config import SessionConfig
from voirs_vocoder.runtime.errors import ProviderError
from voirs_vocoder.runtime.providers.session import bound_by_copying

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["ORT_PROVIDERS", "OrtSession", "import_onnxruntime", "ort_provider_problem"]

ORT_PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}

_QUIET = 4  # fatal only: what ONNX Runtime would print is raised as an error of ours
# It puts integer convolutions into channels-last form, with a transposition before and after each pair: without it
# HiFi-GAN V1 runs 1.1 times as fast (onnxruntime 1.31.1, AVX512-VNNI).
_SLOW_OPTIMIZERS = ["NhwcTransformer"]
# They would read weights that a split graph does not hold, to fold into them what an export has folded already.
_WEIGHT_READING_OPTIMIZERS = ["ConvBNFusion", "ConvMulFusion", "MatMulBatchNormalizationFusion"]
_WEIGHTS_FOLDER = Path(__file__).parent.parent
_PROVIDER_LIBRARIES = {"cuda": "cuda", "tensorrt": "tensorrt"}


def import_onnxruntime() -> Any:
    """The module `onnxruntime`, silenced.

    Raises:
        ProviderError: It is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ProviderError(
            "onnxruntime is not installed; pip install 'voirs-vocoder[cpu]', or [gpu] for CUDA, never both"
        ) from error
    onnxruntime.set_default_logger_severity(_QUIET)
    return onnxruntime


def ort_provider_problem(provider: str) -> str | None:
    """Why a provider cannot run here, with the remedy; None when nothing speaks against it.

    Args:
        provider: A key of `ORT_PROVIDERS`.
    """
    ort = import_onnxruntime()
    if ORT_PROVIDERS[provider] not in ort.get_available_providers():
        return (
            f"this onnxruntime {ort.__version__} was built without it; "
            "pip uninstall onnxruntime, then pip install 'voirs-vocoder[gpu]'"
        )
    if provider == "cpu":
        return None
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "there is no NVIDIA driver on this machine (libcuda.so.1 is missing); use provider cpu"
    if hasattr(ort, "preload_dlls"):
        ort.preload_dlls()
    name = f"libonnxruntime_providers_{_PROVIDER_LIBRARIES[provider]}.so"
    library = Path(ort.__file__).parent / "capi" / name
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        return f"{name} does not load ({error}); install the CUDA, cuDNN or TensorRT libraries that it names"
    return None


class OrtSession:
    """A graph in ONNX Runtime on one execution provider. See `Session`."""

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
            graph: The ONNX model, as verified; in two parts for the provider `cpu` alone.
            entry: Its manifest entry.
            provider: A key of `ORT_PROVIDERS`.
            config: Threads and the like.
            hop_length: Audio samples per mel frame; it matters to the provider `tensorrt` alone.

        Raises:
            ProviderError: The provider cannot run here, or does not take every node.
        """
        problem = ort_provider_problem(provider)
        if problem:
            raise ProviderError(f"provider {provider!r} cannot run: {problem}")
        ort = import_onnxruntime()
        self.provider = provider
        self.backend = f"onnxruntime {ort.__version__}"
        self.max_frames = _TENSORRT_MAX_FRAMES if provider == "tensorrt" else None
        options = _session_options(ort, provider, config)
        # ONNX Runtime works with these very arrays, so they live as long as the session.
        self._weights = _shared_weights(ort, options, graph) if isinstance(graph, SplitGraph) else []
        try:
            self._session = ort.InferenceSession(
                graph.skeleton if isinstance(graph, SplitGraph) else graph,
                options,
                providers=[(ORT_PROVIDERS[provider], _provider_options(provider, entry, config, hop_length))],
                enable_fallback=0,
                disabled_optimizers=_disabled_optimizers(graph, entry),
            )
        except Exception as error:  # pybind11 raises classes of its own below Exception
            raise ProviderError(
                f"provider {provider!r} does not load {entry.file.path}: {_one_line(error)}"
            ) from error
        self._session.disable_fallback()
        # Kept by the session for the fallback that is off; of a large model it is a fifth of the memory.
        self._session._model_bytes = None
        if self._session.get_providers()[0] != ORT_PROVIDERS[provider]:
            raise ProviderError(
                f"provider {provider!r} was asked for, onnxruntime chose {self._session.get_providers()}; refused"
            )
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
        """See `Session.run`."""
        try:
            return dict(zip(self._outputs, self._session.run(None, dict(inputs)), strict=True))
        except Exception as error:  # as above
            raise ProviderError(f"provider {self.provider!r} failed: {_one_line(error)}") from error

    def bind(
        self, inputs: Mapping[str, NDArray[np.generic]], outputs: Mapping[str, NDArray[np.float32]]
    ) -> Callable[[], None]:
        """See `Session.bind`."""
        if self.provider != "cpu":
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
                raise ProviderError(f"provider 'cpu' failed: {_one_line(error)}") from error

        return run

    def close(self) -> None:
        """See `Session.close`."""
        del self._session
        self._weights = []


def _session_options(ort: Any, provider: str, config: SessionConfig) -> onnxruntime.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = _QUIET
    if config.threads is not None:
        options.intra_op_num_threads = config.threads
    # Plans made for one input length are useless, and kept, when every utterance has another.
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(config.spinning)))
    if provider != "cpu":
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return options


def _shared_weights(ort: Any, options: onnxruntime.SessionOptions, graph: SplitGraph) -> list[Any]:
    values = []
    for name, weight in graph.weights.items():
        values.append(ort.OrtValue.ortvalue_from_numpy(weight))
        options.add_initializer(name, values[-1])
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(_WEIGHTS_FOLDER)
    )
    return values


def _disabled_optimizers(graph: bytes | SplitGraph, entry: GraphEntry) -> list[str] | None:
    if isinstance(graph, SplitGraph):
        return _WEIGHT_READING_OPTIMIZERS
    return _SLOW_OPTIMIZERS if entry.precision == "int8" else None


def _provider_options(
    provider: str, entry: GraphEntry, config: SessionConfig, hop_length: int
) -> dict[str, str]:
    if provider == "cpu":
        return {}
    if provider == "cuda":
        # The exhaustive search would run again for each new length.
        return {"device_id": str(config.device), "cudnn_conv_algo_search": "HEURISTIC"}
    shapes = {
        name: _profile_shapes(entry, batch, frames, hop_length) for name, batch, frames in _TENSORRT_SHAPES
    }
    return {
        "device_id": str(config.device),
        **{f"trt_profile_{name}_shapes": text for name, text in shapes.items()},
    }


_TENSORRT_MAX_FRAMES = 2048
_TENSORRT_SHAPES = (("min", 1, 1), ("opt", 1, 256), ("max", 8, _TENSORRT_MAX_FRAMES))


def _profile_shapes(entry: GraphEntry, batch: int, frames: int, hop_length: int) -> str:
    return ",".join(
        f"{tensor.name}:"
        + "x".join(
            str(axis_size(axis, batch=batch, frames=frames, hop_length=hop_length)) for axis in tensor.shape
        )
        for tensor in entry.inputs
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:400] or type(error).__name__
