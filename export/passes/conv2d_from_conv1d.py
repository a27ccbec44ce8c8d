"""From 1-D to 2-D convolutions, for which GPU libraries have kernels in every precision."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import LiftConstantsToInitializersPass

from voirs_vocoder.calibration.edits.reading import constant
from voirs_vocoder.calibration.edits.writer import NodeWriter
from voirs_vocoder.export.passes.precision_checks import refuse_unless_plain
from voirs_vocoder.export.passes.widening import (
    CONVOLUTIONS,
    Widening,
    rank_of,
    widened_shape,
    widening_of,
)

__all__ = ["Conv2dFromConv1dPass"]

_AXIS = 2


class Conv2dFromConv1dPass(ir.passes.InPlacePass):
    """Turns every 1-D convolution into a 2-D one over tensors [N, C, 1, W], with kernels [1, k].

    What lies between the convolutions computes on four axes as well, where its operator allows it and that saves a
    change of shape. Unsqueeze and Squeeze stand only at the borders: behind inputs, before outputs, and around
    operators that need three axes. The results are the same sums of the same products. Inputs, outputs and the names
    of nodes stay as they are.
    """

    def requires(self, model: ir.Model) -> None:
        """The graph is flat, typed and of standard operators.

        Raises:
            PreconditionError: The graph is not; the message names what is wrong.
        """
        refuse_unless_plain(model, quantized=True)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite in place."""
        LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
        graph = model.graph
        chosen = _chosen(graph)
        if not chosen:
            return ir.passes.PassResult(model, modified=False)
        inputs = [value for value in graph.inputs if rank_of(value) == 3]
        made = [value for node in graph for value in node.outputs if rank_of(value) == 3]
        writer = NodeWriter(graph)
        axes = writer.constant("integers.2", np.array([_AXIS], np.int64))
        for value in (*inputs, *made):
            _cross(graph, value, chosen, writer, axes)
        if not list(axes.uses()):
            del graph.initializers[str(axes.name)]
        constants = _Constants(writer)
        for node in [node for node in graph if node in chosen]:
            constants.change(node, chosen[node])
            for attribute in chosen[node].attributes.values():
                node.attributes.add(attribute)
        return ir.passes.PassResult(model, modified=True)

    def ensures(self, model: ir.Model) -> None:
        """No 1-D convolution is left.

        Raises:
            PostconditionError: A convolution has a kernel of one axis.
        """
        left = [node.name for node in model.graph if node.op_type in CONVOLUTIONS and _is_1d(node)]
        if left:
            raise ir.passes.PostconditionError(
                f"every convolution must be 2-D, got {left[:5]}; report the model"
            )


def _is_1d(node: ir.Node) -> bool:
    return rank_of(node.inputs[1]) == 3


def _chosen(graph: ir.Graph) -> dict[ir.Node, Widening]:
    """The nodes that compute on four axes: all 1-D convolutions, and others where that saves changes of shape."""
    chosen = {node: widening for node in graph if (widening := widening_of(node)) is not None}
    chosen = _connected_to_convolutions(chosen)
    beside = {node: _values_beside(node) for node in chosen}
    changing = True
    while changing:
        changing = False
        for node in beside:
            if node in chosen and node.op_type not in CONVOLUTIONS:
                before, widening = _borders(beside[node], chosen), chosen.pop(node)
                if _borders(beside[node], chosen) < before:
                    changing = True
                else:
                    chosen[node] = widening
    return chosen


def _connected_to_convolutions(chosen: dict[ir.Node, Widening]) -> dict[ir.Node, Widening]:
    reached: set[ir.Node] = set()
    waiting = [node for node in chosen if node.op_type in CONVOLUTIONS]
    while waiting:
        node = waiting.pop()
        if node in reached:
            continue
        reached.add(node)
        beside: list[ir.Node] = []
        if chosen[node].writes:
            for value in node.outputs:
                beside.extend(
                    reader for reader, number in value.uses() if _reads_wide(reader, number, chosen)
                )
        for number in chosen[node].reads:
            producer = _producer(node.inputs[number])
            if producer in chosen and chosen[producer].writes:
                beside.append(producer)
        waiting.extend(beside)
    return {node: widening for node, widening in chosen.items() if node in reached}


def _producer(value: ir.Value | None) -> ir.Node | None:
    return None if value is None else value.producer()


def _values_beside(node: ir.Node) -> list[ir.Value]:
    values = [value for value in (*node.inputs, *node.outputs) if value is not None and rank_of(value) == 3]
    return [value for value in dict.fromkeys(values) if constant(value) is None]


def _borders(values: list[ir.Value], chosen: dict[ir.Node, Widening]) -> int:
    """How many of the values are needed with three axes and with four."""
    return sum(_is_border(value, chosen) for value in values)


def _is_wide(value: ir.Value, chosen: dict[ir.Node, Widening]) -> bool:
    producer = value.producer()
    return producer is not None and producer in chosen and chosen[producer].writes


def _reads_wide(node: ir.Node, number: int, chosen: dict[ir.Node, Widening]) -> bool:
    return node in chosen and number in chosen[node].reads


def _is_border(value: ir.Value, chosen: dict[ir.Node, Widening]) -> bool:
    wide = _is_wide(value, chosen)
    return (wide and value.is_graph_output()) or any(
        _reads_wide(node, number, chosen) != wide for node, number in value.uses()
    )


def _cross(
    graph: ir.Graph, value: ir.Value, chosen: dict[ir.Node, Widening], writer: NodeWriter, axes: ir.Value
) -> None:
    """Give every reader of a value the number of axes that it reads."""
    producer, wide, shape = value.producer(), _is_wide(value, chosen), value.shape
    if shape is None:
        raise ir.passes.PassError(f"{value} must have a shape")
    others = [use for use in value.uses() if _reads_wide(*use, chosen) != wide]
    needed = bool(others) or (wide and value.is_graph_output())
    wide_shape = ir.Shape(widened_shape(list(shape)))
    if wide:
        value.shape = wide_shape
    if not needed:
        return
    if wide and value.is_graph_output():
        # The name at the boundary is part of the graph's contract.
        name, value.name = str(value.name), writer.claim(f"{value.name}.2d")
        node = writer.node("Squeeze", [value, axes], name)
        node.outputs[0].name = name
        graph.outputs[graph.outputs.index(value)] = node.outputs[0]
    elif wide:
        node = writer.node("Squeeze", [value, axes], f"{value.name}.1d")
    else:
        node = writer.node("Unsqueeze", [value, axes], f"{value.name}.2d")
    node.outputs[0].type = value.type
    node.outputs[0].shape = shape if wide else wide_shape
    for reader, number in others:
        reader.replace_input_with(number, node.outputs[0])
    if producer is None:
        graph.insert_before(graph[0], node)
    else:
        graph.insert_after(producer, node)


class _Constants:
    """Changes constants; one that other nodes read as well is copied, once for all readers that need the same."""

    def __init__(self, writer: NodeWriter) -> None:
        self._writer = writer
        self._copies: dict[tuple[ir.Value, bytes, tuple[int, ...]], ir.Value] = {}

    def change(self, node: ir.Node, widening: Widening) -> None:
        """Give a node the constants that it needs on four axes."""
        changes = dict(widening.constants)
        for number in widening.reads:
            values = constant(node.inputs[number])
            if values is not None:
                changes[number] = np.expand_dims(values, _AXIS)
        for number, values in changes.items():
            old = node.inputs[number]
            if old is not None and not _equal(constant(old), values):
                self._replace(node, number, old, values)

    def _replace(self, node: ir.Node, number: int, old: ir.Value, values: NDArray[np.generic]) -> None:
        if len(list(old.uses())) == 1 and not old.is_graph_output():
            old.const_value, old.shape = ir.tensor(values, name=old.name), ir.Shape(values.shape)
            return
        key = (old, values.tobytes(), values.shape)
        if key not in self._copies:
            self._copies[key] = self._writer.constant(f"{old.name}.2d", values)
        node.replace_input_with(number, self._copies[key])


def _equal(values: NDArray[np.generic] | None, others: NDArray[np.generic]) -> bool:
    return values is not None and values.shape == others.shape and bool(np.array_equal(values, others))
