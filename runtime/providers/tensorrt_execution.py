"""TensorRT and TensorRT for RTX in ONNX Runtime: an engine for each set of input shapes, which stays on the GPU."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from voirs_vocoder.runtime.artifact.manifest import GraphEntry
from voirs_vocoder.runtime.artifact.reading import Artifact
from voirs_vocoder.runtime.config import SessionConfig
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.providers.device_memory import Device
from voirs_vocoder.runtime.providers.ort_library import (
    Execution,
    load_fixed,
    ort_backend,
    ort_problem,
    require_ort,
)
from voirs_vocoder.runtime.providers.ort_plugin import Plugin, plugin_backend, plugin_devices, plugin_problem
from voirs_vocoder.runtime.providers.provider import Provider
from voirs_vocoder.runtime.providers.session import Session
from voirs_vocoder.runtime.providers.shaped_session import FixedDimensions, ShapedSession
from voirs_vocoder.runtime.text import printable

__all__ = ["TENSORRT", "TENSORRT_RTX", "EngineOptions", "open_in_engines"]

_TENSORRT_EXECUTION = Execution("tensorrt", "TensorrtExecutionProvider", "tensorrt")
_HASH_DIGITS = 16
_RTX_EXECUTION = Execution("tensorrt-rtx", "NvTensorRTRTXExecutionProvider", "nv_tensorrt_rtx")
_RTX_PLUGIN = Plugin(
    module="onnxruntime_ep_nv_tensorrt_rtx",
    package="onnxruntime-ep-nv-tensorrt-rtx-cu13",
    extra="tensorrt-rtx-ep",
    least_onnxruntime=(1, 25),  # the first whose values on a GPU are allocated by a plugin
    gpus="GPUs of compute capability 8.6, 8.9, and 12.0 or newer",
)


EngineOptions = Callable[[GraphEntry, SessionConfig, Path | None], dict[str, str]]
"""From a graph's manifest entry, a session's configuration and the folder of an engine's files to the options of the
execution provider."""


def open_in_engines(
    ort: Any,
    execution: Execution,
    options: EngineOptions,
    graph: bytes,
    entry: GraphEntry,
    config: SessionConfig,
    hop_length: int,
    *,
    device: Device | None = None,
    devices: Sequence[Any] = (),
) -> ShapedSession:
    """Make a session that builds an engine for each set of input shapes, when it first comes.

    Args:
        ort: The module `onnxruntime`.
        execution: The execution provider.
        options: Options of the execution provider.
        graph: The verified ONNX model.
        entry: Manifest entry of the graph.
        config: Device, memory, CUDA graphs and engine cache of the session.
        hop_length: Audio samples per mel frame.
        device: Device that inputs and outputs stay on; None takes the GPU of `config`.
        devices: Devices of an execution provider that was registered as a plugin, each an `onnxruntime.OrtEpDevice`;
            empty for one that ONNX Runtime was built with.

    Returns:
        The session, prepared for one shape, so that a graph that does not run is refused when it is loaded.

    Raises:
        DeviceMemoryError: The device has too little memory.
        InputError: The folder `SessionConfig.engine_cache` cannot be made.
        ProviderError: The execution provider does not take every node, or the graph does not run.
    """

    def open_fixed(dimensions: FixedDimensions) -> Any:
        chosen = options(entry, config, _cache_folder(config.engine_cache, entry, dimensions))
        return load_fixed(ort, graph, entry, execution, config, chosen, dimensions, devices=devices)

    session = ShapedSession(
        ort,
        execution.provider,
        entry,
        hop_length,
        device or Device("cuda", config.device, has_own_thread=True),
        open_fixed,
        config.device_budget_bytes,
    )
    session.prepare_first(config.buckets)
    return session


def _tensorrt_options(entry: GraphEntry, config: SessionConfig, folder: Path | None) -> dict[str, str]:
    # TensorRT uses a precision only where it is enabled, and refuses a graph that states another one. Its options are
    # True or False in words, unlike those of the other execution providers.
    enabled = {
        "trt_fp16_enable": entry.precision == "fp16",
        "trt_int8_enable": entry.precision == "int8",
        "trt_cuda_graph_enable": config.cuda_graphs,
        "trt_engine_cache_enable": folder is not None,
        "trt_timing_cache_enable": folder is not None,
    }
    options = {"device_id": str(config.device)} | {name: str(value) for name, value in enabled.items()}
    if folder is not None:
        options |= {"trt_engine_cache_path": str(folder), "trt_timing_cache_path": str(folder)}
    return options


def _rtx_options(entry: GraphEntry, config: SessionConfig, folder: Path | None) -> dict[str, str]:
    del entry  # TensorRT for RTX takes every precision from the graph
    # Memory that a run allocates for itself would not be where the recorded kernels expect it.
    recorded = str(int(config.cuda_graphs))
    options = {"enable_cuda_graph": recorded, "nv_persistent_context_memory": recorded}
    return options if folder is None else options | {"nv_runtime_cache_path": str(folder)}


def _cache_folder(cache: Path | str | None, entry: GraphEntry, dimensions: FixedDimensions) -> Path | None:
    """The folder of one graph in one shape: the execution providers name their files by neither weights nor shapes."""
    if cache is None:
        return None
    shape = "-".join(f"{name}{size}" for name, size in sorted(dimensions.items())) or "fixed"
    folder = Path(cache) / entry.file.sha256[:_HASH_DIGITS] / re.sub(r"[^a-z0-9-]", "_", shape)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"engine_cache must be a folder that can be written, got {cache}: {printable(str(error))}; choose "
            "another one"
        ) from error
    return folder


def _open_tensorrt(graph: bytes, entry: GraphEntry, config: SessionConfig, hop_length: int = 1) -> Session:
    ort = require_ort(_TENSORRT_EXECUTION)
    return open_in_engines(ort, _TENSORRT_EXECUTION, _tensorrt_options, graph, entry, config, hop_length)


def _open_rtx(graph: bytes, entry: GraphEntry, config: SessionConfig, hop_length: int = 1) -> Session:
    ort, devices = plugin_devices(_RTX_EXECUTION, _RTX_PLUGIN, config.device)
    return open_in_engines(
        ort, _RTX_EXECUTION, _rtx_options, graph, entry, config, hop_length, devices=devices
    )


def _open_tensorrt_artifact(artifact: Artifact, entry: GraphEntry, config: SessionConfig) -> Session:
    return _open_tensorrt(artifact.read_graph(entry), entry, config, artifact.manifest.hop_length)


def _open_rtx_artifact(artifact: Artifact, entry: GraphEntry, config: SessionConfig) -> Session:
    return _open_rtx(artifact.read_graph(entry), entry, config, artifact.manifest.hop_length)


TENSORRT = Provider(
    name="tensorrt",
    on_gpu=True,
    problem=partial(ort_problem, _TENSORRT_EXECUTION),
    backend=ort_backend,
    open_graph=_open_tensorrt,
    open_artifact=_open_tensorrt_artifact,
    int8_target="tensorrt",
    prepares_shapes=True,
    builds_engines=True,
)

TENSORRT_RTX = Provider(
    name="tensorrt-rtx",
    on_gpu=True,
    problem=partial(plugin_problem, _RTX_EXECUTION, _RTX_PLUGIN),
    backend=partial(plugin_backend, _RTX_PLUGIN),
    open_graph=_open_rtx,
    open_artifact=_open_rtx_artifact,
    int8_target="tensorrt",
    prepares_shapes=True,
)
