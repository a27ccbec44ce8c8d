"""The gates of a WaveNet in integers: sigmoid and hyperbolic tangent become tables of 256 entries.

    sum -> Split -> Sigmoid -> Mul         sum -> Split -> table -> integer Mul
                 -> Tanh    ->     becomes              -> table ->

At the audio's rate, what is spent on turning integers into floats and back is more than the convolutions cost. ONNX
Runtime makes a table of DequantizeLinear -> Sigmoid -> QuantizeLinear; it knows none for Tanh, which is written as
tanh(x) = 2 sigmoid(2 x) - 1: a scale doubled before, and another scale and zero point behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from voirs_vocoder.calibration.activation_ranges import (
    ChannelScales,
    FloatHistogram,
    symmetric_scale,
)
from voirs_vocoder.calibration.graph import GraphIndex, copied

__all__ = ["Gate", "gate_of_sum", "gate_scales", "integer_gates"]

# Beyond, sigmoid and tanh are within half a step of their ends.
_SATURATION = {"Sigmoid": 6.0, "Tanh": 3.0}
_LIMIT = 127
_MIDDLE = 128
# 0 .. 254: an odd number of values, so that a tanh of zero is one of them.
_LAST = 254


@dataclass(frozen=True)
class Gate:
    """What is done to the two halves of a sum's channels.

    Attributes:
        halves: The tensors that the Split makes.
        operators: `Sigmoid` or `Tanh` for each.
    """

    halves: tuple[str, str]
    operators: tuple[str, str]


def gate_of_sum(index: GraphIndex, total: str) -> Gate | None:
    """The gate that alone reads a sum; None if there is none.

    Args:
        index: Of the FP32 graph.
        total: The tensor of the sum.
    """
    split = index.sole_reader(total)
    if split is None or split.op_type != "Split" or len(split.output) != 2:
        return None
    activations = [index.sole_reader(half) for half in split.output]
    if any(node is None or node.op_type not in _SATURATION for node in activations):
        return None
    first, second = (node for node in activations if node is not None)
    products = [index.sole_reader(node.output[0]) for node in (first, second)]
    if products[0] is None or products[0] is not products[1] or products[0].op_type != "Mul":
        return None
    return Gate((split.output[0], split.output[1]), (first.op_type, second.op_type))


def gate_scales(gate: Gate, histograms: Sequence[FloatHistogram], channels: int) -> ChannelScales:
    """One scale for each half: a table has one for all of its channels.

    Args:
        gate: Whose halves they are.
        histograms: Of both halves.
        channels: Of the sum.
    """
    scales = [
        min(symmetric_scale(histogram).scale, _SATURATION[operator] / _LIMIT)
        for histogram, operator in zip(histograms, gate.operators, strict=True)
    ]
    return ChannelScales(np.repeat(np.array(scales, np.float32), channels // 2))


def integer_gates(model: onnx.ModelProto) -> onnx.ModelProto:
    """Write the gates of a quantized graph in integers, wherever both halves were given a single scale.

    Args:
        model: As `qdq_from_fp32` wrote it for the CPU; left as it is.

    Returns:
        A graph with the same inputs and outputs; the activations keep their names.
    """
    index = GraphIndex(model)
    result = copied(model)
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []
    for node in result.graph.node:
        rounded = index.producers.get(node.input[0]) if node.op_type in _SATURATION else None
        scale = None if rounded is None else _single_scale(index, rounded)
        if rounded is None or scale is None:
            nodes.append(node)
            continue
        nodes.extend(_table(node, rounded.input[0], scale, constants))
    del result.graph.node[:]
    result.graph.node.extend(_read(nodes, {value.name for value in result.graph.output}))
    result.graph.initializer.extend(constants)
    used = {name for node in result.graph.node for name in node.input}
    kept = [tensor for tensor in result.graph.initializer if tensor.name in used]
    del result.graph.initializer[:]
    result.graph.initializer.extend(kept)
    return result


def _table(
    node: onnx.NodeProto, quantized: str, scale: float, constants: list[onnx.TensorProto]
) -> list[onnx.NodeProto]:
    """DequantizeLinear, Sigmoid, QuantizeLinear, DequantizeLinear in the place of an activation."""
    tanh = node.op_type == "Tanh"
    output = node.output[0]

    def rounding(name: str, step: float, zero_point: int) -> list[str]:
        values: tuple[tuple[str, NDArray[np.generic]], ...] = (
            (f"{output}/{name}/scale", np.array(step, np.float32)),
            (f"{output}/{name}/zero_point", np.array(zero_point, np.uint8)),
        )
        constants.extend(numpy_helper.from_array(value, key) for key, value in values)
        return [key for key, _ in values]

    before = rounding("before", scale * (2 if tanh else 1), _MIDDLE)
    table = rounding("table", 1 / _LAST, 0)
    behind = rounding("behind", 2 / _LAST, _LIMIT) if tanh else table
    return [
        helper.make_node("DequantizeLinear", [quantized, *before], [f"{output}/before"], f"{output}/before"),
        helper.make_node("Sigmoid", [f"{output}/before"], [f"{output}/unrounded"], node.name),
        helper.make_node(
            "QuantizeLinear", [f"{output}/unrounded", *table], [f"{output}/quantized"], f"{output}/quantized"
        ),
        helper.make_node("DequantizeLinear", [f"{output}/quantized", *behind], [output], f"{output}/behind"),
    ]


def _single_scale(index: GraphIndex, node: onnx.NodeProto) -> float | None:
    """The scale of all channels that a node dequantizes; None where they differ, or it does something else."""
    if node.op_type != "DequantizeLinear" or node.input[1] not in index.initializers:
        return None
    scales = index.initializers[node.input[1]]
    return float(scales.flat[0]) if scales.size > 1 and np.ptp(scales) == 0 else None


def _read(nodes: Sequence[onnx.NodeProto], outputs: set[str]) -> list[onnx.NodeProto]:
    """The nodes without those that nothing reads any more, in order."""
    kept: list[onnx.NodeProto] = []
    needed = set(outputs)
    for node in reversed(nodes):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    return kept[::-1]
