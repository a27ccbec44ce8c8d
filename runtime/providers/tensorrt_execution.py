"""TensorRT in ONNX Runtime: one engine for all shapes, built when a graph is loaded; tensors stay on the GPU."""

from __future__ import annotations

from functools import partial
from typing import Any

from voirs_vocoder.runtime.artifact.axes import axis_size
from voirs_vocoder.runtime.artifact.manifest import GraphEntry
from voirs_vocoder.runtime.artifact.reading import Artifact
from voirs_vocoder.runtime.config import SessionConfig
from voirs_vocoder.runtime.providers.device_memory import CPU_DEVICE, Device
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
from voirs_vocoder.runtime.providers.session import Session
from voirs_vocoder.runtime.providers.shaped_session import FixedDimensions, ShapedSession

__all__ = ["TENSORRT", "open_in_engine"]

_TENSORRT_EXECUTION = Execution("tensorrt", "TensorrtExecutionProvider", "tensorrt")
_MAX_FRAMES = 2048
_MAX_BATCH = 8
_USUAL_FRAMES = 256
_SHAPES = (("min", 1, 1), ("opt", 1, _USUAL_FRAMES), ("max", _MAX_BATCH, _MAX_FRAMES))


def open_in_engine(
    graph: bytes, entry: GraphEntry, config: SessionConfig, hop_length: int, provider: str = "tensorrt"
) -> ShapedSession:
    """Build an engine for all shapes, and prepare the tensors of each set of input shapes when it first comes.

    Args:
        graph: The verified ONNX model.
        entry: Manifest entry of the graph.
        config: Device and memory of the session.
        hop_length: Audio samples per mel frame.
        provider: `tensorrt`; or `cpu`, on which nothing is gained, to try the mechanism without a GPU.

    Raises:
        ProviderError: The provider cannot run on this machine, or it does not take every node.
    """
    on_cpu = provider == CPU_EXECUTION.provider
    execution = CPU_EXECUTION if on_cpu else _TENSORRT_EXECUTION
    ort = require_ort(execution)
    provider_options = {} if on_cpu else _options(entry, config, hop_length)
    loaded: list[Any] = []

    def open_any(dimensions: FixedDimensions) -> Any:
        del dimensions
        if not loaded:
            settings = session_options(ort, execution, config)
            loaded.append(load_session(ort, graph, entry, execution, settings, provider_options))
        return loaded[0]

    device = CPU_DEVICE if on_cpu else Device("cuda", config.device, has_own_thread=True)
    session = ShapedSession(
        ort,
        provider,
        entry,
        hop_length,
        device,
        open_any,
        config.device_budget_bytes,
        max_frames=_MAX_FRAMES,
        max_batch=_MAX_BATCH,
    )
    session.prepare(1, _USUAL_FRAMES)
    return session


def _options(entry: GraphEntry, config: SessionConfig, hop_length: int) -> dict[str, str]:
    shapes = {name: _profile_shapes(entry, batch, frames, hop_length) for name, batch, frames in _SHAPES}
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


def _open_graph(graph: bytes, entry: GraphEntry, config: SessionConfig) -> Session:
    return open_in_engine(graph, entry, config, hop_length=1)


def _open_artifact(artifact: Artifact, entry: GraphEntry, config: SessionConfig) -> Session:
    return open_in_engine(artifact.read_graph(entry), entry, config, artifact.manifest.hop_length)


TENSORRT = Provider(
    name="tensorrt",
    on_gpu=True,
    problem=partial(ort_problem, _TENSORRT_EXECUTION),
    backend=ort_backend,
    open_graph=_open_graph,
    open_artifact=_open_artifact,
    int8_target="tensorrt",
    prepares_shapes=True,
    builds_engines=True,
)
