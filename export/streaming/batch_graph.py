"""An artifact's batch graphs, made from its offline graphs, and checked against utterances that stand alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import onnx
from numpy.typing import NDArray

from voirs_vocoder.export.errors import ExportError
from voirs_vocoder.export.graphs.built import BuiltGraph, built_graph, open_graph
from voirs_vocoder.export.passes import run_passes
from voirs_vocoder.export.streaming.batch_pass import BatchPass
from voirs_vocoder.export.streaming.derived import (
    StreamRefusedError,
    derived_graphs,
    distance_from_offline,
    inferred_axes,
    kept_facts,
    random_feed,
)
from voirs_vocoder.runtime.artifact.manifest import Figures, TensorInfo
from voirs_vocoder.runtime.drivers.batch_graph import LENGTHS
from voirs_vocoder.runtime.progress import Progress, silent

__all__ = ["batch_graph", "batch_graphs"]

_CHECK_LENGTHS = (7, 19, 1)


def batch_graphs(
    graphs: Sequence[BuiltGraph], hop_length: int, progress: Progress = silent
) -> list[BuiltGraph]:
    """The batch graphs of all offline graphs that can have one.

    Args:
        graphs: Graphs of one artifact.
        hop_length: Audio samples per mel frame.
        progress: Receives the current task, and the reason where a graph cannot have a batch graph.

    Raises:
        ExportError: An utterance in a batch does not equal itself alone.
    """
    return derived_graphs(
        graphs, ("offline",), partial(batch_graph, hop_length=hop_length), "batch", progress
    )


def batch_graph(graph: BuiltGraph, hop_length: int) -> BuiltGraph:
    """Make a graph's batch graph.

    Args:
        graph: Graph of role `offline`, in any precision.
        hop_length: Audio samples per mel frame.

    Returns:
        The graph of role `batch`, whose details state how far a row is from its utterance alone.

    Raises:
        StreamRefusedError: The graph mixes time in a way that the pass does not know.
        ExportError: The batch graph does not compute what the offline graph computes.
    """
    entry = graph.entry
    model = onnx.load_from_string(graph.data)
    try:
        batched = run_passes(model, [BatchPass(inferred_axes(model, entry, hop_length))])
    except ExportError as error:
        raise StreamRefusedError(str(error)) from error
    return built_graph(
        batched,
        role="batch",
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
    lengths = np.array(_CHECK_LENGTHS, np.int64)
    frames = int(lengths.max())
    feed = random_feed(offline.entry, len(lengths), frames, hop_length)
    (name,) = (info.name for info in offline.entry.outputs)
    entry = offline.entry
    together = open_graph(batched.SerializeToString(), entry).run({**feed, LENGTHS: lengths})[name]
    alone_session = open_graph(offline.data, entry)
    wanted: list[NDArray[np.float32]] = []
    got: list[NDArray[np.float32]] = []
    for row, length in enumerate(_CHECK_LENGTHS):
        alone = {
            key: values[row : row + 1, ..., : values.shape[-1] // frames * length]
            for key, values in feed.items()
        }
        wanted.append(alone_session.run(alone)[name].reshape(-1).copy())
        got.append(together[row, ..., : wanted[-1].size].reshape(-1))
    reference, result = np.concatenate(wanted), np.concatenate(got)
    return distance_from_offline(f"batch.{entry.precision}", entry, reference, result)
