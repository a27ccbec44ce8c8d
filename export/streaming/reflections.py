"""The utterance mirrored at its ends outside of it, as offline graphs pad by reflection."""

from __future__ import annotations

import onnx_ir as ir

from voirs_vocoder.export.streaming.masks import Masks
from voirs_vocoder.export.streaming.positions import flat, gathered, unflat
from voirs_vocoder.export.streaming.reading import StreamingError, TimeAxis
from voirs_vocoder.export.streaming.writer import GraphWriter, remove_unread

__all__ = ["Reflections", "pads_from_gathers"]


class Reflections:
    """Fills what lies outside the utterance, wherever in a chunk the utterance begins and ends.

    A convolution that reaches equally far to both sides reads, for each of its valid outputs, the position that a
    position outside mirrors as well: both lie in the same part of the tensor, for any sizes of chunks.

    Args:
        writer: Writer of the graph.
        masks: Masks of the graph.
    """

    def __init__(self, writer: GraphWriter, masks: Masks) -> None:
        self._writer = writer
        self._masks = masks

    def filled(
        self,
        part: ir.Value,
        axis: TimeAxis,
        late: int,
        lag: int,
        name: str,
        padding: tuple[int, int] = (0, 0),
    ) -> ir.Value:
        """Add nodes that pick each position of a part, or the one that it mirrors.

        Args:
            part: The part, with any values outside the utterance.
            axis: Time axis of the tensor, the last of its axes.
            late: Delay of the part's first position, in positions of the tensor.
            lag: Delay of the last position of a chunk.
            name: Name of the tensor.
            padding: Number of positions that the result holds before and after those of the part.

        Raises:
            StreamingError: The tensor is no [batch, ..., time].
        """
        if axis.axis != axis.rank - 1 or axis.shape[0] is not None:
            raise StreamingError(f"tensor {name!r} is padded by reflection, so time must be its last axis")
        writer = self._writer
        part = flat(writer, part, axis, name)
        places = self._masks.mirrors(axis.rate, late, lag, padding)
        filled = gathered(writer, part, places, axis, name, "mirrored")
        return unflat(writer, filled, axis, f"{name}.mirrored")


def pads_from_gathers(graph: ir.Graph) -> None:
    """Write every reflection along time as one Pad, in place.

    Offline graphs gather the mirrored positions, since Pad refuses an utterance that is shorter than they reach. The
    passes replace each Pad by positions of their own.

    Args:
        graph: Flat graph whose tensors have types and shapes.
    """
    for node in list(graph):
        reach = _reach(node)
        if reach is None:
            continue
        source, output = node.inputs[1], node.outputs[0]
        if source is None or source.shape is None:
            continue
        rank, axis = len(source.shape), node.attributes["axis"].as_int()
        counts = [0] * 2 * rank
        counts[axis], counts[axis + rank] = reach
        tensor = ir.tensor(counts, ir.DataType.INT64, name=f"{output.name}.counts")
        constant = ir.tape.Tape().initializer(tensor)
        graph.register_initializer(constant)
        pad = ir.node("Pad", [source, constant], {"mode": "reflect"}, name=f"{node.name}.reflected")
        made = pad.outputs[0]
        # Time axes are known by the names of tensors.
        made.name, made.type, made.shape = output.name, output.type, output.shape
        output.name = f"{made.name}.gathered"
        graph.insert_before(node, pad)
        ir.convenience.replace_all_uses_with(output, made)
        remove_unread(graph, node)


def _reach(node: ir.Node) -> tuple[int, int] | None:
    """How many positions a node joins to both sides of a tensor, gathered from it at places that its size decides.

    Returns:
        The numbers of positions before and after the tensor; None for a node that does something else.
    """
    if node.op_type != "Concat" or len(node.inputs) != 3:
        return None
    counts = []
    for value in (node.inputs[0], node.inputs[2]):
        gather = None if value is None else value.producer()
        if (
            gather is None
            or gather.op_type != "Gather"
            or gather.inputs[0] is not node.inputs[1]
            or gather.attributes["axis"].as_int() != node.attributes["axis"].as_int()
            or gather.inputs[1] is None
            or gather.inputs[1].shape is None
            or len(gather.inputs[1].shape) != 1
            or not isinstance(gather.inputs[1].shape[0], int)
            or not _follows_size(gather.inputs[1])
        ):
            return None
        counts.append(gather.inputs[1].shape[0])
    before, after = counts
    return before, after


def _follows_size(value: ir.Value) -> bool:
    """Whether a value is computed from the size of a tensor."""
    pending, seen = [value], set()
    while pending:
        node = pending.pop().producer()
        if node is None or node in seen:
            continue
        if node.op_type == "Shape":
            return True
        seen.add(node)
        pending.extend(each for each in node.inputs if each is not None)
    return False
