"""ONNX Runtime, strictly: the requested provider runs every node, or an error states why not.

ONNX Runtime itself falls back to the CPU in four ways: when a provider is not compiled in, when its library does not
load, when it does not take a node, and when it fails while running. Each is closed here.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.artifact.axes import axis_size
from voirs_vocoder.runtime.artifact.declared_tensors import require_declared
from voirs_vocoder.runtime.artifact.manifest import GraphEntry, Target
from voirs_vocoder.runtime.artifact.reading import Artifact
from voirs_vocoder.runtime.artifact.split_graph import SplitGraph
from voirs_vocoder.runtime.config import SessionConfig, default_threads
from voirs_vocoder.runtime.errors import ProviderError
from voirs_vocoder.runtime.optional import import_optional, install_command
from voirs_vocoder.runtime.providers.device_memory import CPU_DEVICE, Device
from voirs_vocoder.runtime.providers.ort_errors import explained
from voirs_vocoder.runtime.providers.provider import Provider
from voirs_vocoder.runtime.providers.session import Session, bound_by_copying
from voirs_vocoder.runtime.providers.shaped_session import FixedDimensions, ShapedSession

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["CPU", "CUDA", "TENSORRT", "OrtSession", "import_onnxruntime", "open_shaped"]

_QUIET = 4  # fatal only: what ONNX Runtime would print is raised as an error of ours
# It puts integer convolutions into channels-last form, with a transposition before and after each pair: without it
# HiFi-GAN V1 runs 1.1 times as fast (onnxruntime 1.31.1, AVX512-VNNI).
_SLOW_OPTIMIZERS = ["NhwcTransformer"]
# They would read weights that a split graph does not hold, to fold into them what an export has folded already.
_WEIGHT_READING_OPTIMIZERS = ["ConvBNFusion", "ConvMulFusion", "MatMulBatchNormalizationFusion"]
_WEIGHTS_FOLDER = Path(__file__).parent.parent
# Reading a graph in pieces pays off for large graphs only.
_SPLIT_FROM_BYTES = 8 << 20
_TENSORRT_MAX_FRAMES = 2048
_TENSORRT_MAX_BATCH = 8
_TENSORRT_SHAPES = (("min", 1, 1), ("opt", 1, 256), ("max", _TENSORRT_MAX_BATCH, _TENSORRT_MAX_FRAMES))


@dataclass(frozen=True)
class _ExecutionProvider:
    """The execution provider of ONNX Runtime that implements one of our providers.

    Attributes:
        ort_name: Name of the execution provider in ONNX Runtime.
        library: Last part of the name of its shared library; None for the CPU, which is compiled into ONNX Runtime.
        options: Returns its options, given a graph's entry, the session's configuration and the hop length in samples.
        max_frames: Longest input in mel frames; None for any.
        max_batch: Most rows of one run; None for any number.
    """

    ort_name: str
    library: str | None
    options: Callable[[GraphEntry, SessionConfig, int], dict[str, str]]
    max_frames: int | None = None
    max_batch: int | None = None


def import_onnxruntime() -> Any:
    """The module `onnxruntime`, silenced.

    Raises:
        ProviderError: onnxruntime is not installed.
    """
    onnxruntime = import_optional(
        "onnxruntime", purpose="running a graph", extra="cpu", hint=", or [gpu] for CUDA, never both"
    )
    onnxruntime.set_default_logger_severity(_QUIET)
    return onnxruntime


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
            provider: `cpu` or `tensorrt`; for `cuda` see `open_shaped`.
            config: Threads, device and spinning of the session.
            hop_length: Audio samples per mel frame; used by the provider `tensorrt` only.

        Raises:
            ProviderError: The provider cannot run on this machine, or it does not take every node.
        """
        problem = _problem(provider)
        if problem:
            raise ProviderError(f"provider {provider!r} cannot run: {problem}")
        ort = import_onnxruntime()
        execution = _EXECUTION_PROVIDERS[provider]
        self.provider = provider
        self.backend = f"onnxruntime {ort.__version__}"
        self.max_frames = execution.max_frames
        self.max_batch = execution.max_batch
        options = _session_options(ort, provider, config)
        # ONNX Runtime works with these very arrays, so they live as long as the session.
        self._weights = _shared_weights(ort, options, graph) if isinstance(graph, SplitGraph) else []
        self._session = _loaded(
            ort, graph, entry, provider, options, execution.options(entry, config, hop_length)
        )
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
        """Run the graph once; see `Session.run` for arguments, result and errors."""
        try:
            return dict(zip(self._outputs, self._session.run(None, dict(inputs)), strict=True))
        except Exception as error:  # as above
            raise ProviderError(f"provider {self.provider!r} failed: {explained(error)}") from error

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
                raise ProviderError(f"provider 'cpu' failed: {explained(error)}") from error

        return run

    def close(self) -> None:
        """Free the graph and its weights; the session cannot run afterwards."""
        del self._session
        self._weights = []


def _loaded(
    ort: Any,
    graph: bytes | SplitGraph,
    entry: GraphEntry,
    provider: str,
    options: onnxruntime.SessionOptions,
    provider_options: Mapping[str, str],
) -> Any:
    """An `onnxruntime.InferenceSession` all of whose nodes run on the provider."""
    execution = _EXECUTION_PROVIDERS[provider]
    try:
        session = ort.InferenceSession(
            graph.skeleton if isinstance(graph, SplitGraph) else graph,
            options,
            providers=[(execution.ort_name, dict(provider_options))],
            enable_fallback=0,
            disabled_optimizers=_disabled_optimizers(graph, entry),
        )
    except Exception as error:  # pybind11 raises classes of its own below Exception
        raise ProviderError(
            f"provider {provider!r} does not load {entry.file.path}: {explained(error)}"
        ) from error
    session.disable_fallback()
    # Kept by the session for the fallback that is off; of a large model it is a fifth of the memory.
    session._model_bytes = None
    if session.get_providers()[0] != execution.ort_name:
        raise ProviderError(
            f"provider {provider!r} was requested, onnxruntime chose {session.get_providers()}; refused"
        )
    return session


def _problem(provider: str) -> str | None:
    """Why a provider cannot run on this machine, with the remedy; None when nothing is known against it."""
    try:
        ort = import_onnxruntime()
    except ProviderError as error:
        return str(error)
    execution = _EXECUTION_PROVIDERS[provider]
    if execution.ort_name not in ort.get_available_providers():
        return (
            f"this onnxruntime {ort.__version__} was built without it; "
            f"pip uninstall onnxruntime, then {install_command('gpu')}"
        )
    if execution.library is None:
        return None
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "there is no NVIDIA driver on this machine (libcuda.so.1 is missing); use provider cpu"
    if hasattr(ort, "preload_dlls"):
        ort.preload_dlls()
    name = f"libonnxruntime_providers_{execution.library}.so"
    try:
        ctypes.CDLL(str(Path(ort.__file__).parent / "capi" / name))
    except OSError as error:
        return f"{name} does not load ({error}); install the CUDA, cuDNN or TensorRT libraries that it names"
    return None


def _backend() -> str | None:
    try:
        return f"onnxruntime {import_onnxruntime().__version__}"
    except ProviderError:
        return None


def _session_options(ort: Any, provider: str, config: SessionConfig) -> onnxruntime.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = _QUIET
    threads = config.threads or default_threads()
    if threads is not None:
        options.intra_op_num_threads = threads
    # Plans made for one input length are useless, and kept, when every utterance has another.
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(config.spinning)))
    if provider != CPU.name:
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
    return None if entry.facts.quantized_convolutions is None else _SLOW_OPTIMIZERS


def _cpu_options(entry: GraphEntry, config: SessionConfig, hop_length: int) -> dict[str, str]:
    del entry, config, hop_length
    return {}


def _cuda_options(entry: GraphEntry, config: SessionConfig, hop_length: int) -> dict[str, str]:
    """Options of the CUDA provider: measured on an H200 with onnxruntime 1.31.1 and cuDNN 9.19 (`make gpu`).

    The heuristic choice of algorithms was never slower than the exhaustive search, which takes seconds per shape and
    chose kernels ten times as slow in FP16. Channels-last tensors halve the time of FP16 graphs, whose few FP32 parts
    then need TF32, since cuDNN has slow kernels only for channels-last FP32; FP32 graphs keep the channels first.
    """
    del hop_length
    half = entry.precision != "fp32"
    return {
        "device_id": str(config.device),
        "cudnn_conv_algo_search": "HEURISTIC",
        "prefer_nhwc": str(int(half)),
        "use_tf32": str(int(half or config.tf32)),
        "enable_cuda_graph": str(int(config.cuda_graphs)),
        "arena_extend_strategy": "kSameAsRequested",
    }


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


def open_shaped(
    graph: bytes, entry: GraphEntry, config: SessionConfig, hop_length: int, provider: str = "cuda"
) -> ShapedSession:
    """Make a session that prepares a graph for each set of input shapes, when it first comes.

    Args:
        graph: The verified ONNX model.
        entry: Manifest entry of the graph.
        config: Device, memory and precision of the session.
        hop_length: Audio samples per mel frame.
        provider: `cuda`; or `cpu`, on which nothing is gained, to try the mechanism without a GPU.

    Raises:
        ProviderError: The provider cannot run on this machine.
    """
    problem = _problem(provider)
    if problem:
        raise ProviderError(f"provider {provider!r} cannot run: {problem}")
    ort = import_onnxruntime()
    provider_options = _EXECUTION_PROVIDERS[provider].options(entry, config, hop_length)

    def open_fixed(dimensions: FixedDimensions) -> Any:
        options = _session_options(ort, provider, config)
        for name, size in dimensions.items():
            options.add_free_dimension_override_by_name(name, size)
        return _loaded(ort, graph, entry, provider, options, provider_options)

    device = CPU_DEVICE if provider == CPU.name else Device(provider, config.device)
    return ShapedSession(ort, provider, entry, hop_length, device, open_fixed, config.device_budget_bytes)


def _open_graph(provider: str, graph: bytes, entry: GraphEntry, config: SessionConfig) -> Session:
    if provider == CUDA.name:
        return open_shaped(graph, entry, config, hop_length=1)
    return OrtSession(graph, entry, provider, config)


def _open_artifact(provider: str, artifact: Artifact, entry: GraphEntry, config: SessionConfig) -> Session:
    if provider == CUDA.name:
        return open_shaped(artifact.read_graph(entry), entry, config, artifact.manifest.hop_length)
    if (provider, entry.precision) == (CPU.name, "fp32") and entry.file.size_bytes >= _SPLIT_FROM_BYTES:
        graph = artifact.read_split(entry.file)
        require_declared(graph.rules.inputs, graph.rules.outputs, entry)
        return OrtSession(graph, entry, provider, config)
    return OrtSession(artifact.read_graph(entry), entry, provider, config, artifact.manifest.hop_length)


_EXECUTION_PROVIDERS = {
    "cpu": _ExecutionProvider("CPUExecutionProvider", None, _cpu_options),
    "cuda": _ExecutionProvider("CUDAExecutionProvider", "cuda", _cuda_options),
    "tensorrt": _ExecutionProvider(
        "TensorrtExecutionProvider", "tensorrt", _tensorrt_options, _TENSORRT_MAX_FRAMES, _TENSORRT_MAX_BATCH
    ),
}


def _provider(
    name: str, int8_target: Target | None, auto_rank: int | None, *, builds_engines: bool = False
) -> Provider:
    return Provider(
        name=name,
        on_gpu=_EXECUTION_PROVIDERS[name].library is not None,
        problem=partial(_problem, name),
        backend=_backend,
        open_graph=partial(_open_graph, name),
        open_artifact=partial(_open_artifact, name),
        int8_target=int8_target,
        auto_rank=auto_rank,
        prepares_shapes=_EXECUTION_PROVIDERS[name].library is not None,
        builds_engines=builds_engines,
    )


CPU = _provider("cpu", "cpu", 300)
CUDA = _provider("cuda", None, 200)
TENSORRT = _provider("tensorrt", "tensorrt", None, builds_engines=True)
