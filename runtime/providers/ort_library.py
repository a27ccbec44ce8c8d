"""The library ONNX Runtime, strictly: a graph loads on the requested execution provider alone, or an error states why.

ONNX Runtime itself falls back to the CPU in four ways: when a provider is not compiled in, when its library does not
load, when it does not take a node, and when it fails while running. Each is closed here.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voirs_vocoder.runtime.artifact.manifest import GraphEntry
from voirs_vocoder.runtime.artifact.split_graph import SplitGraph
from voirs_vocoder.runtime.config import SessionConfig, default_threads
from voirs_vocoder.runtime.errors import ProviderError
from voirs_vocoder.runtime.optional import import_optional, install_command
from voirs_vocoder.runtime.providers.ort_errors import explained, leaves_nodes_to_cpu, provider_error

if TYPE_CHECKING:
    import onnxruntime

__all__ = [
    "CPU_EXECUTION",
    "Execution",
    "driver_problem",
    "import_onnxruntime",
    "load_fixed",
    "load_session",
    "ort_backend",
    "ort_problem",
    "require_ort",
    "session_options",
]

_MAX_NAMED = 8
_QUIET = 4  # fatal only: what ONNX Runtime would print is raised as an error of ours
# It puts integer convolutions into channels-last form, with a transposition before and after each pair: without it
# HiFi-GAN V1 runs 1.1 times as fast (onnxruntime 1.31.1, AVX512-VNNI).
_SLOW_OPTIMIZERS = ["NhwcTransformer"]
# They would read weights that a split graph does not hold, to fold into them what an export has folded already.
_WEIGHT_READING_OPTIMIZERS = ["ConvBNFusion", "ConvMulFusion", "MatMulBatchNormalizationFusion"]


@dataclass(frozen=True)
class Execution:
    """The execution provider of ONNX Runtime that implements one of our providers.

    Attributes:
        provider: Name of our provider, such as `cuda`.
        ort_name: Name of the execution provider in ONNX Runtime.
        library: Last part of the name of its shared library; None for the CPU, which is compiled into ONNX Runtime.
    """

    provider: str
    ort_name: str
    library: str | None


CPU_EXECUTION = Execution("cpu", "CPUExecutionProvider", None)
"""ONNX Runtime on the CPU."""


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


def ort_backend() -> str | None:
    """Name and version of the library, such as `onnxruntime 1.31.1`; None when it is not installed."""
    try:
        return f"onnxruntime {import_onnxruntime().__version__}"
    except ProviderError:
        return None


def ort_problem(execution: Execution) -> str | None:
    """Find out why an execution provider cannot run on this machine.

    Args:
        execution: The execution provider.

    Returns:
        The reason with the remedy; None when nothing is known against it.
    """
    try:
        ort = import_onnxruntime()
    except ProviderError as error:
        return str(error)
    if execution.ort_name not in ort.get_available_providers():
        return (
            f"this onnxruntime {ort.__version__} was built without it; "
            f"pip uninstall onnxruntime, then {install_command('gpu')}"
        )
    if execution.library is None:
        return None
    problem = driver_problem()
    if problem is not None:
        return problem
    if hasattr(ort, "preload_dlls"):
        ort.preload_dlls()
    name = f"libonnxruntime_providers_{execution.library}.so"
    try:
        ctypes.CDLL(str(Path(ort.__file__).parent / "capi" / name))
    except OSError as error:
        return f"{explained(error)}: {name} does not load"
    return None


def driver_problem() -> str | None:
    """Why no NVIDIA GPU can be used on this machine, with the remedy; None where its driver is installed."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "there is no NVIDIA driver on this machine (libcuda.so.1 is missing); use provider cpu"
    return None


def require_ort(execution: Execution) -> Any:
    """The module `onnxruntime`, which can run an execution provider on this machine.

    Args:
        execution: The execution provider.

    Raises:
        ProviderError: It cannot.
    """
    problem = ort_problem(execution)
    if problem:
        raise ProviderError(f"provider {execution.provider!r} cannot run: {problem}")
    return import_onnxruntime()


def session_options(ort: Any, execution: Execution, config: SessionConfig) -> onnxruntime.SessionOptions:
    """Options of a session that leaves no node to another execution provider.

    Args:
        ort: The module `onnxruntime`.
        execution: The execution provider.
        config: Threads and spinning of the session.
    """
    options = ort.SessionOptions()
    options.log_severity_level = _QUIET
    threads = config.threads or default_threads()
    if threads is not None:
        options.intra_op_num_threads = threads
    # Plans made for one input length are useless, and kept, when every utterance has another.
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(config.spinning)))
    if execution.library is not None:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return options


def load_session(
    ort: Any,
    graph: bytes | SplitGraph,
    entry: GraphEntry,
    execution: Execution,
    options: onnxruntime.SessionOptions,
    provider_options: Mapping[str, str],
    *,
    devices: Sequence[Any] = (),
) -> Any:
    """Load a graph all of whose nodes run on one execution provider.

    Args:
        ort: The module `onnxruntime`.
        graph: The verified ONNX model.
        entry: Manifest entry of the graph.
        execution: The execution provider.
        options: Options of the session.
        provider_options: Options of the execution provider.
        devices: Devices of an execution provider that was registered as a plugin, each an `onnxruntime.OrtEpDevice`;
            empty for one that ONNX Runtime was built with.

    Returns:
        An `onnxruntime.InferenceSession`.

    Raises:
        ProviderError: The execution provider does not take every node, or ONNX Runtime failed.
    """
    try:
        if devices:
            options.add_provider_for_devices(list(devices), dict(provider_options))
        session = ort.InferenceSession(
            graph.skeleton if isinstance(graph, SplitGraph) else graph,
            options,
            providers=None if devices else [(execution.ort_name, dict(provider_options))],
            enable_fallback=0,
            disabled_optimizers=_disabled_optimizers(graph, entry),
        )
    except Exception as error:  # pybind11 raises classes of its own below Exception
        left = ""
        if isinstance(graph, bytes) and leaves_nodes_to_cpu(error):
            unrecorded = {name: value for name, value in provider_options.items() if "cuda_graph" not in name}
            named = None if devices else [(execution.ort_name, unrecorded)]
            left = _nodes_left_to_cpu(ort, graph, execution, options, named)
        raise provider_error(
            error, f"provider {execution.provider!r} does not load {entry.file.path}{left}"
        ) from error
    session.disable_fallback()
    # Kept by the session for the fallback that is off; of a large model it is a fifth of the memory.
    session._model_bytes = None
    if session.get_providers()[0] != execution.ort_name:
        raise ProviderError(
            f"provider {execution.provider!r} was requested, onnxruntime chose {session.get_providers()}; refused"
        )
    return session


def load_fixed(
    ort: Any,
    graph: bytes,
    entry: GraphEntry,
    execution: Execution,
    config: SessionConfig,
    provider_options: Mapping[str, str],
    dimensions: Mapping[str, int],
    *,
    devices: Sequence[Any] = (),
) -> Any:
    """Load a graph for one set of input shapes, all of whose nodes run on one execution provider.

    Args:
        ort: The module `onnxruntime`.
        graph: The verified ONNX model.
        entry: Manifest entry of the graph.
        execution: The execution provider.
        config: Threads and spinning of the session.
        provider_options: Options of the execution provider.
        dimensions: Sizes of the graph's dynamic axes by their names, such as `{"batch": 1, "frames": 256}`.
        devices: Devices of an execution provider that was registered as a plugin, each an `onnxruntime.OrtEpDevice`;
            empty for one that ONNX Runtime was built with.

    Returns:
        An `onnxruntime.InferenceSession`.

    Raises:
        ProviderError: The execution provider does not take every node, or ONNX Runtime failed.
    """
    options = session_options(ort, execution, config)
    for name, size in dimensions.items():
        options.add_free_dimension_override_by_name(name, size)
    return load_session(ort, graph, entry, execution, options, provider_options, devices=devices)


def _nodes_left_to_cpu(
    ort: Any,
    graph: bytes,
    execution: Execution,
    options: onnxruntime.SessionOptions,
    providers: Sequence[tuple[str, Mapping[str, str]]] | None,
) -> str:
    """Name the nodes that a provider does not take, which ONNX Runtime's error does not; empty where it fails again."""
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "0")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    try:
        session = ort.InferenceSession(graph, options, providers=providers)
        nodes = [
            f"{node.op_type} {node.name}"
            for part in session.get_provider_graph_assignment_info()
            if part.ep_name != execution.ort_name
            for node in part.get_nodes()
        ]
    except Exception:  # as above; releases before 1.24 do not record it
        return ""
    more = f" and {len(nodes) - _MAX_NAMED} more" if len(nodes) > _MAX_NAMED else ""
    return f", of which it does not take {', '.join(nodes[:_MAX_NAMED])}{more}" if nodes else ""


def _disabled_optimizers(graph: bytes | SplitGraph, entry: GraphEntry) -> list[str] | None:
    if isinstance(graph, SplitGraph):
        return _WEIGHT_READING_OPTIMIZERS
    return None if entry.facts.quantized_convolutions is None else _SLOW_OPTIMIZERS
