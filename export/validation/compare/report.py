"""Report of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from voirs_vocoder.export.precisions import Gate
from voirs_vocoder.export.validation.gates import GateResult, Status, gate_text, judged, verdict_of
from voirs_vocoder.export.validation.means import mean_figures, too_seldom_defined
from voirs_vocoder.export.validation.report import RecordingFigures
from voirs_vocoder.runtime.files import indented_json
from voirs_vocoder.runtime.metrics import FIGURES, figure_text

__all__ = ["CompareReport", "Comparison", "compare_table", "comparison_of", "encode_comparison"]

_LARGEST = "max_abs_error"
# Columns of a table of many comparisons; a single one is shown whole.
_COLUMNS = ("snr_db", "max_abs_error", "pesq_wb", "pesq_lost", "stoi", "lsd", "multi_resolution_stft")


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Figures between a reference and a degraded signal.

    Attributes:
        reference: Name of the signal that counts as correct.
        degraded: Name of the signal that is judged.
        figures: Means over the recordings for which each is defined, but `max_abs_error` the largest; None where
            nothing could measure one, or one is undefined for more than half of the recordings.
        gates: Results of the limits.
        recordings: Figures of each recording.
    """

    reference: str
    degraded: str
    figures: dict[str, float | None]
    gates: tuple[GateResult, ...]
    recordings: tuple[RecordingFigures, ...]

    @property
    def verdict(self) -> Status | None:
        """The worst of its gates; None where no threshold was set."""
        return verdict_of(self.gates)


class CompareReport(msgspec.Struct, frozen=True, kw_only=True):
    """Report of one or more comparisons.

    Attributes:
        kind: Kind of the things that were compared.
        comparisons: Comparisons in the order of the table.
        rtf: Title of each candidate of an artifact to its seconds of compute per second of audio, over all recordings.
        notes: Recordings that were aligned, cut, or left out of some or all means, a line each.
    """

    kind: Literal["files", "folders", "artifacts"]
    comparisons: tuple[Comparison, ...]
    rtf: dict[str, float] = {}
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether no threshold was missed."""
        return all(comparison.verdict != "failed" for comparison in self.comparisons)


def comparison_of(
    reference: str, degraded: str, recordings: Sequence[RecordingFigures], gates: Sequence[Gate]
) -> Comparison:
    """Average the figures of the recordings and judge the means by limits."""
    rows = [recording.figures for recording in recordings]
    figures = mean_figures(rows)
    largest = [row.get(_LARGEST) for row in rows]
    known = [value for value in largest if value is not None]
    if known:
        figures[_LARGEST] = max(known)
    return Comparison(
        reference=reference,
        degraded=degraded,
        figures=figures,
        gates=judged(gates, figures, too_seldom_defined(rows)),
        recordings=tuple(recordings),
    )


def encode_comparison(report: CompareReport) -> bytes:
    """The report as indented JSON, with the verdict. An infinite figure, the SNR of equal signals, is null."""
    document = {"passed": report.passed, **msgspec.to_builtins(report)}
    return indented_json(document)


def compare_table(report: CompareReport) -> list[list[str]]:
    """The report as rows of text, the first being the header: of one comparison its figures, of more a row each."""
    if len(report.comparisons) == 1:
        (comparison,) = report.comparisons
        limits = {result.gate.figure: gate_text(result) for result in comparison.gates}
        rows = [
            [FIGURES[name].title, figure_text(name, value), limits.get(name, "")]
            for name, value in comparison.figures.items()
        ]
        return [["figure", "value", "threshold" if limits else ""], *rows]
    used = [name for name in _COLUMNS if any(c.figures.get(name) is not None for c in report.comparisons)]
    header = ["reference", "against", *(FIGURES[name].title for name in used), "verdict"]
    return [header, *(_row(comparison, used) for comparison in report.comparisons)]


def _row(comparison: Comparison, names: Sequence[str]) -> list[str]:
    cells = [figure_text(name, comparison.figures.get(name)) for name in names]
    return [comparison.reference, comparison.degraded, *cells, comparison.verdict or ""]
