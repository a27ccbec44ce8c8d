"""Zeros outside the utterance: the offline graph pads every layer with them, a stream would carry biases there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx_ir as ir

from voirs_vocoder.export.streaming.reading import TimeAxis
from voirs_vocoder.export.streaming.writer import END, GraphWriter

__all__ = ["Masks"]


class Masks:
    """Masks of every rate, type and delay, each cut out of one that is made per rate and type.

    Args:
        writer: Writer of the graph.
        frames: Number of mel frames in the chunk, int64 [1].
        begin: First valid frame relative to the chunk, int64 [batch].
        end: One past the last valid frame relative to the chunk, int64 [batch].
        needed: Delays that masks will be needed for, by rate.
    """

    def __init__(
        self,
        writer: GraphWriter,
        frames: ir.Value,
        begin: ir.Value,
        end: ir.Value,
        needed: Mapping[int, Iterable[int]],
    ) -> None:
        self._writer = writer
        self._needed = {rate: (min(delays), max(delays)) for rate, delays in needed.items()}
        self._bases: dict[tuple[int, ir.DataType], ir.Value] = {}
        self._cut: dict[tuple[int, int, int, ir.DataType], ir.Value] = {}
        self._frames, self._begin, self._end = frames, begin, end

    def of(self, axis: TimeAxis, delay: int, dtype: ir.DataType) -> ir.Value:
        """The mask of a tensor that is `delay` late, [batch, 1, ..., positions]: 1 (true) inside, 0 (false) outside.

        Args:
            axis: Time axis of the tensor, the last of its axes.
            delay: Delay of the tensor, in its positions.
            dtype: Type of the mask.
        """
        writer, key = self._writer, (axis.rate, delay, axis.rank, dtype)
        if key not in self._cut:
            least, most = self._needed[axis.rate]
            cut = self._typed_base(axis.rate, most - least, most, dtype)
            name = f"mask.{axis.rate}.{delay}.{dtype.name.lower()}"
            if least != most:
                end = least - delay if delay > least else END
                cut = writer.slice(cut, most - delay, end, 1, name=name)
            self._cut[key] = writer.unsqueeze(cut, *range(1, axis.rank - 1), name=f"{name}.shaped")
        return self._cut[key]

    def _typed_base(self, rate: int, more: int, most: int, dtype: ir.DataType) -> ir.Value:
        """The base of a rate in the type of the masks that are cut out of it."""
        if (rate, dtype) not in self._bases:
            base = self._base(rate, more, most)
            if dtype != ir.DataType.BOOL:
                name = f"mask.{rate}.{dtype.name.lower()}"
                (base,) = self._writer.add("Cast", [base], {"to": dtype.value}, name=name)
            self._bases[rate, dtype] = base
        return self._bases[rate, dtype]

    def _base(self, rate: int, more: int, most: int) -> ir.Value:
        """Bool [batch, frames * rate + more]: at b, whether position b - most is valid."""
        key = (rate, ir.DataType.BOOL)
        if key not in self._bases:
            writer, name = self._writer, f"mask.{rate}"
            (count,) = writer.add("Mul", [self._frames, writer.integers(rate)], name=f"{name}.positions")
            (count,) = writer.add("Add", [count, writer.integers(more)], name=f"{name}.count")
            limit, start, step = (
                writer.add("Squeeze", [value, writer.integers(0)], name=f"{name}.{label}")[0]
                for label, value in (
                    ("limit", count),
                    ("start", writer.integers(0)),
                    ("step", writer.integers(1)),
                )
            )
            (places,) = writer.add("Range", [start, limit, step], name=f"{name}.places")
            bounds = []
            for label, value in (("begin", self._begin), ("end", self._end)):
                (bound,) = writer.add("Mul", [value, writer.integers(rate)], name=f"{name}.{label}")
                (bound,) = writer.add("Add", [bound, writer.integers(most)], name=f"{name}.{label}.place")
                bounds.append(writer.unsqueeze(bound, 1, name=f"{name}.{label}.column"))
            (begun,) = writer.add("GreaterOrEqual", [places, bounds[0]], name=f"{name}.begun")
            (lasting,) = writer.add("Less", [places, bounds[1]], name=f"{name}.lasting")
            (self._bases[key],) = writer.add("And", [begun, lasting], name=f"{name}.inside")
        return self._bases[key]
