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
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from voirs_vocoder.calibration.activation_ranges import ChannelScales, symmetric_scale
from voirs_vocoder.calibration.config import RangeMethod
from voirs_vocoder.calibration.edits.reading import (
    initializer,
    input_at,
    name_of,
    refuse_unless_flat,
    sole_reader,
)
from voirs_vocoder.calibration.edits.writer import NodeWriter
from voirs_vocoder.calibration.histograms import FloatHistogram

__all__ = ["Gate", "IntegerGatesPass", "gate_of_sum", "gate_scales"]

# Beyond, sigmoid and tanh are within half a step of their ends.
_SATURATION = {"Sigmoid": 6.0, "Tanh": 3.0}
_LIMIT = 127
_MIDDLE = 128
# 0 .. 254: an odd number of values, so that a tanh of zero is one of them.
_LAST = 254


@dataclass(frozen=True)
class Gate:
    """The activations of the two halves of a sum's channels.

    Attributes:
        halves: Names of the two tensors that the Split makes.
        operators: `Sigmoid` or `Tanh` for each half.
    """

    halves: tuple[str, str]
    operators: tuple[str, str]


def gate_of_sum(graph: ir.Graph, total: str) -> Gate | None:
    """The gate that alone reads a sum; None if there is none.

    Args:
        graph: The FP32 graph.
        total: Name of the tensor of the sum.
    """
    made = {name_of(value): value for node in graph for value in node.outputs}
    split = sole_reader(made[total]) if total in made else None
    if split is None or split.op_type != "Split" or len(split.outputs) != 2:
        return None
    activations = [sole_reader(half) for half in split.outputs]
    if any(node is None or node.op_type not in _SATURATION for node in activations):
        return None
    first, second = (node for node in activations if node is not None)
    products = [sole_reader(node.outputs[0]) for node in (first, second)]
    if products[0] is None or products[0] is not products[1] or products[0].op_type != "Mul":
        return None
    return Gate((name_of(split.outputs[0]), name_of(split.outputs[1])), (first.op_type, second.op_type))


def gate_scales(
    gate: Gate, histograms: Sequence[FloatHistogram], channels: int, method: RangeMethod = "mse"
) -> ChannelScales:
    """One scale for each half, since a table has one scale for all channels.

    Args:
        gate: Gate that reads the sum.
        histograms: Values of each half.
        channels: Number of channels of the sum, twice that of a half.
        method: Name of the range method.
    """
    scales = [
        min(symmetric_scale(histogram, method).scale, _SATURATION[operator] / _LIMIT)
        for histogram, operator in zip(histograms, gate.operators, strict=True)
    ]
    return ChannelScales(np.repeat(np.array(scales, np.float32), channels // 2))


class IntegerGatesPass(ir.passes.InPlacePass):
    """Writes the gates of a quantized graph in integers, wherever both halves were given a single scale.

        DQ -> Tanh    becomes    DQ' -> Sigmoid -> Q -> DQ''

    The activations keep their names and outputs.
    """

    def requires(self, model: ir.Model) -> None:
        """The graph is flat and its nodes are named.

        Raises:
            PreconditionError: It is not.
        """
        refuse_unless_flat(model)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite in place."""
        graph = model.graph
        writer = NodeWriter(graph)
        chosen = [(node, rounded) for node in graph if (rounded := _single_scale(node)) is not None]
        for node, (integers, scale) in chosen:
            _write_table(graph, writer, node, integers, scale)
        # The DequantizeLinear in front, and its scales, may have no reader left.
        RemoveUnusedNodesPass()(model)
        return ir.passes.PassResult(model, modified=bool(chosen))

    def ensures(self, model: ir.Model) -> None:
        """No Tanh that could be a table is left.

        Raises:
            PostconditionError: One is left.
        """
        left = [node.name for node in model.graph if node.op_type == "Tanh" and _single_scale(node)]
        if left:
            raise ir.passes.PostconditionError(
                f"gates with one scale must be tables, got {left[:5]}; report the model"
            )


def _write_table(
    graph: ir.Graph, writer: NodeWriter, node: ir.Node, integers: ir.Value, scale: float
) -> None:
    """Put DequantizeLinear, Sigmoid, QuantizeLinear, DequantizeLinear in the place of an activation."""
    tanh = node.op_type == "Tanh"
    output = node.outputs[0]
    stem = name_of(output)

    def rounding(name: str, step: float, zero_point: int) -> list[ir.Value]:
        return [
            writer.constant(f"{stem}.{name}.scale", np.array(step, np.float32)),
            writer.constant(f"{stem}.{name}.zero_point", np.array(zero_point, np.uint8)),
        ]

    before = rounding("before", scale * (2 if tanh else 1), _MIDDLE)
    table = rounding("table", 1 / _LAST, 0)
    behind = rounding("behind", 2 / _LAST, _LIMIT) if tanh else table
    widen = writer.node("DequantizeLinear", [integers, *before], f"{stem}.before")
    sigmoid = writer.node("Sigmoid", widen.outputs, f"{stem}.unrounded")
    quantize = writer.node("QuantizeLinear", [sigmoid.outputs[0], *table], f"{stem}.quantized")
    restore = writer.node("DequantizeLinear", [quantize.outputs[0], *behind], f"{stem}.behind")
    graph.insert_before(node, (widen, sigmoid, quantize, restore))
    writer.take_over(output, restore.outputs[0], f"{stem}.float", keep=())
    graph.remove(node, safe=True)
    sigmoid.name = node.name


def _single_scale(node: ir.Node) -> tuple[ir.Value, float] | None:
    """The integers that an activation's input is dequantized from, and their scale.

    None where the node is not a gate's activation, its input is not dequantized per channel, or the scales of the
    channels differ: one table serves channels of one scale only. A DequantizeLinear with one scale for the whole tensor
    stands before an activation outside a gate, which a table would not make faster.
    """
    rounded = (
        node.inputs[0].producer() if node.op_type in _SATURATION and node.inputs[0] is not None else None
    )
    if rounded is None or rounded.op_type != "DequantizeLinear" or rounded.inputs[0] is None:
        return None
    scales = initializer(input_at(rounded, 1))
    if scales is None or scales.size <= 1 or np.ptp(scales) != 0:
        return None
    return rounded.inputs[0], float(scales.flat[0])
