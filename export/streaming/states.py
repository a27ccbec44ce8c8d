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

    @property
    def second_size(self) -> int:
        """Size of the second axis, 1 for a tensor [batch, time]."""
        return 1 if self.axis.rank == 2 else self.axis.shape[1] or 0

    @property
    def trailing_sizes(self) -> tuple[int, ...]:
        """Sizes of the axes behind the second one, time with the positions that are kept."""
        return (*(size or 0 for size in self.axis.shape[2:-1]), self.length)


@dataclass(frozen=True, eq=False)
class _Part:
    """The histories that the state keeps in one type, which one node converts.

    Attributes:
        dtype: Type of the tensors; FLOAT for those that are quantized, whose histories are converted one by one.
        groups: Histories that differ in their second axis alone.
    """

    dtype: ir.DataType
    groups: list[list[History]]

    @property
    def sizes(self) -> list[int]:
        """Values per utterance of each group."""
        return [sum(history.size for history in group) for group in self.groups]


class States:
    """Splits and joins the state.

    Histories of one type lie together, and among them those that differ in their second axis alone as one tensor, so
    that few nodes are needed: on a GPU each costs about as much as a small convolution.

    Args:
        writer: Writer of the graph.
        histories: Histories of the graph's tensors, in the graph's order.
    """

    def __init__(self, writer: GraphWriter, histories: Sequence[History]) -> None:
        self._writer = writer
        ordered = sorted(histories, key=lambda history: (_kept_as(history).value, *_form(history)))
        self._parts = [
            _Part(
                dtype,
                [list(group) for _, group in itertools.groupby(part, key=_form)],
            )
            for dtype, part in itertools.groupby(ordered, key=_kept_as)
        ]
        self.size = sum(history.size for history in histories)

    def take_apart(self, state: ir.Value) -> dict[History, ir.Value]:
        """Add nodes that cut the state [batch, size] into histories [batch, ..., length] of each tensor's own type.

        Args:
            state: The input state, float32 [batch, size].

        Returns:
            The tensor of each history.
        """
        taken = {}
        cuts = self._cut(state, [sum(part.sizes) for part in self._parts], "state.part")
        for part, values in zip(self._parts, cuts, strict=True):
            name = f"state.{part.dtype.name.lower()}"
            typed = self._cast(values, ir.DataType.FLOAT, part.dtype, name)
            for group, whole in zip(part.groups, self._cut(typed, part.sizes, f"{name}.group"), strict=True):
                sizes = group[0].trailing_sizes
                channels = [history.second_size for history in group]
                joined = f"{name}.{_title(group)}"
                pieces = self._cut(
                    self._writer.reshape(whole, 0, sum(channels), *sizes, name=joined), channels, joined
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
        if not self._parts:
            return writer.add("Identity", [state], name=name)[0]
        parts = []
        for part in self._parts:
            label = f"next.{part.dtype.name.lower()}"
            flat = []
            for group in part.groups:
                pieces = []
                for history in group:
                    last = history.axis.axis
                    piece = writer.slice(
                        buffers[history], -history.length, END, last, name=f"{history.name}.kept"
                    )
                    pieces.append(self._kept(history, piece))
                joined = self._join(pieces, f"{label}.{_title(group)}")
                flat.append(writer.reshape(joined, 0, -1, name=f"{label}.{_title(group)}.flat"))
            parts.append(self._cast(self._join(flat, label), part.dtype, ir.DataType.FLOAT, f"{label}.float"))
        return writer.add("Concat", parts, {"axis": 1}, name=name)[0]

    def _cut(self, values: ir.Value, sizes: list[int], name: str) -> list[ir.Value]:
        if len(sizes) < 2:
            return [values] * len(sizes)
        lengths = self._writer.integers(*sizes)
        return self._writer.add("Split", [values, lengths], {"axis": 1}, name=name, outputs=len(sizes))

    def _join(self, values: list[ir.Value], name: str) -> ir.Value:
        return (
            values[0] if len(values) == 1 else self._writer.add("Concat", values, {"axis": 1}, name=name)[0]
        )

    def _cast(self, value: ir.Value, source: ir.DataType, target: ir.DataType, name: str) -> ir.Value:
        if source == target:
            return value
        return self._writer.add("Cast", [value], {"to": target.value}, name=name)[0]

    def _typed(self, history: History, piece: ir.Value) -> ir.Value:
        writer, name = self._writer, f"{history.name}.past"
        if history.axis.rank == 2:
            piece = writer.reshape(piece, 0, history.length, name=f"{name}.shaped")
        if history.quantizer is None:
            return piece
        inputs = [piece, *history.quantizer.inputs[1:]]
        return writer.add("QuantizeLinear", inputs, _channel_axis(history.quantizer), name=name)[0]

    def _kept(self, history: History, piece: ir.Value) -> ir.Value:
        writer, name = self._writer, f"{history.name}.kept"
        if history.quantizer is not None:
            inputs = [piece, *history.quantizer.inputs[1:]]
            attributes = _channel_axis(history.quantizer)
            (piece,) = writer.add("DequantizeLinear", inputs, attributes, name=f"{name}.float")
        if history.axis.rank == 2:
            piece = writer.reshape(piece, 0, 1, history.length, name=f"{name}.shaped")
        return piece


def _form(history: History) -> tuple[int, ...]:
    """What histories of one group have in common, the length first."""
    return (history.length, *history.trailing_sizes)


def _title(group: Sequence[History]) -> str:
    return "history." + "x".join(str(size) for size in group[0].trailing_sizes)


def _kept_as(history: History) -> ir.DataType:
    return ir.DataType.FLOAT if history.quantizer is not None else history.dtype


def _channel_axis(quantizer: ir.Node) -> dict[str, int]:
    """Where a quantizer's scales differ by channel: its attribute, if it has one."""
    attribute = quantizer.attributes.get("axis")
    return {} if attribute is None else {"axis": attribute.as_int()}
