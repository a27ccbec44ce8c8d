"""The time axis of each tensor of a graph, and the tensors below padding along time."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from voirs_vocoder.export.streaming.pairs import PAIRS
from voirs_vocoder.export.streaming.reading import Outside, StreamingError, TimeAxis
from voirs_vocoder.export.streaming.writer import GraphWriter

__all__ = ["Axes", "Padding"]

# Values of the attribute `mode` of Pad that the passes know.
_MODES: dict[str, Outside] = {"constant": "zero", "edge": "edge", "reflect": "reflect", PAIRS: "pairs"}
# They give the same for a repeated or mirrored position as for the position itself, and stand between padding and the
# convolution in reduced precisions.
_CARRIERS = frozenset({"Cast", "QuantizeLinear", "DequantizeLinear"})


@dataclass(frozen=True)
class Padding:
    """A Pad along time, and what is done to its output position by position.

    Attributes:
        value: Tensor below the padding.
        before: Number of positions that are added before the tensor.
        after: Number of positions that are added after the tensor.
        outside: What is added.
        above: Tensors from the one above the Pad's output to the one that is read, each made of the one before.
    """

    value: ir.Value
    before: int
    after: int
    outside: Outside
    above: tuple[ir.Value, ...] = ()


@dataclass(frozen=True)
class Axes:
    """The time axes of a graph's tensors.

    Attributes:
        found: Time axes by tensor name; tensors without time are left out.
        padded: Padding by the output of each Pad along time, and by those of the nodes above it.
    """

    found: Mapping[str, TimeAxis]
    padded: Mapping[ir.Value, Padding]

    def of(self, value: ir.Value | None) -> TimeAxis | None:
        """The time axis of a tensor; None for one without time."""
        return None if value is None or value.name is None else self.found.get(value.name)

    @classmethod
    def of_graph(cls, graph: ir.Graph, found: Mapping[str, TimeAxis]) -> Axes:
        """The axes of a graph's tensors.

        Args:
            graph: Flat graph.
            found: Time axes by tensor name, as `time_axes` finds them.

        Raises:
            StreamingError: A Pad adds other values than zeros, those of the ends and mirrored ones, or pads another
                axis than time.
        """
        return cls(found, _padded_along_time(graph, found))

    def require(self, value: ir.Value | None) -> TimeAxis:
        """The time axis of a tensor.

        Raises:
            StreamingError: The tensor has no time axis.
        """
        axis = self.of(value)
        if axis is None:
            raise StreamingError(f"{value} must hold time")
        return axis

    def is_padding(self, node: ir.Node) -> bool:
        """Whether a node pads along time, or only carries what was padded; the parts that a stream reads replace it."""
        return node.outputs[0] in self.padded

    def frames_of(self, value: ir.Value, writer: GraphWriter) -> ir.Value:
        """Add nodes that compute the number of mel frames in a tensor, int64 [1]."""
        axis = self.require(value)
        attributes = {"start": axis.axis, "end": axis.axis + 1}
        (size,) = writer.add("Shape", [value], attributes, name="chunk.positions")
        if axis.rate == 1:
            return size
        return writer.add("Div", [size, writer.integers(axis.rate)], name="chunk.frames")[0]


def _carries(node: ir.Node, found: Mapping[str, TimeAxis]) -> bool:
    """Whether a node's outputs depend, position by position, on its first input alone."""
    # Convolutions of many channels are split for sums in one order.
    if node.op_type != "Split":
        return node.op_type in _CARRIERS
    axis = found.get(str(None if node.inputs[0] is None else node.inputs[0].name))
    attribute = node.attributes.get("axis")
    along = 0 if attribute is None else attribute.as_int()
    return axis is not None and along % axis.rank != axis.axis


def _padded_along_time(graph: ir.Graph, found: Mapping[str, TimeAxis]) -> dict[ir.Value, Padding]:
    """Pads along time, by their outputs."""
    padded: dict[ir.Value, Padding] = {}
    for node in graph:
        value = node.inputs[0] if node.inputs else None
        axis = None if value is None else found.get(str(value.name))
        below = None if value is None else padded.get(value)
        if below is not None and below.outside != "zero" and _carries(node, found):
            for output in node.outputs:
                padded[output] = dataclasses.replace(below, above=(*below.above, output))
            continue
        if node.op_type != "Pad" or value is None or axis is None:
            continue
        counts = None if node.inputs[1] is None else ir.convenience.get_const_tensor(node.inputs[1])
        attribute = node.attributes.get("mode")
        mode = "constant" if attribute is None else attribute.as_string()
        if counts is None or mode not in _MODES or len(node.inputs) > 2:
            raise StreamingError(
                f"node {node.name!r} (Pad): it must add zeros, the values of the ends or mirrored ones, a constant "
                "number of them"
            )
        numbers = counts.numpy().tolist()
        before, after = numbers[axis.axis], numbers[axis.axis + axis.rank]
        if sum(numbers) != before + after or min(numbers) < 0:
            raise StreamingError(f"node {node.name!r} (Pad): it must pad time alone")
        padded[node.outputs[0]] = Padding(value, before, after, _MODES[mode])
    return padded
