"""Shapes of an ONNX graph's inputs and outputs, and the optimization profiles that follow from them."""

from __future__ import annotations

from typing import Literal

import onnx

from voirs_vocoder.export.errors import ExportError
from voirs_vocoder.export.tensorrt.config import ProfileConfig
from voirs_vocoder.runtime.artifact.axes import axis_size
from voirs_vocoder.runtime.artifact.manifest import Profile, TensorInfo
from voirs_vocoder.runtime.errors import ArtifactError

__all__ = ["profile_from_inputs", "tensors_from_onnx"]

_BOUNDARY_TYPES: dict[int, Literal["float32", "int64"]] = {
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.INT64: "int64",
}


def tensors_from_onnx(values: list[onnx.ValueInfoProto]) -> tuple[TensorInfo, ...]:
    """Names, element types and shapes of graph inputs or outputs.

    Args:
        values: `model.graph.input` or `.output`.

    Raises:
        ExportError: An element type is neither float32 nor int64, or an axis has neither size nor name.
    """
    return tuple(_tensor(value) for value in values)


def profile_from_inputs(inputs: tuple[TensorInfo, ...], config: ProfileConfig, hop_length: int) -> Profile:
    """The shapes that each input takes when batch and frames take their smallest, best and largest value.

    Args:
        inputs: Inputs of the graph. Dynamic axes are named `batch`, `frames`, `samples` (frames times hop), or as a
            multiple such as `8*frames`.
        config: Ranges of batch and frames.
        hop_length: Audio samples per mel frame.

    Raises:
        ExportError: A dynamic axis has a name that is none of these.
    """
    minimum, optimum, maximum = (
        {tensor.name: _shape(tensor, config.batch[end], config.frames[end], hop_length) for tensor in inputs}
        for end in range(3)
    )
    return Profile(minimum=minimum, optimum=optimum, maximum=maximum)


def _tensor(value: onnx.ValueInfoProto) -> TensorInfo:
    tensor = value.type.tensor_type
    dtype = _BOUNDARY_TYPES.get(tensor.elem_type)
    if dtype is None:
        raise ExportError(
            f"graph inputs and outputs must be float32 or int64 in every precision, {value.name} has the element type "
            f"{tensor.elem_type} of ONNX; export the graph with voirs-vocoder export"
        )
    sizes = tuple(axis.dim_param or axis.dim_value for axis in tensor.shape.dim)
    if 0 in sizes:
        raise ExportError(f"{value.name} has an axis without size or name, {sizes}; name it batch or frames")
    try:
        return TensorInfo(name=value.name, dtype=dtype, shape=sizes)
    except ValueError as error:
        raise ExportError(f"{value.name}: {error}") from error


def _shape(tensor: TensorInfo, batch: int, frames: int, hop_length: int) -> tuple[int, ...]:
    try:
        return tuple(
            axis_size(axis, batch=batch, frames=frames, hop_length=hop_length) for axis in tensor.shape
        )
    except ArtifactError as error:
        raise ExportError(f"{tensor.name}: {error}") from error
