"""Positions of a tensor [batch, ..., time], gathered by places of their own for each utterance."""

from __future__ import annotations

import onnx_ir as ir

from voirs_vocoder.export.streaming.reading import TimeAxis
from voirs_vocoder.export.streaming.writer import GraphWriter

__all__ = ["flat", "gathered", "unflat"]


def flat(writer: GraphWriter, value: ir.Value, axis: TimeAxis, name: str) -> ir.Value:
    """A tensor with its axes between batch and time as one, [batch, channels, positions].

    Args:
        writer: Writer of the graph.
        value: The tensor, with time in its last axis.
        axis: Time axis of the tensor.
        name: Name of the tensor.
    """
    return value if axis.rank == 3 else writer.reshape(value, 0, axis.channels, -1, name=f"{name}.flat")


def unflat(writer: GraphWriter, value: ir.Value, axis: TimeAxis, name: str) -> ir.Value:
    """A tensor [batch, channels, positions] with the axes that `flat` joined.

    Args:
        writer: Writer of the graph.
        value: The tensor.
        axis: Time axis of the tensor that `flat` took.
        name: Name of the tensor.
    """
    if axis.rank == 3:
        return value
    return writer.reshape(value, *(size or 0 for size in axis.shape[:-1]), -1, name=f"{name}.shaped")


def gathered(
    writer: GraphWriter, value: ir.Value, places: ir.Value, axis: TimeAxis, name: str, kind: str
) -> ir.Value:
    """The positions of a tensor [batch, channels, positions] at places, in every channel.

    Args:
        writer: Writer of the graph.
        value: The tensor.
        places: Places, int64 [batch, 1, count].
        axis: Time axis of the tensor that `flat` took.
        name: Name of that tensor.
        kind: What the places are, for the name of the result.
    """
    shape = writer.integers(1, axis.channels, 1)
    (everywhere,) = writer.add("Expand", [places, shape], name=f"{name}.places")
    return writer.add("GatherElements", [value, everywhere], {"axis": 2}, name=f"{name}.{kind}")[0]
