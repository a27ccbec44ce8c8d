"""How a node computes the same on tensors [N, C, 1, W] as on [N, C, W]."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from voirs_vocoder.calibration.edits.reading import constant

__all__ = ["CONVOLUTIONS", "Widening", "rank_of", "widened_shape", "widening_of"]

CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
"""Operators whose kernel lies along the axes behind the channels."""

_NEW_AXIS = 2

_POINTWISE = frozenset(
    {
        *(
            "Abs",
            "Add",
            "And",
            "Cast",
            "Ceil",
            "Clip",
            "Cos",
            "DequantizeLinear",
            "Div",
            "Elu",
            "Equal",
            "Erf",
        ),
        *(
            "Exp",
            "Floor",
            "Gelu",
            "Greater",
            "GreaterOrEqual",
            "Identity",
            "LeakyRelu",
            "Less",
            "LessOrEqual",
        ),
        *(
            "Log",
            "Max",
            "Min",
            "Mul",
            "Neg",
            "Not",
            "Or",
            "PRelu",
            "Pow",
            "QuantizeLinear",
            "Reciprocal",
            "Relu",
        ),
        *("Sigmoid", "Sin", "Softplus", "Sqrt", "Sub", "Sum", "Tanh", "Where"),
    }
)
_ONE_AXIS = {"Concat": None, "Split": 0, "Softmax": -1, "LogSoftmax": -1}
_REDUCTIONS = frozenset({"ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"})
# By operator: the attributes that hold one entry per axis behind the channels, and what the new axis gets.
_PER_SPATIAL_AXIS = {"dilations": 1, "kernel_shape": 1, "strides": 1, "output_padding": 0, "output_shape": 1}


@dataclass(frozen=True, eq=False)
class Widening:
    """The change that lets a node compute on four axes.

    Attributes:
        reads: Numbers of the inputs that are read with four axes instead of three.
        writes: Whether the outputs have four axes instead of three.
        attributes: Attributes that change, by name.
        constants: New values of constant inputs, by number of the input.
    """

    reads: frozenset[int]
    writes: bool = True
    attributes: dict[str, ir.Attr] = field(default_factory=dict)
    constants: dict[int, NDArray[np.generic]] = field(default_factory=dict)


def rank_of(value: ir.Value | None) -> int | None:
    """Number of axes of a value; None where it is not known."""
    return None if value is None or value.shape is None else value.shape.rank()


def widened_shape(shape: Sequence[int | ir.SymbolicDim]) -> list[int | ir.SymbolicDim]:
    """The shape [N, C, 1, W] for a shape [N, C, W]."""
    return [*shape[:_NEW_AXIS], 1, *shape[_NEW_AXIS:]]


def widening_of(node: ir.Node) -> Widening | None:
    """How a node computes on four axes; None where it must read and write three."""
    if any(rank_of(value) is None for value in (*node.inputs, *node.outputs) if value is not None):
        return None
    if node.op_type in _POINTWISE:
        return _pointwise(node)
    if node.op_type in _ONE_AXIS:
        return _along_one_axis(node)
    rule = _RULES.get(node.op_type)
    return None if rule is None else rule(node)


def _pointwise(node: ir.Node) -> Widening | None:
    if not _makes_three_axes(node):
        return None
    constants: dict[int, NDArray[np.generic]] = {}
    for number, value in enumerate(node.inputs):
        if rank_of(value) == 2:  # [C, W], which broadcasting would take for [1, W] of the new axis
            found = constant(value)
            if found is None:
                return None
            constants[number] = np.expand_dims(found, 1)
    attributes = {}
    if "axis" in node.attributes:  # of a quantizer
        attributes["axis"] = ir.AttrInt64("axis", _moved(node.attributes["axis"].as_int()))
    return Widening(_three_axes(node), attributes=attributes, constants=constants)


def _along_one_axis(node: ir.Node) -> Widening | None:
    if not _makes_three_axes(node) or rank_of(node.inputs[0]) != 3:
        return None
    stated, default = node.attributes.get("axis"), _ONE_AXIS[node.op_type]
    axis = default if stated is None else stated.as_int()
    if axis is None:
        return None
    return Widening(_three_axes(node), attributes={"axis": ir.AttrInt64("axis", _moved(axis))})


def _convolution(node: ir.Node) -> Widening | None:
    if rank_of(node.inputs[0]) != 3 or rank_of(node.inputs[1]) != 3:
        return None
    attributes = {}
    for name, filling in _PER_SPATIAL_AXIS.items():
        if name in node.attributes:
            attributes[name] = ir.AttrInt64s(name, [filling, *node.attributes[name].as_ints()])
    if "pads" in node.attributes:
        before, after = node.attributes["pads"].as_ints()
        attributes["pads"] = ir.AttrInt64s("pads", [0, before, 0, after])
    return Widening(frozenset({0, 1}), attributes=attributes)


def _slice(node: ir.Node) -> Widening | None:
    if rank_of(node.inputs[0]) != 3:
        return None
    starts = constant(node.inputs[1])
    axes = constant(node.inputs[3]) if len(node.inputs) > 3 and node.inputs[3] is not None else None
    if axes is None:
        if len(node.inputs) > 3 or starts is None or starts.size > _NEW_AXIS:
            return None
        return Widening(frozenset({0}))
    return Widening(frozenset({0}), constants={3: _moved_all(axes)})


def _pad(node: ir.Node) -> Widening | None:
    pads = constant(node.inputs[1])
    if rank_of(node.inputs[0]) != 3 or pads is None:
        return None
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        axes = constant(node.inputs[3])
        return None if axes is None else Widening(frozenset({0}), constants={3: _moved_all(axes)})
    before, after = pads[:3], pads[3:]
    values = [*before[:_NEW_AXIS], 0, *before[_NEW_AXIS:], *after[:_NEW_AXIS], 0, *after[_NEW_AXIS:]]
    return Widening(frozenset({0}), constants={1: np.array(values, np.int64)})


def _reduction(node: ir.Node) -> Widening | None:
    keeps = node.attributes.get("keepdims")
    axes = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if rank_of(node.inputs[0]) != 3 or axes is None or (keeps is not None and not keeps.as_int()):
        return None
    return Widening(frozenset({0}), constants={1: _moved_all(axes)})


def _transpose(node: ir.Node) -> Widening | None:
    if rank_of(node.inputs[0]) != 3 or "perm" not in node.attributes:
        return None
    first, second, last = (_moved(axis) for axis in node.attributes["perm"].as_ints())
    return Widening(
        frozenset({0}), attributes={"perm": ir.AttrInt64s("perm", [first, second, _NEW_AXIS, last])}
    )


def _unsqueeze(node: ir.Node) -> Widening | None:
    axes = constant(node.inputs[1])
    if rank_of(node.outputs[0]) != 3 or axes is None:
        return None
    return Widening(frozenset(), constants={1: np.array(sorted({*_moved_all(axes), _NEW_AXIS}), np.int64)})


def _squeeze(node: ir.Node) -> Widening | None:
    axes = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if rank_of(node.inputs[0]) != 3 or axes is None:
        return None
    values = np.array(sorted({*_moved_all(axes), _NEW_AXIS}), np.int64)
    return Widening(frozenset({0}), writes=False, constants={1: values})


def _reshape(node: ir.Node) -> Widening | None:
    shape = constant(node.inputs[1])
    reads, writes = rank_of(node.inputs[0]) == 3, rank_of(node.outputs[0]) == 3
    if shape is None or not (reads or writes):
        return None
    keeps = "allowzero" not in node.attributes or node.attributes["allowzero"].as_int() == 0
    # A zero takes the size of the input's axis at the same place, which must still be the same axis.
    if 0 in shape and not (keeps and (reads == writes or 0 not in shape[_NEW_AXIS:])):
        return None
    constants: dict[int, NDArray[np.generic]] = {}
    if writes:
        constants[1] = np.array([*shape[:_NEW_AXIS], 1, *shape[_NEW_AXIS:]], np.int64)
    return Widening(frozenset({0} if reads else ()), writes=writes, constants=constants)


_RULES: dict[str, Callable[[ir.Node], Widening | None]] = {
    **dict.fromkeys(CONVOLUTIONS, _convolution),
    **dict.fromkeys(_REDUCTIONS, _reduction),
    "Pad": _pad,
    "Reshape": _reshape,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}


def _makes_three_axes(node: ir.Node) -> bool:
    return all(rank_of(value) == 3 for value in node.outputs)


def _three_axes(node: ir.Node) -> frozenset[int]:
    return frozenset(number for number, value in enumerate(node.inputs) if rank_of(value) == 3)


def _moved(axis: int) -> int:
    """The place of one of three axes among four; one that is counted from the end keeps its sense."""
    place = axis % 3
    return place if place < _NEW_AXIS else place + 1


def _moved_all(axes: Iterable[int]) -> NDArray[np.int64]:
    return np.array([_moved(int(axis)) for axis in axes], np.int64)
