"""What is said of gates that were not passed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voirs_vocoder.export.validation.gates import GateResult

__all__ = ["gate_lines"]


def gate_lines(name: str, results: Sequence[GateResult]) -> Iterator[str]:
    """A line for each gate that failed or was not run.

    Args:
        name: Of what was judged.
        results: How it stands to its gates.
    """
    from voirs_vocoder.export.validation.gates import gate_text

    for result in results:
        if result.status != "passed":
            yield f"{result.status}: {name}: {gate_text(result)}"
