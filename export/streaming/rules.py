"""What both passes find in a graph: how each node reads time, and which tensors must be zero outside."""

from __future__ import annotations

import onnx_ir as ir

from voirs_vocoder.export.streaming.axes import Axes
from voirs_vocoder.export.streaming.operators import rule_of
from voirs_vocoder.export.streaming.reading import Rule

__all__ = ["graph_rules", "parents", "zeroed_values"]


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


def zeroed_values(graph: ir.Graph, rules: dict[ir.Node, Rule]) -> set[ir.Value]:
    """Tensors that are read beyond the utterance and are not known to be zero there."""
    before = parents(rules)
    wanted: set[ir.Value] = set()
    for rule in rules.values():
        for reading in rule.readings:
            if reading.beyond:
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
