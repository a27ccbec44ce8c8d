"""Who competes in the project's benchmark: one callable each, all on the same mel."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from tests.benchmark.models import BenchModel
from voirs_vocoder.runtime import Artifact, SessionConfig, Vocoder
from voirs_vocoder.runtime.artifact.manifest import Int8Target, Precision
from voirs_vocoder.runtime.drivers import open_driver
from voirs_vocoder.runtime.providers.onnxruntime import OrtSession
from voirs_vocoder.runtime.providers.openvino import OpenVinoSession

__all__ = ["Contender", "bare", "contenders", "our_session"]

Contender = Callable[[], object]


def contenders(model: BenchModel, mel: NDArray[np.float32], threads: int) -> dict[str, Contender]:
    """Everybody for one model.

    Args:
        model: Of which all are made.
        mel: Float32 [n_mels, frames], within one window.
        threads: Of every backend; torch's number of threads is set for the whole process.

    Returns:
        `stock`: torch.onnx.export alone, in ONNX Runtime with its defaults. `pytorch`: the module. `openvino`: our
        graph there, at full precision. `ours`: our graph in our session. `int8`: likewise, if the artifact has it.
        `vocode`: the whole of `Vocoder.vocode`. `bare`: the same session of ONNX Runtime, nothing around it.
    """
    torch.set_num_threads(threads)
    artifact = model.artifact
    config = SessionConfig(threads=threads)
    entry = artifact.graph("offline", "fp32")
    graph = artifact.read(entry.file)
    batch = mel[np.newaxis]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # One session serves three of them: two sessions over one graph differ by more than what is put around them.
    session = OrtSession(graph, entry, "cpu", config)
    driver = open_driver(artifact.manifest, lambda role: (session, entry), config)
    found: dict[str, Contender] = {
        "stock": bare(model.stock, options, batch),
        "pytorch": partial(_run_module, model.module, torch.from_numpy(batch)),
        "openvino": partial(OpenVinoSession(graph, entry, config).run, {"mel": batch}),
        "ours": partial(session.run, {"mel": batch}),
        "vocode": partial(Vocoder.from_driver(artifact.manifest, "fp32", driver).vocode, mel),
        "bare": partial(session._session.run, None, {"mel": batch}),
    }
    if any(graph.target == "cpu" for graph in artifact.manifest.graphs):
        found["int8"] = our_session(artifact, "int8", "cpu", batch, threads)
    return found


def our_session(
    artifact: Artifact,
    precision: Precision,
    target: Int8Target | None,
    batch: NDArray[np.float32],
    threads: int,
) -> Contender:
    """A graph of an artifact in our session, on the CPU.

    Args:
        artifact: Holds the graph.
        precision: Of the graph.
        target: Of an INT8 graph.
        batch: Float32 [1, n_mels, frames].
        threads: Of the session.
    """
    entry = artifact.graph("offline", precision, target)
    session = OrtSession(artifact.read(entry.file), entry, "cpu", SessionConfig(threads=threads))
    return partial(session.run, {"mel": batch})


def bare(graph: bytes | Path, options: Any, batch: NDArray[np.float32]) -> Contender:
    """A graph in ONNX Runtime, nothing around it.

    Args:
        graph: The ONNX model or its file.
        options: `onnxruntime.SessionOptions`.
        batch: Float32 [1, n_mels, frames].
    """
    source = graph if isinstance(graph, bytes) else str(graph)
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    return partial(session.run, None, {"mel": batch})


def _run_module(module: torch.nn.Module, batch: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        audio: torch.Tensor = module(batch)
    return audio
