"""What a graph must reach before it is called validated: one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from voirs_vocoder.runtime.manifest import Int8Target, Precision

__all__ = ["GATES", "Gate", "GateResult", "Status", "gate_text", "judge", "judged", "verdict_of"]


Status = Literal["passed", "failed", "not run"]
"""How a graph stands to a gate."""


class Gate(msgspec.Struct, frozen=True):
    """A limit on one figure.

    Attributes:
        figure: Such as `snr_db`.
        bound: `max`: the figure must not exceed the limit; `min`: it must reach it.
        limit: In the figure's unit.
    """

    figure: str
    bound: Literal["max", "min"]
    limit: float


class GateResult(msgspec.Struct, frozen=True):
    """A gate and how a graph stands to it. `not run`: what measures the figure is not installed."""

    gate: Gate
    measured: float | None
    status: Status


# The limits follow what is inaudible (FP32, FP16) or a fair price for speed (INT8): README, "Gates".
GATES: dict[tuple[Precision, Int8Target | None], tuple[Gate, ...]] = {
    ("fp32", None): (Gate("max_abs_error", "max", 1e-4),),
    ("fp16", None): (Gate("snr_db", "min", 50.0),),
    ("int8", "cpu"): (Gate("snr_db", "min", 22.0), Gate("pesq_lost", "max", 0.1)),
    ("int8", "tensorrt"): (Gate("snr_db", "min", 18.0), Gate("pesq_lost", "max", 0.15)),
}


def judge(
    precision: Precision, target: Int8Target | None, figures: Mapping[str, float | None]
) -> tuple[GateResult, ...]:
    """Hold a graph's figures against its gates.

    Args:
        precision: Of the graph.
        target: Of an INT8 graph.
        figures: As measured; None where nothing could measure.
    """
    return judged(GATES[precision, target], figures)


def judged(gates: Sequence[Gate], figures: Mapping[str, float | None]) -> tuple[GateResult, ...]:
    """Hold figures against gates.

    Args:
        gates: Any.
        figures: As measured; None, or no entry, where nothing could measure.
    """
    results = []
    for gate in gates:
        measured = figures.get(gate.figure)
        if measured is None:
            results.append(GateResult(gate, None, "not run"))
            continue
        within = measured <= gate.limit if gate.bound == "max" else measured >= gate.limit
        results.append(GateResult(gate, measured, "passed" if within else "failed"))
    return tuple(results)


def verdict_of(results: Sequence[GateResult]) -> Status | None:
    """The worst of the results; None for none."""
    statuses = {result.status for result in results}
    order: tuple[Status, ...] = ("failed", "not run", "passed")
    return next((status for status in order if status in statuses), None)


def gate_text(result: GateResult) -> str:
    """A result in words."""
    gate = result.gate
    sign = "at most" if gate.bound == "max" else "at least"
    measured = "not measured" if result.measured is None else f"{result.measured:.4g}"
    return f"{gate.figure} must be {sign} {gate.limit:g}, {measured}"
