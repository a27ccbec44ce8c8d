"""The flat state of a stream: cut into the histories of its tensors, and put together again."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from voirs_vocoder.export.streaming.reading import TimeAxis
from voirs_vocoder.export.streaming.writer import END, GraphWriter

__all__ = ["History", "States"]


@dataclass(frozen=True, eq=False)
class History:
    """The past of one tensor that is kept.

    Attributes:
        name: Name of the tensor.
        axis: Time axis of the tensor, the last of its axes.
        length: Number of positions that are kept.
        dtype: Type of the tensor.
        quantizer: The QuantizeLinear that makes an integer tensor; None for any other tensor.
    """

    name: str
    axis: TimeAxis
    length: int
    dtype: ir.DataType
    quantizer: ir.Node | None = None

    @property
    def size(self) -> int:
        """Values per utterance."""
        return self.axis.channels * self.length


class States:
    """Splits and joins the state.

    Histories of equal length lie together as [batch, channels, length], so that few nodes are needed.

    Args:
        writer: Writer of the graph.
        histories: Histories of the graph's tensors, in the graph's order.
    """

    def __init__(self, writer: GraphWriter, histories: Sequence[History]) -> None:
        self._writer = writer
        ordered = sorted(histories, key=lambda history: history.length)
        self._groups = [
            list(group) for _, group in itertools.groupby(ordered, key=lambda history: history.length)
        ]
        self.size = sum(history.size for history in histories)

    def take_apart(self, state: ir.Value) -> dict[History, ir.Value]:
        """Add nodes that cut the state [batch, size] into histories [batch, ..., length] of each tensor's own type.

        Args:
            state: The input state, float32 [batch, size].

        Returns:
            The tensor of each history.
        """
        if not self._groups:
            return {}
        writer = self._writer
        sizes = [sum(history.size for history in group) for group in self._groups]
        flat = [state]
        if len(sizes) > 1:
            flat = writer.add(
                "Split",
                [state, writer.integers(*sizes)],
                {"axis": 1},
                name="state.group",
                outputs=len(sizes),
            )
        taken = {}
        for group, values in zip(self._groups, flat, strict=True):
            length = group[0].length
            channels = [history.axis.channels for history in group]
            pieces = [writer.reshape(values, 0, sum(channels), length, name=f"history.{length}")]
            if len(group) > 1:
                pieces = writer.add(
                    "Split",
                    [pieces[0], writer.integers(*channels)],
                    {"axis": 1},
                    name=f"history.{length}",
                    outputs=len(group),
                )
            for history, piece in zip(group, pieces, strict=True):
                taken[history] = self._typed(history, piece)
        return taken

    def put_together(self, state: ir.Value, buffers: dict[History, ir.Value], name: str) -> ir.Value:
        """Add nodes that make the next state; that of a graph without histories is the state itself.

        Args:
            state: The input state, float32 [batch, size].
            buffers: History and chunk of each tensor, joined along time.
            name: Name of the next state.
        """
        writer = self._writer
        if not self._groups:
            return writer.add("Identity", [state], name=name)[0]
        parts = []
        for group in self._groups:
            length = group[0].length
            pieces = []
            for history in group:
                last = history.axis.axis
                piece = writer.slice(buffers[history], -length, END, last, name=f"{history.name}.kept")
                pieces.append(self._float(history, piece))
            joined = pieces[0]
            if len(pieces) > 1:
                (joined,) = writer.add("Concat", pieces, {"axis": 1}, name=f"history.{length}.next")
            parts.append(writer.reshape(joined, 0, -1, name=f"history.{length}.flat"))
        return writer.add("Concat", parts, {"axis": 1}, name=name)[0]

    def _typed(self, history: History, piece: ir.Value) -> ir.Value:
        writer, axis, name = self._writer, history.axis, f"{history.name}.past"
        if axis.rank != 3:
            shape = [size or 0 for size in axis.shape[:-1]]
            piece = writer.reshape(piece, *shape, history.length, name=f"{name}.shaped")
        if history.quantizer is not None:
            inputs = [piece, *history.quantizer.inputs[1:]]
            return writer.add("QuantizeLinear", inputs, _channel_axis(history.quantizer), name=name)[0]
        if history.dtype != ir.DataType.FLOAT:
            return writer.add("Cast", [piece], {"to": history.dtype.value}, name=name)[0]
        return piece

    def _float(self, history: History, piece: ir.Value) -> ir.Value:
        writer, axis, name = self._writer, history.axis, f"{history.name}.kept"
        if history.quantizer is not None:
            inputs = [piece, *history.quantizer.inputs[1:]]
            attributes = _channel_axis(history.quantizer)
            (piece,) = writer.add("DequantizeLinear", inputs, attributes, name=f"{name}.float")
        elif history.dtype != ir.DataType.FLOAT:
            (piece,) = writer.add("Cast", [piece], {"to": ir.DataType.FLOAT.value}, name=f"{name}.float")
        if axis.rank != 3:
            piece = writer.reshape(piece, 0, axis.channels, history.length, name=f"{name}.shaped")
        return piece


def _channel_axis(quantizer: ir.Node) -> dict[str, int]:
    """Where a quantizer's scales differ by channel: its attribute, if it has one."""
    attribute = quantizer.attributes.get("axis")
    return {} if attribute is None else {"axis": attribute.as_int()}
