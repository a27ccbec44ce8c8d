"""Pairs of half-steps in two rows, padded by the first and the last half-step of an utterance.

At a position t of such a tensor, row 0 holds the half-step before t and row 1 that of t itself. An utterance of T
positions has one position more: at 0 only row 1 and at T only row 0 belong to it, and they stand for all before and
after.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import onnx_ir as ir

from voirs_vocoder.export.streaming.masks import Masks
from voirs_vocoder.export.streaming.positions import flat, gathered
from voirs_vocoder.export.streaming.reading import StreamingError, TimeAxis
from voirs_vocoder.export.streaming.writer import END, GraphWriter, remove_unread

__all__ = ["PAIRS", "Pairs", "pads_from_pairs"]

PAIRS = "pairs"
"""The mode of a Pad that stands for the nodes that pad pairs; only the passes know it."""

_FIRST, _LAST = 1, 0
"""The row of the first and of the last half-step."""


class Pairs:
    """Fills what lies outside the utterance, wherever in a chunk the utterance begins and ends.

    Args:
        writer: Writer of the graph.
        masks: Masks of the graph.
    """

    def __init__(self, writer: GraphWriter, masks: Masks) -> None:
        self._writer = writer
        self._masks = masks

    def filled(
        self, part: ir.Value, axis: TimeAxis, late: int, lag: int, dtype: ir.DataType, name: str
    ) -> ir.Value:
        """Add nodes that repeat the first and the last half-step in a part of a tensor.

        Args:
            part: The part, with any finite values outside the utterance.
            axis: Time axis of the tensor.
            late: Delay of the part's first position, in positions of the tensor.
            lag: Delay of the last position of a chunk.
            dtype: Floating-point type of the tensor.
            name: Name of the tensor.
        """
        writer, masks, rate = self._writer, self._masks, axis.rate
        plain = dataclasses.replace(axis, extra=0)
        # Both rows of a position belong to the utterance where it and the one before it do.
        inside = masks.of(plain, late, dtype, lag=lag)
        outside = masks.outside(rate, late, lag, dtype)
        # The last place is the position after the last one of the utterance.
        places = masks.ends(rate, late + 1, lag + 1)
        rows = [_LAST]
        if masks.has_begin:
            before = masks.of(plain, late + 1, dtype, lag=lag + 1)
            (inside,) = writer.add("Mul", [inside, before], name=f"{name}.inside")
            outside = self._sides(
                masks.outside(rate, late + 1, lag + 1, dtype), outside, 1, f"{name}.outside"
            )
            places = self._sides(masks.ends(rate, late, lag), places, 2, f"{name}.ends.places")
            rows = [_FIRST, _LAST]
        (kept,) = writer.add("Mul", [part, inside], name=f"{name}.kept")
        ends = gathered(writer, flat(writer, part, axis, name), places, axis, name, "ends")
        ends = writer.reshape(ends, 0, -1, 2, len(rows), name=f"{name}.ends.shaped")
        picked = [
            writer.slice(
                writer.slice(ends, row, row + 1, 2, name=f"{name}.ends.{side}.row"),
                side,
                side + 1,
                3,
                name=f"{name}.ends.{side}",
            )
            for side, row in enumerate(rows)
        ]
        both = picked[0]
        if len(picked) > 1:
            (both,) = writer.add("Concat", picked, {"axis": 3}, name=f"{name}.ends.picked")
        shaped = writer.unsqueeze(outside, 1, name=f"{name}.outside.shaped")
        (added,) = writer.add("MatMul", [both, shaped], name=f"{name}.repeated")
        return writer.add("Add", [kept, added], name=f"{name}.filled")[0]

    def padded(self, filled: ir.Value, before: int, after: int, name: str) -> ir.Value:
        """Add nodes that pad the pairs of utterances which all begin at the first position.

        Args:
            filled: The pairs, with the last half-step of each utterance behind it.
            before: Number of positions to add before the first.
            after: Number of positions to add after the last.
            name: Name of the tensor.
        """
        writer = self._writer
        first = writer.slice(filled, 0, 1, 3, name=f"{name}.first.pair")
        first = writer.slice(first, _FIRST, _FIRST + 1, 2, name=f"{name}.first")
        (first,) = writer.add("Concat", [first, first], {"axis": 2}, name=f"{name}.first.rows")
        last = writer.slice(filled, -1, END, 3, name=f"{name}.last")
        middle = writer.slice(filled, 1, -1, 3, name=f"{name}.middle")
        parts = [first] * (before + 1) + [middle] + [last] * (after + 1)
        return writer.add("Concat", parts, {"axis": 3}, name=f"{name}.padded")[0]

    def _sides(self, begin: ir.Value, end: ir.Value, axis: int, name: str) -> ir.Value:
        """The side of the begin of one tensor and that of the end of another."""
        writer = self._writer
        sides = [
            writer.slice(begin, 0, 1, axis, name=f"{name}.begin"),
            writer.slice(end, 1, 2, axis, name=f"{name}.end"),
        ]
        return writer.add("Concat", sides, {"axis": axis}, name=name)[0]


def pads_from_pairs(graph: ir.Graph) -> None:
    """Write the padding of every tensor of pairs as one Pad of the mode `PAIRS`, in place.

    Args:
        graph: Flat graph whose tensors have types and shapes.

    Raises:
        StreamingError: A tensor of pairs has other axes than [batch, channels, 2, positions].
    """
    for node in list(graph):
        found = _padded_pairs(node)
        if found is None:
            continue
        source, before, after = found
        if source.shape is None or len(source.shape) != 4 or source.shape[2] != 2:
            raise StreamingError(
                f"node {node.name!r} (Concat): pairs must be [batch, channels, 2, positions], got {source.shape}"
            )
        output = node.outputs[0]
        counts = ir.tensor([0, 0, 0, before, 0, 0, 0, after], ir.DataType.INT64, name=f"{output.name}.counts")
        constant = ir.tape.Tape().initializer(counts)
        graph.register_initializer(constant)
        pad = ir.node("Pad", [source, constant], {"mode": PAIRS}, name=f"{node.name}.pairs")
        made = pad.outputs[0]
        # Time axes are known by the names of tensors.
        made.name, made.type, made.shape = output.name, output.type, output.shape
        output.name = f"{made.name}.joined"
        graph.insert_before(node, pad)
        ir.convenience.replace_all_uses_with(output, made)
        remove_unread(graph, node)


def _padded_pairs(node: ir.Node) -> tuple[ir.Value, int, int] | None:
    """The pairs that a node pads, and the number of positions that it adds before and after them; None for another."""
    if node.op_type != "Concat" or len(node.inputs) < 3:
        return None
    first, last = node.inputs[0], node.inputs[-1]
    before = _repeats(node.inputs, first)
    after = _repeats(node.inputs[::-1], last)
    if before + after + 1 != len(node.inputs):
        return None
    middle = _cut(node.inputs[before], 1, -1)
    if middle is None or middle is not _end(first, 0, _FIRST) or middle is not _end(last, -1, _LAST):
        return None
    return middle, before - 1, after - 1


def _repeats(values: Sequence[ir.Value | None], value: ir.Value | None) -> int:
    """How many of the first values are the same one."""
    return next((index for index, each in enumerate(values) if each is not value), len(values))


def _end(value: ir.Value | None, place: int, row: int) -> ir.Value | None:
    """The tensor whose first (0) or last (-1) position a value holds, with this row twice; None for another value."""
    node = None if value is None else value.producer()
    if node is None or node.op_type != "Gather" or node.attributes.get_int("axis", 0) != 2:
        return None
    if _numbers(node, 1) != [row, row]:
        return None
    return _cut(node.inputs[0], place, None if place else 1)


def _cut(value: ir.Value | None, start: int, end: int | None) -> ir.Value | None:
    """The tensor whose last axis a Slice cuts so; None for another value."""
    node = None if value is None else value.producer()
    if node is None or node.op_type != "Slice":
        return None
    numbers = [_numbers(node, index) for index in range(1, 5) if index < len(node.inputs)]
    if (
        len(numbers) < 3
        or numbers[0] != [start]
        or numbers[2] != [3]
        or (len(numbers) > 3 and numbers[3] != [1])
    ):
        return None
    stop = numbers[1]
    is_end = len(stop or ()) == 1 and stop is not None and stop[0] >= END if end is None else stop == [end]
    return node.inputs[0] if is_end else None


def _numbers(node: ir.Node, index: int) -> list[int] | None:
    value = node.inputs[index]
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    return None if tensor is None else [int(number) for number in tensor.numpy().reshape(-1)]
