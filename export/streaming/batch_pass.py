"""From an offline graph to one for utterances of different lengths, each as if alone."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from voirs_vocoder.export.passes.precision_checks import all_values, refuse_unless_plain
from voirs_vocoder.export.streaming.axes import Axes
from voirs_vocoder.export.streaming.masks import Masks
from voirs_vocoder.export.streaming.reading import TimeAxis
from voirs_vocoder.export.streaming.rules import graph_rules, zeroed_values
from voirs_vocoder.export.streaming.writer import GraphWriter
from voirs_vocoder.runtime.drivers.batch_graph import LENGTHS

__all__ = ["BatchPass"]


class BatchPass(ir.passes.InPlacePass):
    """Zeroes every tensor behind the end of each utterance, wherever a node reads beyond it.

    The offline graph pads an utterance that stands alone with zeros at every layer; what stands in those places when a
    longer utterance is in the same batch would otherwise be heard.

    Args:
        axes: Tensor name to its time axis, as `time_axes` finds it.
    """

    def __init__(self, axes: Mapping[str, TimeAxis]) -> None:
        """See the class."""
        super().__init__()
        self._found = axes

    def requires(self, model: ir.Model) -> None:
        """The graph is plain.

        Raises:
            PreconditionError: It is not.
        """
        refuse_unless_plain(model, quantized=True)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite in place."""
        graph = model.graph
        axes = Axes.of_graph(graph, self._found)
        rules = graph_rules(graph, axes, integer_history=False)
        writer = GraphWriter(
            [value.name for value in all_values(graph)] + [LENGTHS], [node.name for node in graph]
        )
        lengths = ir.Value(name=LENGTHS, shape=ir.Shape(["batch"]), type=ir.TensorType(ir.DataType.INT64))
        zeroed = sorted(zeroed_values(graph, rules), key=lambda value: str(value.name))
        rates = {axes.require(value).rate for value in zeroed}
        first = next(value for value in graph.inputs if axes.of(value) is not None)
        masks = Masks(
            writer,
            axes.frames_of(first, writer),
            writer.integers(0),
            lengths,
            dict.fromkeys(rates, (0,)),
        )
        multiplied = []
        for value in zeroed:
            if value.dtype is None:
                raise ir.passes.PassError(f"{value} must have a type")
            mask = masks.of(axes.require(value), 0, value.dtype)
            multiplied.append((value, mask))
        head = list(writer.nodes)
        graph.inputs.append(lengths)
        for constant in writer.constants.values():
            graph.register_initializer(constant)
        graph.insert_before(graph[0], head)
        for value, mask in multiplied:
            _zero(graph, value, mask, writer)
        return ir.passes.PassResult(model, modified=True)

    def ensures(self, model: ir.Model) -> None:
        """The graph is told the lengths.

        Raises:
            PostconditionError: It is not.
        """
        if LENGTHS not in {value.name for value in model.graph.inputs}:
            raise ir.passes.PostconditionError("a batch graph needs the input lengths")


def _zero(graph: ir.Graph, value: ir.Value, mask: ir.Value, writer: GraphWriter) -> None:
    """Let everything that reads a tensor read its product with a mask."""
    readers = list(value.uses())
    producer = value.producer()
    (product,) = writer.add("Mul", [value, mask], name=f"{value.name}.masked")
    node = writer.nodes.pop()
    for reader, index in readers:
        if reader.op_type != "Shape":
            reader.replace_input_with(index, product)
    last_of_mask = mask.producer()
    behind = producer if producer is not None else last_of_mask
    if behind is None:
        raise ir.passes.PassError(f"{value} and its mask must be made by nodes")
    graph.insert_after(behind, node)
