"""What both passes find in a graph: how each node reads time, and which tensors must be zero outside."""

from __future__ import annotations

import onnx_ir as ir

from voirs_vocoder.export.streaming.axes import Axes
from voirs_vocoder.export.streaming.operators import rule_of
from voirs_vocoder.export.streaming.reading import Rule, StreamingError

__all__ = ["graph_rules", "parents", "quantizer_of", "zeroed_values"]

# They move integers and compute nothing.
_MOVERS = frozenset(
    {"Split", "Slice", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Expand", "Gather", "Identity"}
)
_QUANTIZED = (ir.DataType.UINT8, ir.DataType.INT8)


def graph_rules(graph: ir.Graph, axes: Axes, *, integer_history: bool) -> dict[ir.Node, Rule]:
    """The rule of every node that time flows through, in the graph's order; padding along time has none.

    Raises:
        StreamingError: A node cannot be streamed.
    """
    rules = {}
    for node in graph:
        if not axes.is_padding(node):
            rule = rule_of(node, axes, integer_history=integer_history)
            if rule is not None:
                rules[node] = rule
    return rules


def parents(rules: dict[ir.Node, Rule]) -> dict[ir.Value, ir.Value]:
    """The tensor that each transparent node reads, by the tensor that it makes."""
    return {node.outputs[0]: rule.readings[0].value for node, rule in rules.items() if rule.transparent}


def quantizer_of(value: ir.Value) -> ir.Node | None:
    """The node that quantized a tensor, whose zero point is the integer that stands for zero.

    Args:
        value: A tensor of any type.

    Returns:
        The QuantizeLinear, also where operators that only move integers lie between; None for a tensor that is not of
        8-bit integers.

    Raises:
        StreamingError: What quantized the integers cannot be found, or its scales differ by channel and the tensor
            holds a part of them.
    """
    if value.dtype not in _QUANTIZED:
        return None
    node = value.producer()
    moved = False
    while node is not None and node.op_type in _MOVERS and node.inputs[0] is not None:
        node, moved = node.inputs[0].producer(), True
    if node is None or node.op_type != "QuantizeLinear":
        raise StreamingError(f"{value} holds integers of which none is known to stand for zero")
    scale = node.inputs[1]
    if moved and (scale is None or scale.const_value is None or scale.const_value.size != 1):
        raise StreamingError(
            f"{value} holds a part of the channels that node {node.name!r} scales one by one"
        )
    return node


def zeroed_values(graph: ir.Graph, rules: dict[ir.Node, Rule]) -> set[ir.Value]:
    """Tensors that are read beyond the utterance and are not known to be zero there.

    Those that repeat an end outside are among them: what is repeated is added to the zeros.
    """
    before = parents(rules)
    wanted: set[ir.Value] = set()
    for rule in rules.values():
        for reading in rule.readings:
            # A mirrored position reads the utterance itself, and pairs have masks of their own.
            if reading.beyond and reading.outside not in ("reflect", "pairs"):
                value = reading.value
                while value in before:
                    value = before[value]
                wanted.add(value)
    zeroed = {value for value in graph.inputs if value in wanted}
    zero = set(zeroed)
    for node, rule in rules.items():
        known = [reading.value in zero for reading in rule.readings]
        zeros = {"any": any(known), "all": all(known), "never": False}[rule.zeros]
        for value in node.outputs:
            if zeros or value in wanted:
                zero.add(value)
            if value in wanted and not zeros:
                zeroed.add(value)
    return zeroed
