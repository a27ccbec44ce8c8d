"""Limits of comparisons: those given by the user, and those that two graphs of one artifact must keep."""

from __future__ import annotations

import difflib
import math
from typing import Literal

from voirs_vocoder.export.precisions import Gate, get_precision
from voirs_vocoder.export.validation.gates import steps_allowance_db
from voirs_vocoder.runtime.artifact.manifest import Manifest, Precision, Target
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.metrics import METRICS

__all__ = ["consistency_gates", "parsed_threshold"]

_PESQ_LOST = "pesq_lost"


def parsed_threshold(text: str, bound: Literal["max", "min"]) -> Gate:
    """A limit as text, such as `snr_db=30`.

    Raises:
        InputError: It is not NAME=NUMBER, or nothing is measured under that name.
    """
    name, found, number = text.partition("=")
    known = (*METRICS, _PESQ_LOST)
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
        raise InputError(f"a threshold must name a figure, got {name!r}; {hint}")
    try:
        limit = float(number)
    except ValueError as error:
        raise InputError(f"a threshold must be FIGURE=NUMBER, got {text!r}") from error
    if not found or not math.isfinite(limit):
        raise InputError(f"a threshold must be a finite number, got {text!r}")
    return Gate(name, bound, limit)


def consistency_gates(
    manifest: Manifest,
    reference: tuple[Precision, Target | None],
    degraded: tuple[Precision, Target | None],
) -> tuple[Gate, ...]:
    """The SNR that two candidates of one artifact must reach between them.

    One graph on two backends must agree closely. Of two graphs, each may depart from FP32 as far as its own gate
    allows; were the two errors independent, their energies would add up:
    10^(-s/10) = 10^(-a/10) + 10^(-b/10) for gates of a and b dB.

    Args:
        manifest: Manifest of the artifact.
        reference: Precision and INT8 target of one candidate.
        degraded: Precision and INT8 target of the other candidate.
    """
    if reference == degraded:
        limit_db = get_precision(reference[0]).same_graph_snr_db
    else:
        noise = sum(10.0 ** (-_snr_gate_db(*kind) / 10.0) for kind in (reference, degraded))
        limit_db = -10.0 * math.log10(noise)
    # Sampling steps multiply all of these energies alike.
    return (Gate("snr_db", "min", round(limit_db - steps_allowance_db(manifest), 1)),)


def _snr_gate_db(precision: Precision, target: Target | None) -> float:
    limits = [gate.limit for gate in get_precision(precision).gates_of(target) if gate.figure == "snr_db"]
    return limits[0] if limits else get_precision("fp32").same_graph_snr_db
