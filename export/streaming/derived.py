"""What stream and batch graphs share: their making from other graphs, and their comparison with those."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray

from voirs_vocoder.export.errors import ExportError
from voirs_vocoder.export.graphs.built import BuiltGraph, open_graph
from voirs_vocoder.export.precisions import get_precision
from voirs_vocoder.export.streaming.reading import TimeAxis
from voirs_vocoder.export.streaming.time_axes import time_axes
from voirs_vocoder.runtime.artifact.axes import axis_size
from voirs_vocoder.runtime.artifact.manifest import Figures, GraphEntry, GraphFacts
from voirs_vocoder.runtime.metrics import max_abs_error, snr_db
from voirs_vocoder.runtime.progress import Progress
from voirs_vocoder.runtime.providers.onnxruntime import OrtSession

__all__ = [
    "MAX_STREAM_ERROR",
    "StreamRefusedError",
    "derived_graphs",
    "distance_from_offline",
    "in_integers",
    "inferred_axes",
    "kept_facts",
    "open_on_cpu",
    "random_feed",
]

MAX_STREAM_ERROR = 1e-5
"""Largest error of an FP32 graph, relative to the offline graph's largest value, or to 1 where that is smaller."""

# Wrong audio is about as far from the offline pass as that is from silence; one rounding may flip a quantization step.
_MIN_SNR_DB = 10.0
# Calibration makes the sums of integer graphs for the CPU independent of the length, so nothing flips there.
_MIN_INTEGER_SNR_DB = 60.0
_INTEGER_TARGET = "cpu"


class StreamRefusedError(ExportError):
    """The graph has an operator, or a use of time, that the streaming pass does not know."""


def derived_graphs(
    graphs: Sequence[BuiltGraph],
    roles: Collection[str],
    make: Callable[[BuiltGraph], BuiltGraph],
    kind: str,
    progress: Progress,
) -> list[BuiltGraph]:
    """Derive graphs from others, where that is possible.

    Args:
        graphs: Graphs of one artifact.
        roles: Roles of the graphs to derive from.
        make: Derives one graph; raises `StreamRefusedError` where that is impossible.
        kind: Kind of the derived graphs for messages, such as `stream`.
        progress: Receives the current task, and the reason where no graph can be derived.
    """
    made = []
    for graph in graphs:
        if graph.entry.role in roles:
            progress(f"{graph.entry.name}: making the {kind} graph", 0, 0)
            try:
                made.append(make(graph))
            except StreamRefusedError as error:
                progress(f"{graph.entry.name}: has no {kind} graph: {error}", 0, 0)
    return made


def inferred_axes(model: onnx.ModelProto, entry: GraphEntry, hop_length: int) -> dict[str, TimeAxis]:
    """The result of `time_axes` for a model whose tensors have no inferred types yet."""
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    return time_axes(inferred, entry.inputs, hop_length)


def kept_facts(entry: GraphEntry) -> GraphFacts:
    """The facts of a graph that also hold for a graph that is derived from it."""
    facts = entry.facts
    return GraphFacts(
        activation_bytes_per_frame=facts.activation_bytes_per_frame,
        quantized_convolutions=facts.quantized_convolutions,
    )


def open_on_cpu(data: bytes, entry: GraphEntry) -> OrtSession:
    """Load a graph, or what shows its precision where ONNX Runtime does not run that, in ONNX Runtime on the CPU.

    Args:
        data: Bytes of the ONNX model.
        entry: Entry of the graph in the manifest.
    """
    spec = get_precision(entry.precision)
    stands_in = spec.on_cpu if not spec.ort_runs_it else None
    return open_graph(data if stands_in is None else stands_in(data), entry)


def random_feed(
    entry: GraphEntry, batch: int, frames: int, hop_length: int
) -> dict[str, NDArray[np.generic]]:
    """Standard normal values for every input of a graph, seeded."""
    rng = np.random.default_rng(0)
    return {
        info.name: rng.standard_normal(
            [axis_size(axis, batch=batch, frames=frames, hop_length=hop_length) for axis in info.shape],
            np.float32,
        )
        for info in entry.inputs
    }


def in_integers(entry: GraphEntry) -> bool:
    """Whether a graph equals its offline pass at every length but one frame, since its sums have one order.

    A single position takes another kernel of ONNX Runtime than several do, which adds in another order.
    """
    return entry.target == _INTEGER_TARGET


def distance_from_offline(
    name: str, entry: GraphEntry, wanted: NDArray[np.float32], got: NDArray[np.float32]
) -> Figures:
    """How far a graph's result is from that of the offline graph.

    Args:
        name: Name of the derived graph.
        entry: Manifest entry of the offline graph.
        wanted: Result of the offline graph.
        got: Result of the derived graph, with as many values as `wanted`.

    Returns:
        `max_error_against_offline` of an FP32 graph; `snr_db_against_offline` of any other, None when they are equal.

    Raises:
        ExportError: The results are too far apart.
    """
    wanted, got = wanted.reshape(-1), got.reshape(-1)
    if entry.precision == "fp32":
        error = max_abs_error(wanted, got) / max(1.0, float(np.abs(wanted).max()))
        if not error <= MAX_STREAM_ERROR:
            raise ExportError(
                f"{name}: it must equal its offline pass within {MAX_STREAM_ERROR:g}, it is {error:g} away; report the "
                "model"
            )
        return {"max_error_against_offline": error}
    ratio = snr_db(wanted, got)
    least = _MIN_INTEGER_SNR_DB if in_integers(entry) else _MIN_SNR_DB
    if not ratio >= least:
        raise ExportError(
            f"{name}: it must follow its offline pass with an SNR of at least {least:g} dB, got {ratio:.1f}; report "
            "the model"
        )
    return {"snr_db_against_offline": ratio if np.isfinite(ratio) else None}
