"""The contract of the streaming pass: what a node's outputs read of its inputs, as positions in time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import onnx_ir as ir

__all__ = ["Outside", "Reading", "Rule", "StreamingError", "TimeAxis", "Zeros", "dtype_of"]

Outside = Literal["zero", "edge", "reflect", "pairs"]
"""What a node takes for positions outside the utterance: zeros; the first and the last value of the utterance; the
utterance mirrored at its first and its last position, again and again; or its first and its last half-step, where a
position holds a pair of them."""

Zeros = Literal["never", "any", "all"]
"""Whether a node's outputs are zero where its inputs are: never, where any input is, or where all are."""


class StreamingError(ir.passes.PassError):
    """A graph cannot be streamed; the message names the node that forbids it."""


@dataclass(frozen=True)
class TimeAxis:
    """Where a tensor holds time.

    Attributes:
        axis: Index of the axis.
        rate: Positions per mel frame.
        extra: Positions beyond rate * frames, such as padding.
        shape: Sizes of all axes; None stands for the batch and for time.
    """

    axis: int
    rate: int
    extra: int
    shape: tuple[int | None, ...]

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def channels(self) -> int:
        """Values per utterance and position."""
        product = 1
        for size in self.shape:
            product *= size or 1
        return product


@dataclass(frozen=True)
class Reading:
    """What position n of a node's outputs depends on in one input.

    With q = stride * n where the node keeps or lowers the rate, and q = floor((n + shift) / factor) where it raises it,
    the output needs the input's positions q + first to q + last.

    Attributes:
        index: Index of the node's input.
        value: The tensor that is read, which is not the node's input itself where padding lies between them.
        first: First position that is read, relative to q.
        last: Last position that is read, relative to q.
        stride: Ratio of the input's rate to the output's; 1 where the rate does not fall.
        factor: Ratio of the output's rate to the input's; 1 where the rate does not rise.
        shift: Offset of the output's positions in q; 0 where the rate does not rise.
        outside: What the offline graph takes for positions before the utterance or after it.
        computed: Number of positions after the utterance that the offline graph computes, and the node reads as such.
        above: Tensors that nodes make position by position of what was padded, each of the one before; a stream makes
            them of each part that is read.
    """

    index: int
    value: ir.Value
    first: int = 0
    last: int = 0
    stride: int = 1
    factor: int = 1
    shift: int = 0
    outside: Outside = "zero"
    computed: int = 0
    above: tuple[ir.Value, ...] = ()

    @property
    def beyond(self) -> bool:
        """Whether positions are read that the offline graph does not compute."""
        return self.first < 0 or self.last > self.stride - 1 + self.computed


@dataclass(frozen=True)
class Rule:
    """How a node is streamed.

    Attributes:
        readings: What the node reads of each input that holds time.
        attributes: Attributes of the node that change, such as its padding, by name.
        transparent: Whether the node has one reading and works position by position at so little cost that history is
            better kept before it than after it.
        zeros: Whether the outputs are zero where the inputs are: never, where any input is, or where all are.
        passes: Whether the output is the reading itself and no node is needed.
        at_once: Whether the output must not wait for its input, so that no history lies between them.
    """

    readings: tuple[Reading, ...]
    attributes: dict[str, int | list[int]] = field(default_factory=dict)
    transparent: bool = False
    zeros: Zeros = "never"
    passes: bool = False
    at_once: bool = False


def dtype_of(value: ir.Value) -> ir.DataType:
    """The type of a tensor's elements.

    Raises:
        StreamingError: It is not known.
    """
    if value.dtype is None:
        raise StreamingError(f"{value} must have a type")
    return value.dtype
