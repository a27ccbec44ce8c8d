"""Finds the time axis and the rate of each tensor by running the graph at two lengths and two batch sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from voirs_vocoder.export.streaming.reading import StreamingError, TimeAxis
from voirs_vocoder.runtime.artifact.axes import axis_size
from voirs_vocoder.runtime.artifact.manifest import TensorInfo

__all__ = ["time_axes"]

_RUNS = ((2, 3), (2, 5), (3, 3))
"""Batch and frames of each run."""


def time_axes(model: onnx.ModelProto, inputs: Sequence[TensorInfo], hop_length: int) -> dict[str, TimeAxis]:
    """Follow time through a graph.

    Args:
        model: Model whose tensors all have types; it is not changed.
        inputs: Inputs of the model.
        hop_length: Audio samples per mel frame.

    Returns:
        Time axes by tensor name; tensors without time are left out.

    Raises:
        StreamingError: A tensor grows with the length in more than one axis, not in whole positions per frame, or in an
            axis that also holds the batch.
    """
    names = [info.name for info in inputs]
    names += [name for node in model.graph.node for name in node.output if name]
    shapes = [_shapes(model, inputs, hop_length, names, batch, frames) for batch, frames in _RUNS]
    found = {}
    for name in names:
        axis = _time_axis(name, *(run[name] for run in shapes))
        if axis is not None:
            found[name] = axis
    return found


def _time_axis(
    name: str, short: tuple[int, ...], long: tuple[int, ...], other_batch: tuple[int, ...]
) -> TimeAxis | None:
    if not len(short) == len(long) == len(other_batch):
        raise StreamingError(f"tensor {name!r} has another number of axes when the length changes")
    growing = [axis for axis, (a, b) in enumerate(zip(short, long, strict=True)) if a != b]
    if not growing:
        return None
    if len(growing) > 1:
        raise StreamingError(f"tensor {name!r} grows with the length in axes {growing}; only one can be time")
    axis = growing[0]
    frames = _RUNS[1][1] - _RUNS[0][1]
    rate, rest = divmod(long[axis] - short[axis], frames)
    batched = {index for index, (a, b) in enumerate(zip(short, other_batch, strict=True)) if a != b}
    if rest or rate < 1 or axis in batched:
        raise StreamingError(
            f"tensor {name!r} must hold whole positions per frame and nothing but time in axis {axis}, got sizes "
            f"{short[axis]} and {long[axis]} for {_RUNS[0][1]} and {_RUNS[1][1]} frames"
        )
    shape = tuple(None if index == axis or index in batched else size for index, size in enumerate(short))
    return TimeAxis(axis, rate, short[axis] - rate * _RUNS[0][1], shape)


def _shapes(
    model: onnx.ModelProto,
    inputs: Sequence[TensorInfo],
    hop_length: int,
    names: Sequence[str],
    batch: int,
    frames: int,
) -> dict[str, tuple[int, ...]]:
    tapped = _without_bf16(model)
    known = {value.name: value for value in (*tapped.graph.value_info, *tapped.graph.output)}
    taken = {value.name for value in (*model.graph.input, *model.graph.output)}
    tapped.graph.output.extend(known[name] for name in names if name not in taken)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    feeds = _feeds(inputs, hop_length, batch, frames)
    wanted = [name for name in names if name not in feeds]
    try:
        session = onnxruntime.InferenceSession(
            tapped.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        results = session.run(wanted, dict(feeds))
    except Exception as error:  # pybind11 raises classes of its own below Exception
        raise StreamingError(
            f"ONNX Runtime must run the graph on {frames} frames, got {' '.join(str(error).split())[:300]}"
        ) from error
    return {
        **{name: value.shape for name, value in feeds.items()},
        **{name: np.shape(value) for name, value in zip(wanted, results, strict=True)},
    }


def _without_bf16(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in FP32, of the same shapes: ONNX Runtime computes nothing in BF16 on a CPU."""
    single = onnx.ModelProto()
    single.CopyFrom(model)
    graph, half = single.graph, onnx.TensorProto.BFLOAT16
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.type.tensor_type.elem_type == half:
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    for tensor in graph.initializer:
        if tensor.data_type == half:
            values = onnx.numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == half:
                attribute.i = onnx.TensorProto.FLOAT
            if attribute.HasField("t") and attribute.t.data_type == half:
                values = onnx.numpy_helper.to_array(attribute.t).astype(np.float32)
                attribute.t.CopyFrom(onnx.numpy_helper.from_array(values, attribute.t.name))
    return single


def _feeds(
    inputs: Sequence[TensorInfo], hop_length: int, batch: int, frames: int
) -> Mapping[str, NDArray[np.generic]]:
    return {
        info.name: np.zeros(
            [axis_size(axis, batch=batch, frames=frames, hop_length=hop_length) for axis in info.shape],
            np.dtype(info.dtype),
        )
        for info in inputs
    }
