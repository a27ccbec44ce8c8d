"""The first and the last value of an utterance again and again outside of it, as offline graphs pad by their ends."""

from __future__ import annotations

import onnx_ir as ir

from voirs_vocoder.export.streaming.masks import Masks
from voirs_vocoder.export.streaming.positions import flat, gathered, unflat
from voirs_vocoder.export.streaming.reading import StreamingError, TimeAxis
from voirs_vocoder.export.streaming.writer import GraphWriter

__all__ = ["Edges"]


class Edges:
    """Fills what lies outside the utterance, wherever in a chunk the utterance begins and ends.

    A position that is of use reads an end of the utterance where it reads beyond it, so the end lies in the same
    part of the tensor. It is picked there and added to the zeros outside: product of [batch, channels, ends] and
    [batch, ends, positions].

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
        """Add nodes that repeat the ends in a part of a tensor.

        Args:
            part: The part, zero outside the utterance.
            axis: Time axis of the tensor, the last of its axes.
            late: Delay of the part's first position, in positions of the tensor.
            lag: Delay of the last position of a chunk.
            dtype: Floating-point type of the tensor.
            name: Name of the tensor.

        Raises:
            StreamingError: The tensor is no [batch, ..., time] of floating-point numbers.
        """
        if axis.axis != axis.rank - 1 or axis.shape[0] is not None or not dtype.is_floating_point():
            raise StreamingError(
                f"tensor {name!r} is padded by its ends, so it must hold numbers with time last"
            )
        writer = self._writer
        part = flat(writer, part, axis, name)
        ends = gathered(writer, part, self._masks.ends(axis.rate, late, lag), axis, name, "ends")
        outside = self._masks.outside(axis.rate, late, lag, dtype)
        (added,) = writer.add("MatMul", [ends, outside], name=f"{name}.repeated")
        (filled,) = writer.add("Add", [part, added], name=f"{name}.filled")
        return unflat(writer, filled, axis, f"{name}.filled")
