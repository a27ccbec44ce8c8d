"""An artifact's stream graphs, made from the graphs that take an utterance whole, and checked against them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray

from voirs_vocoder.export.errors import ExportError
from voirs_vocoder.export.graphs.built import BuiltGraph, built_graph
from voirs_vocoder.export.passes import EvenPaddingPass, run_passes
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
from voirs_vocoder.export.streaming.streaming_pass import StreamingPass
from voirs_vocoder.runtime.artifact.manifest import STREAM_ROLES, Figures, GraphEntry, TensorInfo
from voirs_vocoder.runtime.progress import Progress, silent
from voirs_vocoder.runtime.providers.onnxruntime import OrtSession
from voirs_vocoder.runtime.streaming.graph_stream import BEGIN, END_FRAME, NEXT_STATE, STATE, UNKNOWN_END

__all__ = ["STREAM_ROLES", "stream_graph", "stream_graphs"]

_CHECK_CHUNKS = (5, 1, 8, 3)
_CHECK_INTEGER_CHUNKS = (5, 2, 8, 3)
_CHECK_BATCH = 2


def stream_graphs(
    graphs: Sequence[BuiltGraph], hop_length: int, progress: Progress = silent
) -> list[BuiltGraph]:
    """The stream graphs of all graphs that can have one.

    Args:
        graphs: Graphs of one artifact.
        hop_length: Audio samples per mel frame.
        progress: Receives the current task, and the reason where a graph cannot be streamed.

    Raises:
        ExportError: A stream does not equal its offline pass.
    """
    return derived_graphs(
        graphs, STREAM_ROLES, partial(stream_graph, hop_length=hop_length), "stream", progress
    )


def stream_graph(graph: BuiltGraph, hop_length: int) -> BuiltGraph:
    """Make a graph's stream graph.

    Args:
        graph: Graph of role `offline`, `step` or `conditioner`, in any precision.
        hop_length: Audio samples per mel frame.

    Returns:
        The graph of role `stream` (or `stream-conditioner`), whose details state how far it is from the
        offline graph on random input in chunks.

    Raises:
        StreamRefusedError: The graph cannot be streamed; the message names the node.
        ExportError: The stream does not compute what the offline graph computes.
    """
    model = onnx.load_from_string(graph.data)
    entry = graph.entry
    try:
        streaming = StreamingPass(
            inferred_axes(model, entry, hop_length), integer_history=entry.target == "cpu"
        )
        streamed = run_passes(model, [streaming, EvenPaddingPass()])
    except (ExportError, StreamingError) as error:
        raise StreamRefusedError(str(error)) from error
    (output,) = entry.outputs
    state = ("batch", streaming.state_size)
    facts = msgspec.structs.replace(
        kept_facts(entry), delay_samples=streaming.delays[output.name], state_size=streaming.state_size
    )
    built = built_graph(
        streamed,
        role=STREAM_ROLES[entry.role],
        precision=entry.precision,
        target=entry.target,
        inputs=(
            *entry.inputs,
            TensorInfo(name=BEGIN, dtype="int64", shape=("batch",)),
            TensorInfo(name=END_FRAME, dtype="int64", shape=("batch",)),
            TensorInfo(name=STATE, dtype="float32", shape=state),
        ),
        outputs=(output, TensorInfo(name=NEXT_STATE, dtype="float32", shape=state)),
        facts=facts,
        details={},
        keep_float={},
    )
    figures = _compared(graph, built, hop_length)
    return dataclasses.replace(built, entry=msgspec.structs.replace(built.entry, details=figures))


def _compared(offline: BuiltGraph, stream: BuiltGraph, hop_length: int) -> Figures:
    """How far the stream is from the offline pass, on noise in uneven chunks."""
    delay = stream.entry.facts.delay_samples or 0
    look_ahead = -(-delay // hop_length)
    chunks = _CHECK_INTEGER_CHUNKS if in_integers(offline.entry) else _CHECK_CHUNKS
    frames = look_ahead + sum(chunks)
    feed = random_feed(offline.entry, _CHECK_BATCH, frames, hop_length)
    (name,) = (info.name for info in offline.entry.outputs)
    wanted = open_on_cpu(offline.data, offline.entry).run(feed)[name]
    session = open_on_cpu(stream.data, stream.entry)
    streamed = _streamed(session, stream.entry, feed, frames, frames + look_ahead, chunks)
    rate = wanted.shape[-1] // frames
    late = delay * rate // hop_length
    got = streamed[..., late : late + wanted.shape[-1]]
    return distance_from_offline(stream.entry.name, offline.entry, wanted, got)


def _streamed(
    session: OrtSession,
    entry: GraphEntry,
    feed: dict[str, NDArray[np.generic]],
    frames: int,
    stop: int,
    chunks: Sequence[int],
) -> NDArray[np.float32]:
    output = entry.outputs[0].name
    state = np.zeros((_CHECK_BATCH, entry.facts.state_size or 0), np.float32)
    pieces = []
    start, turn = 0, 0
    while start < stop:
        count = chunks[turn % len(chunks)]
        turn += 1
        chunk = {name: _part(values, start, count, frames) for name, values in feed.items()}
        end = frames - start if start + count >= frames else UNKNOWN_END
        chunk[BEGIN] = np.full(_CHECK_BATCH, -start, np.int64)
        chunk[END_FRAME] = np.full(_CHECK_BATCH, end, np.int64)
        chunk[STATE] = state
        results = session.run(chunk)
        state = results[NEXT_STATE]
        pieces.append(results[output])
        start += count
    return np.concatenate(pieces, axis=-1)


def _part(values: NDArray[np.generic], start: int, count: int, frames: int) -> NDArray[np.generic]:
    """Frames start to start + count, with garbage after the end of the utterance, which no stream may use."""
    if values.ndim == 1:
        return values
    rate = values.shape[-1] // frames
    part = np.full((*values.shape[:-1], count * rate), 3.0, values.dtype)
    there = values[..., start * rate : (start + count) * rate]
    part[..., : there.shape[-1]] = there
    return part
