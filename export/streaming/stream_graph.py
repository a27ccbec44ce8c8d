"""An artifact's stream graphs, made from the graphs that take an utterance whole, and checked against them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from functools import partial

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray

from voirs_vocoder.export.errors import ExportError
from voirs_vocoder.export.graphs import BuiltGraph, built_graph, open_graph
from voirs_vocoder.export.passes import run_passes
from voirs_vocoder.export.progress import Progress, silent
from voirs_vocoder.export.streaming.reading import TimeAxis
from voirs_vocoder.export.streaming.rewriting import BEGIN, END_FRAME, NEXT_STATE, STATE
from voirs_vocoder.export.streaming.streaming_pass import StreamingPass
from voirs_vocoder.export.streaming.time_axes import time_axes
from voirs_vocoder.runtime.axes import axis_size
from voirs_vocoder.runtime.manifest import STREAM_ROLES, Figures, GraphEntry, TensorInfo
from voirs_vocoder.runtime.metrics import max_abs_error, snr_db
from voirs_vocoder.runtime.providers.onnxruntime_session import OrtSession

__all__ = [
    "MAX_STREAM_ERROR",
    "STREAM_ROLES",
    "StreamRefusedError",
    "derived_graphs",
    "inferred_axes",
    "kept_details",
    "random_feed",
    "stream_graph",
    "stream_graphs",
]

MAX_STREAM_ERROR = 1e-5
"""Of an FP32 stream, relative to the offline graph's largest value, or to 1 where that is smaller."""

# Wrong streams are about as far from the offline pass as it is from silence; one rounding may flip a quantization step.
_MIN_SNR_DB = 10.0
_CHECK_CHUNKS = (5, 1, 8, 3)
_CHECK_BATCH = 2
_UNKNOWN_END = 1 << 20


def stream_graphs(
    graphs: Sequence[BuiltGraph], hop_length: int, progress: Progress = silent
) -> list[BuiltGraph]:
    """The stream graphs of all graphs that can have one.

    Args:
        graphs: Of one artifact.
        hop_length: Audio samples per mel frame.
        progress: Told what is being done, and why a graph cannot be streamed.

    Raises:
        ExportError: A stream does not equal its offline pass.
    """
    return derived_graphs(
        graphs, STREAM_ROLES, partial(stream_graph, hop_length=hop_length), "stream", progress
    )


def derived_graphs(
    graphs: Sequence[BuiltGraph],
    roles: Collection[str],
    make: Callable[[BuiltGraph], BuiltGraph],
    kind: str,
    progress: Progress,
) -> list[BuiltGraph]:
    """Graphs made of others, as far as they can be made.

    Args:
        graphs: Of one artifact.
        roles: Of those that one is made of.
        make: Makes it; raises `StreamRefusedError` where it cannot be made.
        kind: What is made, in words.
        progress: Told what is being done, and why a graph has none.
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


class StreamRefusedError(ExportError):
    """The streaming pass does not know an operator of the graph, or the graph mixes time in a way that it does not."""


def stream_graph(graph: BuiltGraph, hop_length: int) -> BuiltGraph:
    """Make a graph's stream graph.

    Args:
        graph: Of role `offline`, `step` or `conditioner`, in any precision.
        hop_length: Audio samples per mel frame.

    Returns:
        The graph of role `stream` (or `stream-conditioner`), whose details say `delay_samples`, `state_size` and how
        far it is from the offline graph on random input in chunks.

    Raises:
        StreamRefusedError: The graph cannot be streamed; the message names the node.
        ExportError: It does not compute what the offline graph computes.
    """
    model = onnx.load_from_string(graph.data)
    entry = graph.entry
    try:
        streaming = StreamingPass(
            inferred_axes(model, entry, hop_length), integer_history=entry.target == "cpu"
        )
        streamed = run_passes(model, [streaming])
    except ExportError as error:
        raise StreamRefusedError(str(error)) from error
    (output,) = entry.outputs
    state = ("batch", streaming.state_size)
    details: Figures = {
        **kept_details(entry),
        "delay_samples": streaming.delays[output.name],
        "state_size": streaming.state_size,
    }
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
        details=details,
        keep_float={},
    )
    figures = _compared(graph, built, hop_length)
    return dataclasses.replace(built, entry=_with_details(built.entry, figures))


def _compared(offline: BuiltGraph, stream: BuiltGraph, hop_length: int) -> Figures:
    """How far the stream is from the offline pass, on noise in uneven chunks."""
    delay = stream.entry.details["delay_samples"]
    look_ahead = -(-int(delay or 0) // hop_length)
    frames = look_ahead + sum(_CHECK_CHUNKS)
    feed = random_feed(offline.entry, _CHECK_BATCH, frames, hop_length)
    (name,) = (info.name for info in offline.entry.outputs)
    wanted = open_graph(offline.data, offline.entry).run(feed)[name]
    streamed = _streamed(open_graph(stream.data, stream.entry), stream.entry, feed, frames, look_ahead)
    rate = wanted.shape[-1] // frames
    late = int(delay or 0) * rate // hop_length
    got = streamed[..., late : late + wanted.shape[-1]]
    if offline.entry.precision == "fp32":
        error = max_abs_error(wanted.reshape(-1), got.reshape(-1)) / max(1.0, float(np.abs(wanted).max()))
        if not error <= MAX_STREAM_ERROR:
            raise ExportError(
                f"{stream.entry.name}: a stream must equal its offline pass within {MAX_STREAM_ERROR:g}, it is "
                f"{error:g} away; report the model"
            )
        return {"max_error_against_offline": error}
    ratio = snr_db(wanted.reshape(-1), got.reshape(-1))
    if not ratio >= _MIN_SNR_DB:
        raise ExportError(
            f"{stream.entry.name}: a stream must follow its offline pass, its SNR is {ratio:.1f} dB; report the model"
        )
    return {"snr_db_against_offline": ratio if np.isfinite(ratio) else None}


def _streamed(
    session: OrtSession,
    entry: GraphEntry,
    feed: dict[str, NDArray[np.generic]],
    frames: int,
    look_ahead: int,
) -> NDArray[np.float32]:
    output = entry.outputs[0].name
    state = np.zeros((_CHECK_BATCH, int(entry.details["state_size"] or 0)), np.float32)
    pieces = []
    start, turn = 0, 0
    while start < frames + look_ahead:
        count = _CHECK_CHUNKS[turn % len(_CHECK_CHUNKS)]
        turn += 1
        chunk = {name: _part(values, start, count, frames) for name, values in feed.items()}
        end = frames - start if start + count >= frames else _UNKNOWN_END
        chunk[BEGIN] = np.full(_CHECK_BATCH, -start, np.int64)
        chunk[END_FRAME] = np.full(_CHECK_BATCH, end, np.int64)
        chunk[STATE] = state
        results = session.run(chunk)
        state = results[NEXT_STATE]
        pieces.append(results[output])
        start += count
    return np.concatenate(pieces, axis=-1)


def _part(values: NDArray[np.generic], start: int, count: int, frames: int) -> NDArray[np.generic]:
    """Frames start to start + count, with rubbish behind the end of the utterance, which no stream may hear."""
    if values.ndim == 1:
        return values
    rate = values.shape[-1] // frames
    part = np.full((*values.shape[:-1], count * rate), 3.0, values.dtype)
    there = values[..., start * rate : (start + count) * rate]
    part[..., : there.shape[-1]] = there
    return part


def kept_details(entry: GraphEntry) -> Figures:
    """What holds of a graph that is made of another one as of that."""
    kept = ("activation_bytes_per_frame", "quantized_convolutions")
    return {name: entry.details[name] for name in kept if name in entry.details}


def inferred_axes(model: onnx.ModelProto, entry: GraphEntry, hop_length: int) -> dict[str, TimeAxis]:
    """`time_axes` of a model whose tensors' types are still to be inferred."""
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    return time_axes(inferred, entry.inputs, hop_length)


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


def _with_details(entry: GraphEntry, figures: Figures) -> GraphEntry:
    return msgspec.structs.replace(entry, details={**entry.details, **figures})
