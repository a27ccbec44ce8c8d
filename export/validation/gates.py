"""What a graph must reach before it is called validated: one table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from voirs_vocoder.export.precisions import Gate, get_precision
from voirs_vocoder.runtime.artifact.manifest import Manifest, Precision, Target
from voirs_vocoder.runtime.config import VocodingConfig
from voirs_vocoder.runtime.diffusion.choice import chosen_plan

__all__ = [
    "GateResult",
    "Status",
    "gate_text",
    "gates_of",
    "judged",
    "steps_allowance_db",
    "verdict_of",
]


Status = Literal["passed", "failed", "not run"]
"""How a graph stands to a gate."""


class GateResult(msgspec.Struct, frozen=True):
    """A gate and how a graph stands to it. `not run`: what measures the figure is not installed."""

    gate: Gate
    measured: float | None
    status: Status


def gates_of(manifest: Manifest, precision: Precision, target: Target | None) -> tuple[Gate, ...]:
    """The gates of a graph: those of its precision, with an SNR that allows for the sampling steps.

    Args:
        manifest: Of the artifact.
        precision: Of the graph.
        target: Of an INT8 graph.
    """
    allowance_db = steps_allowance_db(manifest)
    return tuple(
        msgspec.structs.replace(gate, limit=round(gate.limit - allowance_db, 1))
        if gate.figure == "snr_db"
        else gate
        for gate in get_precision(precision).gates_of(target)
    )


def steps_allowance_db(manifest: Manifest) -> float:
    """By how much the SNR may be lower than that of one run of the network.

    A diffusion model runs its network n times, each time with an error of its own; were they independent, their
    energies would add up: 10 log10(n). 0 for other models.

    Args:
        manifest: Says how many steps the default sampling has.
    """
    if manifest.diffusion is None:
        return 0.0
    return 10.0 * math.log10(len(chosen_plan(manifest.diffusion, VocodingConfig()).steps))


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
