"""From an offline graph to one for utterances of different lengths, each as if alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from voirs_vocoder.export.passes.precision_checks import all_values, refuse_unless_plain
from voirs_vocoder.export.streaming.axes import Axes, Padding
from voirs_vocoder.export.streaming.edges import Edges
from voirs_vocoder.export.streaming.masks import Masks
from voirs_vocoder.export.streaming.pairs import Pairs, pads_from_pairs
from voirs_vocoder.export.streaming.reading import Outside, TimeAxis, dtype_of
from voirs_vocoder.export.streaming.reflections import Reflections, pads_from_gathers
from voirs_vocoder.export.streaming.rules import graph_rules, quantizer_of, zeroed_values
from voirs_vocoder.export.streaming.writer import GraphWriter
from voirs_vocoder.runtime.drivers.row_graph import LENGTHS

__all__ = ["BatchPass"]


class BatchPass(ir.passes.InPlacePass):
    """Zeroes every tensor behind the end of each utterance, wherever a node reads beyond it.

    The offline graph pads a single utterance with zeros at every layer. Beside a longer utterance of the same batch,
    other values would stand in those positions and become audible. Where it pads by the ends, the last value of each
    utterance is repeated there, where it pads pairs of half-steps, its last half-step, and where it pads by reflection,
    each utterance is mirrored.

    Args:
        axes: Time axes by tensor name, as `time_axes` finds them.
        integer_zeros: Whether a quantized tensor is zeroed in integers, so that ONNX Runtime fuses the operators on
            both sides; TensorRT needs QuantizeLinear and DequantizeLinear side by side.
    """

    def __init__(self, axes: Mapping[str, TimeAxis], *, integer_zeros: bool = False) -> None:
        super().__init__()
        self._found = axes
        self._integer_zeros = integer_zeros

    def requires(self, model: ir.Model) -> None:
        """The graph is flat, typed and of standard operators.

        Raises:
            PreconditionError: The graph is not; the message names what is wrong.
        """
        refuse_unless_plain(model, quantized=True)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite in place."""
        graph = model.graph
        pads_from_gathers(graph)
        pads_from_pairs(graph)
        axes = Axes.of_graph(graph, self._found)
        rules = graph_rules(graph, axes, integer_history=self._integer_zeros)
        writer = GraphWriter(
            [value.name for value in all_values(graph)] + [LENGTHS], [node.name for node in graph]
        )
        lengths = ir.Value(name=LENGTHS, shape=ir.Shape(["batch"]), type=ir.TensorType(ir.DataType.INT64))
        zeroed = sorted(zeroed_values(graph, rules), key=lambda value: str(value.name))
        needed: dict[int, set[int]] = {}
        for value in zeroed:
            needed.setdefault(axes.require(value).rate, {0}).add(-axes.require(value).extra)
        for below in axes.padded.values():
            if below.outside == "reflect":
                needed.setdefault(axes.require(below.value).rate, {0}).update((below.before, -below.after))
            if below.outside == "pairs":
                needed.setdefault(axes.require(below.value).rate, {0}).add(-1)
        first = next(value for value in graph.inputs if axes.of(value) is not None)
        masks = Masks(
            writer,
            axes.frames_of(first, writer),
            None,
            lengths,
            needed,
        )
        masked = []
        for value in zeroed:
            zero_point = _zero_point(value)
            dtype = dtype_of(value) if zero_point is None else ir.DataType.BOOL
            axis = axes.require(value)
            masked.append((value, masks.of(axis, 0, dtype, lag=-axis.extra), zero_point))
        head = list(writer.nodes)
        graph.inputs.append(lengths)
        graph.insert_before(graph[0], head)
        for value, mask, zero_point in masked:
            _zero(graph, value, mask, zero_point, writer)
        _fill(graph, axes, Edges(writer, masks), writer)
        _mirror(graph, axes, Reflections(writer, masks), writer)
        _fill_pairs(graph, axes, Pairs(writer, masks), writer)
        for constant in writer.constants.values():
            graph.register_initializer(constant)
        # Counts of the padding that was replaced.
        RemoveUnusedNodesPass()(model)
        return ir.passes.PassResult(model, modified=True)

    def ensures(self, model: ir.Model) -> None:
        """The graph has an input for the lengths.

        Raises:
            PostconditionError: The input is missing.
        """
        if LENGTHS not in {value.name for value in model.graph.inputs}:
            raise ir.passes.PostconditionError("a batch graph needs the input lengths")


def _zero_point(value: ir.Value) -> ir.Value | None:
    """The integer that stands for zero in a quantized tensor; None for a tensor in which zero is zero."""
    quantizer = quantizer_of(value)
    return None if quantizer is None or len(quantizer.inputs) < 3 else quantizer.inputs[2]


def _zero(
    graph: ir.Graph, value: ir.Value, mask: ir.Value, zero_point: ir.Value | None, writer: GraphWriter
) -> None:
    """Insert zeros outside a mask into a tensor, and let all readers of the tensor read the result, except Shape."""
    readers = list(value.uses())
    producer = value.producer()
    operator, inputs = ("Mul", [value, mask]) if zero_point is None else ("Where", [mask, value, zero_point])
    (zeroed,) = writer.add(operator, inputs, name=f"{value.name}.masked")
    node = writer.nodes.pop()
    for reader, index in readers:
        if reader.op_type != "Shape":
            reader.replace_input_with(index, zeroed)
    last_of_mask = mask.producer()
    behind = producer if producer is not None else last_of_mask
    if behind is None:
        raise ir.passes.PassError(f"{value} and its mask must be made by nodes")
    graph.insert_after(behind, node)


def _pads(graph: ir.Graph, axes: Axes, outside: Outside) -> Iterator[tuple[ir.Node, ir.Value, Padding]]:
    """Every Pad along time that adds such values, with its input and what it does; the caller may replace it."""
    for node in list(graph):
        below = axes.padded.get(node.outputs[0]) if node.op_type == "Pad" else None
        source = node.inputs[0] if node.inputs else None
        if below is not None and below.outside == outside and source is not None:
            yield node, source, below


def _fill(graph: ir.Graph, axes: Axes, edges: Edges, writer: GraphWriter) -> None:
    """Repeat the last value of each utterance behind it, before every Pad that repeats that of the whole tensor."""
    filled: dict[ir.Value, ir.Value] = {}
    for node, source, below in _pads(graph, axes, "edge"):
        if source not in filled:
            start = len(writer.nodes)
            axis, name = axes.require(below.value), str(below.value.name)
            filled[source] = edges.filled(source, axis, 0, 0, dtype_of(below.value), name)
            graph.insert_before(node, writer.nodes[start:])
        node.replace_input_with(0, filled[source])


def _mirror(graph: ir.Graph, axes: Axes, reflections: Reflections, writer: GraphWriter) -> None:
    """Mirror each utterance at its own ends, in place of every Pad that mirrors the whole tensor."""
    made: dict[tuple[ir.Value, int, int], ir.Value] = {}
    for node, source, below in _pads(graph, axes, "reflect"):
        key = (source, below.before, below.after)
        if key not in made:
            start = len(writer.nodes)
            axis, name = axes.require(below.value), str(below.value.name)
            made[key] = reflections.filled(source, axis, 0, 0, name, (below.before, below.after))
            graph.insert_before(node, writer.nodes[start:])
        ir.convenience.replace_all_uses_with(node.outputs[0], made[key])
        graph.remove(node, safe=True)


def _fill_pairs(graph: ir.Graph, axes: Axes, pairs: Pairs, writer: GraphWriter) -> None:
    """Repeat the last half-step of each utterance behind it, in place of every Pad that pads pairs."""
    for node, source, below in _pads(graph, axes, "pairs"):
        start = len(writer.nodes)
        axis, name = axes.require(below.value), str(below.value.name)
        filled = pairs.filled(source, axis, 0, -axis.extra, dtype_of(below.value), name)
        made = pairs.padded(filled, below.before, below.after, name)
        graph.insert_before(node, writer.nodes[start:])
        ir.convenience.replace_all_uses_with(node.outputs[0], made)
        graph.remove(node, safe=True)
