"""What the project asks of a measured figure, and the figure itself."""

from __future__ import annotations

from typing import Literal

import msgspec

from voirs_vocoder.export.bench.paired import Estimate

__all__ = ["Finding", "Goal", "at_least", "at_most"]


class Goal(msgspec.Struct, frozen=True):
    """A limit on a figure.

    Attributes:
        limit: The limit, in the figure's unit.
        bound: `max`: the figure must not exceed the limit; `min`: the figure must reach it.
    """

    limit: float
    bound: Literal["max", "min"]


def at_most(limit: float) -> Goal:
    """A goal that a figure meets by not exceeding the limit."""
    return Goal(limit, "max")


def at_least(limit: float) -> Goal:
    """A goal that a figure meets by reaching the limit."""
    return Goal(limit, "min")


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A measured figure and its goal.

    Attributes:
        name: What was measured, in words.
        value: Median of repeated measurements, or a single one, in `unit`.
        unit: Unit of the value, such as `MB`; empty for ratios.
        estimate: Interval and number of pairs of a repeated measurement; None for a single measurement.
        goal: The limit that the value is compared with; None for a figure that only informs.
        case: Key of the case in `CASES`; empty for a figure that belongs to no model.
        figure: Key of the figure among `BenchCase.figures`; empty for a figure that belongs to no model.
    """

    name: str
    value: float
    unit: str = ""
    estimate: Estimate | None = None
    goal: Goal | None = None
    case: str = ""
    figure: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the value meets the goal; None without a goal."""
        if self.goal is None:
            return None
        return self.value <= self.goal.limit if self.goal.bound == "max" else self.value >= self.goal.limit
