"""Gates: limits that the figures of a graph must keep before it counts as validated."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from voirs_vocoder.export.precisions import Gate, get_precision
from voirs_vocoder.runtime.artifact.manifest import Manifest, Precision, Target
from voirs_vocoder.runtime.config import VocodingConfig
from voirs_vocoder.runtime.diffusion.choice import chosen_plan

__all__ = [
    "GateResult",
    "Status",
    "gate_lines",
    "gate_text",
    "gates_of",
    "judged",
    "steps_allowance_db",
    "verdict_of",
]


Status = Literal["passed", "failed", "not run"]
"""Result of a gate; `not run` if the figure could not be measured."""


class GateResult(msgspec.Struct, frozen=True):
    """Result of a gate.

    Attributes:
        gate: Gate that was judged.
        measured: Measured value of the figure; None where it could not be measured, or is undefined for more than half
            of the recordings.
        status: Verdict.
    """

    gate: Gate
    measured: float | None
    status: Status


def gates_of(manifest: Manifest, precision: Precision, target: Target | None) -> tuple[Gate, ...]:
    """The gates of a graph: those of its precision, with an SNR that allows for the sampling steps.

    Args:
        manifest: Manifest of the artifact.
        precision: Precision of the graph.
        target: Kind of backend that the graph is made for; None for a graph that runs everywhere.
    """
    allowance_db = steps_allowance_db(manifest)
    return tuple(
        msgspec.structs.replace(gate, limit=round(gate.limit - allowance_db, 1))
        if gate.figure == "snr_db"
        else gate
        for gate in get_precision(precision).gates_of(target)
    )


def steps_allowance_db(manifest: Manifest) -> float:
    """SNR in dB that sampling steps may cost against one run of the network.

    A diffusion model runs its network n times, each time with an error of its own; were they independent, their
    energies would add up: 10 log10(n). 0 for other models.

    Args:
        manifest: Manifest of the artifact, whose default sampling counts.
    """
    if manifest.diffusion is None:
        return 0.0
    return 10.0 * math.log10(len(chosen_plan(manifest.diffusion, VocodingConfig()).steps))


def judged(
    gates: Sequence[Gate], figures: Mapping[str, float | None], undefined: Collection[str] = ()
) -> tuple[GateResult, ...]:
    """Compare figures with gates.

    Args:
        gates: Gates to judge by.
        figures: Name to measured value; None, or no entry, for a figure that could not be measured.
        undefined: Names of figures that are undefined for too many recordings, whose gates fail.
    """
    results = []
    for gate in gates:
        measured = figures.get(gate.figure)
        if measured is None:
            results.append(GateResult(gate, None, "failed" if gate.figure in undefined else "not run"))
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
    """A result in words, such as `snr_db must be at least 22, 25.1`."""
    gate = result.gate
    sign = "at most" if gate.bound == "max" else "at least"
    if result.measured is not None:
        measured = f"{result.measured:.4g}"
    else:
        measured = (
            "not measured" if result.status == "not run" else "undefined for more than half of the recordings"
        )
    return f"{gate.figure} must be {sign} {gate.limit:g}, {measured}"


def gate_lines(name: str, results: Sequence[GateResult]) -> Iterator[str]:
    """A line for each gate that failed or could not be judged, such as `failed: int8.cpu on cpu: ...`.

    Args:
        name: Title of what was judged.
        results: Results of the gates.
    """
    for result in results:
        if result.status != "passed":
            yield f"{result.status}: {name}: {gate_text(result)}"
