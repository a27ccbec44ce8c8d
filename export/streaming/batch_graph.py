"""An artifact's batch graphs, made from the graphs that take one utterance, and checked against those."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import onnx
from numpy.typing import NDArray

from voirs_vocoder.export.errors import ExportError
from voirs_vocoder.export.graphs.built import BuiltGraph, built_graph
from voirs_vocoder.export.passes import run_passes
from voirs_vocoder.export.streaming.batch_pass import BatchPass
from voirs_vocoder.export.streaming.derived import (
    StreamRefusedError,
    derived_graphs,
    distance_from_offline,
    in_integers,
    inferred_axes,
    kept_facts,
    open_on_cpu,
    random_feed,
)
from voirs_vocoder.export.streaming.reading import StreamingError
from voirs_vocoder.runtime.artifact.manifest import BATCH_ROLES, Figures, TensorInfo
from voirs_vocoder.runtime.drivers.row_graph import LENGTHS
from voirs_vocoder.runtime.progress import Progress, silent

__all__ = ["batch_graph", "batch_graphs"]

_CHECK_LENGTHS = (7, 19, 1)
_CHECK_INTEGER_LENGTHS = (7, 19, 2)


def batch_graphs(
    graphs: Sequence[BuiltGraph], hop_length: int, progress: Progress = silent
) -> list[BuiltGraph]:
    """The batch graphs of all graphs that can have one.

    Args:
        graphs: Graphs of one artifact.
        hop_length: Audio samples per mel frame.
        progress: Receives the current task, and the reason where a graph cannot have a batch graph.

    Raises:
        ExportError: An utterance in a batch does not equal itself alone.
    """
    return derived_graphs(graphs, BATCH_ROLES, partial(batch_graph, hop_length=hop_length), "batch", progress)


def batch_graph(graph: BuiltGraph, hop_length: int) -> BuiltGraph:
    """Make a graph's batch graph.

    Args:
        graph: Graph of role `offline`, `step` or `conditioner`, in any precision.
        hop_length: Audio samples per mel frame.

    Returns:
        The graph of role `batch` (or `batch-conditioner`), whose details state how far a row is from its utterance
        alone.

    Raises:
        StreamRefusedError: The graph mixes time in a way that the pass does not know.
        ExportError: The batch graph does not compute what the offline graph computes.
    """
    entry = graph.entry
    model = onnx.load_from_string(graph.data)
    try:
        axes = inferred_axes(model, entry, hop_length)
        batched = run_passes(model, [BatchPass(axes, integer_zeros=entry.target == "cpu")])
    except (ExportError, StreamingError) as error:
        raise StreamRefusedError(str(error)) from error
    return built_graph(
        batched,
        role=BATCH_ROLES[entry.role],
        precision=entry.precision,
        target=entry.target,
        inputs=(*entry.inputs, TensorInfo(name=LENGTHS, dtype="int64", shape=("batch",))),
        outputs=entry.outputs,
        facts=kept_facts(entry),
        details=_compared(graph, batched, hop_length),
        keep_float={},
    )


def _compared(offline: BuiltGraph, batched: onnx.ModelProto, hop_length: int) -> Figures:
    """How far a row is from its utterance alone, on noise, with garbage after the end of the shorter utterances."""
    checked = _CHECK_INTEGER_LENGTHS if in_integers(offline.entry) else _CHECK_LENGTHS
    lengths = np.array(checked, np.int64)
    frames = int(lengths.max())
    feed = random_feed(offline.entry, len(lengths), frames, hop_length)
    (name,) = (info.name for info in offline.entry.outputs)
    entry = offline.entry
    together = open_on_cpu(batched.SerializeToString(), entry).run({**feed, LENGTHS: lengths})[name]
    alone_session = open_on_cpu(offline.data, entry)
    wanted: list[NDArray[np.float32]] = []
    got: list[NDArray[np.float32]] = []
    for row, length in enumerate(checked):
        alone = {key: _alone(values, row, length, frames) for key, values in feed.items()}
        result = alone_session.run(alone)[name][0]
        wanted.append(result.reshape(-1).copy())
        got.append(together[row, ..., : result.shape[-1]].reshape(-1))
    role = BATCH_ROLES[entry.role]
    return distance_from_offline(
        f"{role}.{entry.precision}", entry, np.concatenate(wanted), np.concatenate(got)
    )


def _alone(values: NDArray[np.generic], row: int, length: int, frames: int) -> NDArray[np.generic]:
    """One row's input, cut to its own length where it holds time; one without has a value per row."""
    if values.ndim == 1:
        return values[row : row + 1]
    return np.ascontiguousarray(values[row : row + 1, ..., : values.shape[-1] // frames * length])
