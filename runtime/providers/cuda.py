"""ONNX Runtime on an NVIDIA GPU: a session for each set of input shapes, which stays on the device."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec

from voirs_vocoder.runtime.artifact.manifest import GraphEntry
from voirs_vocoder.runtime.artifact.reading import Artifact
from voirs_vocoder.runtime.config import SessionConfig
from voirs_vocoder.runtime.providers.cuda_tuning import (
    CudaOptions,
    default_cuda_options,
    ort_cuda_options,
    read_cuda_tuning,
)
from voirs_vocoder.runtime.providers.device_memory import CPU_DEVICE, Device, device_name
from voirs_vocoder.runtime.providers.ort_library import (
    CPU_EXECUTION,
    Execution,
    load_fixed,
    ort_backend,
    ort_problem,
    require_ort,
)
from voirs_vocoder.runtime.providers.provider import Provider
from voirs_vocoder.runtime.providers.session import Session
from voirs_vocoder.runtime.providers.shaped_session import FixedDimensions, ShapedSession

__all__ = ["CUDA", "open_shaped"]

_CUDA_EXECUTION = Execution("cuda", "CUDAExecutionProvider", "cuda")


def open_shaped(
    graph: bytes,
    entry: GraphEntry,
    config: SessionConfig,
    hop_length: int,
    provider: str = "cuda",
    options: CudaOptions | None = None,
) -> ShapedSession:
    """Make a session that prepares a graph for each set of input shapes, when it first comes.

    Args:
        graph: The verified ONNX model.
        entry: Manifest entry of the graph.
        config: Device, memory and precision of the session.
        hop_length: Audio samples per mel frame.
        provider: `cuda`; or `cpu`, on which nothing is gained, to try the mechanism without a GPU.
        options: How every shape is computed; None takes what `SessionConfig.gpu_tuning` has for a shape, and the
            defaults for one that it lacks.

    Raises:
        InputError: `SessionConfig.gpu_tuning` is no file of choices.
        ProviderError: The provider cannot run on this machine.
    """
    on_cpu = provider == CPU_EXECUTION.provider
    execution = CPU_EXECUTION if on_cpu else _CUDA_EXECUTION
    ort = require_ort(execution)
    device = CPU_DEVICE if on_cpu else Device(provider, config.device, has_own_thread=True)
    tuned: Mapping[frozenset[tuple[str, int]], CudaOptions] = {}
    if options is None and config.gpu_tuning is not None:
        tuned = read_cuda_tuning(config.gpu_tuning).choices(
            entry.file.sha256, device_name(device), f"onnxruntime {ort.__version__}", tf32=config.tf32
        )
    usual = options or default_cuda_options(entry.precision, cuda_graphs=config.cuda_graphs)

    def open_by(usual: CudaOptions, dimensions: FixedDimensions) -> Any:
        chosen = ort_cuda_options(
            tuned.get(frozenset(dimensions.items()), usual),
            entry.precision,
            device=config.device,
            tf32=config.tf32,
            cuda_graphs=config.cuda_graphs,
        )
        return load_fixed(ort, graph, entry, execution, config, {} if on_cpu else chosen, dimensions)

    # For some lengths cuDNN has no kernel for an FP16 convolution with channels last, but one with channels first.
    other = None
    if options is None and usual.channels_last:
        other = partial(open_by, msgspec.structs.replace(usual, channels_last=False))
    return ShapedSession(
        ort,
        provider,
        entry,
        hop_length,
        device,
        partial(open_by, usual),
        config.device_budget_bytes,
        open_otherwise=other,
    )


def _opened(graph: bytes, entry: GraphEntry, config: SessionConfig, hop_length: int) -> Session:
    """A session that is prepared for one shape, so that a graph that does not run is refused when it is loaded."""
    session = open_shaped(graph, entry, config, hop_length)
    session.prepare_first(config.buckets)
    return session


def _open_graph(graph: bytes, entry: GraphEntry, config: SessionConfig) -> Session:
    return _opened(graph, entry, config, hop_length=1)


def _open_artifact(artifact: Artifact, entry: GraphEntry, config: SessionConfig) -> Session:
    return _opened(artifact.read_graph(entry), entry, config, artifact.manifest.hop_length)


CUDA = Provider(
    name="cuda",
    on_gpu=True,
    problem=partial(ort_problem, _CUDA_EXECUTION),
    backend=ort_backend,
    open_graph=_open_graph,
    open_artifact=_open_artifact,
    auto_rank=200,
    prepares_shapes=True,
    has_tf32=True,
)
