"""What lies outside the utterance: zeros, its ends or its mirror image; a stream would carry biases there."""

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
        begin: First valid frame relative to the chunk, int64 [batch]; None for utterances that begin with it.
        end: One past the last valid frame relative to the chunk, int64 [batch].
        needed: Delays that masks will be needed for, by rate: of tensors, and of the first and last position of parts.
    """

    def __init__(
        self,
        writer: GraphWriter,
        frames: ir.Value,
        begin: ir.Value | None,
        end: ir.Value,
        needed: Mapping[int, Iterable[int]],
    ) -> None:
        self._writer = writer
        self._needed = {rate: (min(delays), max(delays)) for rate, delays in needed.items()}
        self._bases: dict[tuple[int, int, ir.DataType], ir.Value] = {}
        self._shaped: dict[tuple[int, int, int, ir.DataType], ir.Value] = {}
        self._cut: dict[tuple[int, int, int, int, int, ir.DataType], ir.Value] = {}
        self._sides: dict[tuple[str, int], ir.Value] = {}
        self._outside: dict[tuple[int, int, int, ir.DataType], ir.Value] = {}
        self._ends: dict[tuple[int, int, int], ir.Value] = {}
        self._mirrors: dict[tuple[int, int, int, tuple[int, int]], ir.Value] = {}
        self._frames = frames
        self._bounds = {} if begin is None else {"begin": begin}
        self._bounds["end"] = end

    @property
    def has_begin(self) -> bool:
        """Whether utterances may begin anywhere in a chunk; otherwise all begin with it."""
        return "begin" in self._bounds

    def of(self, axis: TimeAxis, delay: int, dtype: ir.DataType, *, lag: int | None = None) -> ir.Value:
        """The mask of a tensor that is `delay` late, [batch, 1, ..., positions]: 1 (true) inside, 0 (false) outside.

        Positions after the utterance that the offline graph computes are inside.

        Args:
            axis: Time axis of the tensor, the last of its axes.
            delay: Delay of the tensor, in its positions.
            dtype: Type of the mask.
            lag: Delay of the tensor's last position, below `delay` where the tensor is longer than the frames; None for
                `delay`.
        """
        last = delay if lag is None else lag
        writer, key = self._writer, (axis.rate, axis.extra, delay, last, axis.rank, dtype)
        if key not in self._cut:
            least, most = self._needed[axis.rate]
            cut = self._shaped_base(axis, dtype)
            if (last, delay) != (least, most):
                label = f"{_label(axis.rate, axis.extra)}.{delay}.{axis.rank}"
                end = least - last if last > least else END
                name = f"mask.{label}.{dtype.name.lower()}"
                cut = writer.slice(cut, most - delay, end, axis.rank - 1, name=name)
            self._cut[key] = cut
        return self._cut[key]

    def outside(self, rate: int, late: int, lag: int, dtype: ir.DataType) -> ir.Value:
        """Masks of what lies before the utterance and of what lies behind it, [batch, sides, positions]: 1 there, or 0.

        Args:
            rate: Rate of the tensor.
            late: Delay of the first position, in positions of the tensor.
            lag: Delay of the last position of a chunk.
            dtype: Type of the masks.

        Returns:
            The masks: one for each end that an utterance may have in a chunk.
        """
        writer, key = self._writer, (rate, late, lag, dtype)
        if key not in self._outside:
            least, most = self._needed[rate]
            whole = (rate, most, least, dtype)
            name = f"outside.{rate}.{dtype.name.lower()}"
            if whole not in self._outside:
                rows = [
                    writer.unsqueeze(self._side(rate, label, operator), 1, name=f"outside.{rate}.{label}.row")
                    for label, operator in (("begin", "Less"), ("end", "GreaterOrEqual"))
                    if label in self._bounds
                ]
                both = rows[0]
                if len(rows) > 1:
                    (both,) = writer.add("Concat", rows, {"axis": 1}, name=f"outside.{rate}")
                (self._outside[whole],) = writer.add("Cast", [both], {"to": dtype.value}, name=name)
            if key != whole:
                end = least - lag if lag > least else END
                name = f"{name}.{late}.{lag}"
                self._outside[key] = writer.slice(self._outside[whole], most - late, end, 2, name=name)
        return self._outside[key]

    def ends(self, rate: int, late: int, lag: int) -> ir.Value:
        """Places of the first and of the last valid position in a part of a tensor, int64 [batch, 1, sides].

        Args:
            rate: Rate of the tensor.
            late: Delay of the part's first position, in positions of the tensor.
            lag: Delay of the last position of a chunk.

        Returns:
            The places: one for each end that an utterance may have in a chunk; that of an end that lies elsewhere is
            any place.
        """
        writer, key = self._writer, (rate, late, lag)
        if key not in self._ends:
            name = f"ends.{rate}.{late}.{lag}"
            (place,) = writer.add(
                "Add", [self._end_positions(rate), writer.integers(late)], name=f"{name}.place"
            )
            (place,) = writer.add("Max", [place, writer.integers(0)], name=f"{name}.from_first")
            (self._ends[key],) = writer.add(
                "Min", [place, self._last_place(rate, late, lag, name)], name=name
            )
        return self._ends[key]

    def mirrors(self, rate: int, late: int, lag: int, padding: tuple[int, int]) -> ir.Value:
        """Places of the valid positions that those of a part are or mirror, int64 [batch, 1, positions].

        Args:
            rate: Rate of the tensor.
            late: Delay of the part's first position, in positions of the tensor.
            lag: Delay of the last position of a chunk.
            padding: Number of positions before and after those of the part.

        Returns:
            The places in the part; that of a position whose mirrored one lies elsewhere is any place.
        """
        writer, key = self._writer, (rate, late, lag, padding)
        if key not in self._mirrors:
            (least, most), (before, after) = self._needed[rate], padding
            place, name = self._mirrored(rate), f"mirrors.{rate}.{late}.{lag}"
            first, last = late + before, lag - after
            if (first, last) != (most, least):
                end = least - last if last > least else END
                place = writer.slice(place, most - first, end, 1, name=name)
            if late:
                (place,) = writer.add("Add", [place, writer.integers(late)], name=f"{name}.place")
            (place,) = writer.add("Max", [place, writer.integers(0)], name=f"{name}.from_first")
            (place,) = writer.add(
                "Min", [place, self._last_place(rate, late, lag, name)], name=f"{name}.inside"
            )
            self._mirrors[key] = writer.unsqueeze(place, 1, name=f"{name}.shaped")
        return self._mirrors[key]

    def _mirrored(self, rate: int) -> ir.Value:
        """Int64 [batch, frames * rate + more]: at b, the valid position that position b - most is or mirrors."""
        if ("mirrored", rate) not in self._sides:
            writer, name, most = self._writer, f"mirrored.{rate}", self._needed[rate][1]
            (place,) = writer.add("Sub", [self._places(rate), writer.integers(most)], name=f"{name}.place")
            (size,) = writer.add("Mul", [self._bounds["end"], writer.integers(rate)], name=f"{name}.end")
            begin = None
            if self.has_begin:
                inputs = [self._bounds["begin"], writer.integers(rate)]
                (begin,) = writer.add("Mul", inputs, name=f"{name}.begin")
                (size,) = writer.add("Sub", [size, begin], name=f"{name}.size")
                begin = writer.unsqueeze(begin, 1, name=f"{name}.column")
                (place,) = writer.add("Sub", [place, begin], name=f"{name}.inside")
            # Mirrored at both ends, an utterance repeats itself; a single position is its own mirror.
            (last,) = writer.add("Sub", [size, writer.integers(1)], name=f"{name}.last")
            (period,) = writer.add("Mul", [last, writer.integers(2)], name=f"{name}.twice")
            (period,) = writer.add("Max", [period, writer.integers(1)], name=f"{name}.period")
            period = writer.unsqueeze(period, 1, name=f"{name}.period.column")
            (there,) = writer.add("Mod", [place, period], name=f"{name}.there")
            (back,) = writer.add("Sub", [period, there], name=f"{name}.back")
            (place,) = writer.add("Min", [there, back], name=f"{name}.nearest")
            if begin is not None:
                (place,) = writer.add("Add", [place, begin], name=name)
            self._sides["mirrored", rate] = place
        return self._sides["mirrored", rate]

    def _last_place(self, rate: int, late: int, lag: int, name: str) -> ir.Value:
        """The last place of a part, int64 [1]."""
        writer = self._writer
        (count,) = writer.add("Mul", [self._frames, writer.integers(rate)], name=f"{name}.positions")
        return writer.add("Add", [count, writer.integers(late - lag - 1)], name=f"{name}.last")[0]

    def _end_positions(self, rate: int) -> ir.Value:
        """The first and the last valid position, int64 [batch, 1, sides]."""
        if ("ends", rate) not in self._sides:
            writer, found = self._writer, []
            for label, bound in self._bounds.items():
                name = f"ends.{rate}.{label}"
                (place,) = writer.add("Mul", [bound, writer.integers(rate)], name=f"{name}.bound")
                if label == "end":
                    (place,) = writer.add("Sub", [place, writer.integers(1)], name=f"{name}.last")
                found.append(writer.unsqueeze(place, 1, 2, name=f"{name}.shaped"))
            both = found[0]
            if len(found) > 1:
                (both,) = writer.add("Concat", found, {"axis": 2}, name=f"ends.{rate}")
            self._sides["ends", rate] = both
        return self._sides["ends", rate]

    def _shaped_base(self, axis: TimeAxis, dtype: ir.DataType) -> ir.Value:
        """The base of a rate with as many axes as the tensors have, [batch, 1, ..., positions]."""
        key = (axis.rate, axis.extra, axis.rank, dtype)
        if key not in self._shaped:
            name = f"mask.{_label(axis.rate, axis.extra)}.{axis.rank}.{dtype.name.lower()}.shaped"
            base = self._typed_base(axis.rate, axis.extra, dtype)
            self._shaped[key] = self._writer.unsqueeze(base, *range(1, axis.rank - 1), name=name)
        return self._shaped[key]

    def _typed_base(self, rate: int, extra: int, dtype: ir.DataType) -> ir.Value:
        """The base of a rate in the type of the masks that are cut out of it."""
        if (rate, extra, dtype) not in self._bases:
            base = self._base(rate, extra)
            if dtype != ir.DataType.BOOL:
                name = f"mask.{_label(rate, extra)}.{dtype.name.lower()}"
                (base,) = self._writer.add("Cast", [base], {"to": dtype.value}, name=name)
            self._bases[rate, extra, dtype] = base
        return self._bases[rate, extra, dtype]

    def _base(self, rate: int, extra: int) -> ir.Value:
        """Bool [batch, frames * rate + more]: at b, whether position b - most is valid, or one of `extra` after it."""
        key = (rate, extra, ir.DataType.BOOL)
        if key not in self._bases:
            inside = self._side(rate, "end", "Less", extra)
            if self.has_begin:
                begun = self._side(rate, "begin", "GreaterOrEqual")
                name = f"mask.{_label(rate, extra)}.inside"
                (inside,) = self._writer.add("And", [begun, inside], name=name)
            self._bases[key] = inside
        return self._bases[key]

    def _side(self, rate: int, label: str, operator: str, extra: int = 0) -> ir.Value:
        """Bool [batch, frames * rate + more]: the positions compared with one end of the utterance, `extra` later."""
        place_key, key = f"{label}.{extra}", (f"{label}.{extra}.{operator}", rate)
        if key not in self._sides:
            writer, name = self._writer, f"mask.{_label(rate, extra)}.{label}"
            most = self._needed[rate][1] + extra
            if (place_key, rate) not in self._sides:
                (place,) = writer.add("Mul", [self._bounds[label], writer.integers(rate)], name=name)
                (place,) = writer.add("Add", [place, writer.integers(most)], name=f"{name}.place")
                self._sides[place_key, rate] = writer.unsqueeze(place, 1, name=f"{name}.column")
            inputs = [self._places(rate), self._sides[place_key, rate]]
            (self._sides[key],) = writer.add(operator, inputs, name=f"{name}.{operator.lower()}")
        return self._sides[key]

    def _places(self, rate: int) -> ir.Value:
        """Int64 [frames * rate + more]: 0, 1, 2 and so on."""
        if ("places", rate) not in self._sides:
            writer, name, (least, most) = self._writer, f"mask.{rate}", self._needed[rate]
            (count,) = writer.add("Mul", [self._frames, writer.integers(rate)], name=f"{name}.positions")
            (count,) = writer.add("Add", [count, writer.integers(most - least)], name=f"{name}.count")
            limit, start, step = (
                writer.add("Squeeze", [value, writer.integers(0)], name=f"{name}.{label}")[0]
                for label, value in (
                    ("limit", count),
                    ("start", writer.integers(0)),
                    ("step", writer.integers(1)),
                )
            )
            (self._sides["places", rate],) = writer.add("Range", [start, limit, step], name=f"{name}.places")
        return self._sides["places", rate]


def _label(rate: int, extra: int) -> str:
    return f"{rate}.{extra}" if extra else f"{rate}"
