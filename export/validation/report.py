"""Report of a validation: figures of every graph, the recordings, the reference and the verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from voirs_vocoder.export.validation.candidates import candidate_title
from voirs_vocoder.export.validation.convention import ConventionReport
from voirs_vocoder.export.validation.gates import GateResult, Status, verdict_of
from voirs_vocoder.export.validation.means import undefined_lines
from voirs_vocoder.runtime.artifact.manifest import Precision, Recording, Target
from voirs_vocoder.runtime.files import indented_json
from voirs_vocoder.runtime.metrics import FIGURES, figure_text

__all__ = [
    "PAGE_PATH",
    "REFERENCE",
    "REPORT_PATH",
    "RecordingFigures",
    "Report",
    "Row",
    "encode_report",
    "report_table",
]

REPORT_PATH = "validation/report.json"
PAGE_PATH = "validation/report.html"
REFERENCE = "reference"
"""Title of the reference model beside the candidates, in tables and pages."""


class RecordingFigures(msgspec.Struct, frozen=True):
    """Figures of one recording.

    Attributes:
        recording: Name of the recording.
        figures: Name to value; None where it could not be measured, NaN where it is undefined for this recording.
    """

    recording: str
    figures: dict[str, float | None]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A graph on a backend.

    Attributes:
        graph: Precision and target of the graph, such as `int8.cpu`.
        precision: Precision of the graph.
        target: Kind of backend that the graph is made for; None for a graph that runs everywhere.
        provider: Name of the provider that ran the graph, with a note such as `FP32 twin`.
        backend: Library and version that ran the graph.
        figures: Means over the recordings, but `max_abs_error` the largest, `snr_min_db` the smallest and `rtf`
            (seconds of compute per second of audio) the median. `snr_db`, `max_abs_error` and `*_to_reference` are
            against the reference model, all others against the recording.
        gates: Results of the gates.
        recordings: Figures of each recording.
    """

    graph: str
    precision: Precision
    target: Target | None
    provider: str
    backend: str
    figures: dict[str, float | None]
    gates: tuple[GateResult, ...]
    recordings: tuple[RecordingFigures, ...]

    @property
    def verdict(self) -> Status:
        """`failed` if a gate failed, `not run` if one was not run, `passed` otherwise."""
        return verdict_of(self.gates) or "passed"

    @property
    def title(self) -> str:
        """Its name in tables and pages, such as `int8.cpu on cpu`."""
        return candidate_title(self.graph, self.provider)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A validation.

    Attributes:
        family: Model family of the artifact.
        variant: Variant of the artifact's model.
        reference: `pytorch`, or `fp32` if no checkpoint was given and the FP32 graph is the reference.
        reference_backend: Library and version that ran the graph.
        reference_figures: Means of the reference against the recordings.
        checkpoint_sha256: SHA-256 of the source checkpoint; None where it is unknown.
        recordings: Recordings that were measured on.
        speech_s: Total length of the recordings, in seconds.
        rows: One per graph and backend.
        convention: Whether the mel convention fits the weights; None where it was not checked.
    """

    family: str
    variant: str
    reference: str
    reference_backend: str
    reference_figures: dict[str, float | None]
    checkpoint_sha256: str | None
    recordings: tuple[Recording, ...]
    speech_s: float
    rows: tuple[Row, ...]
    convention: ConventionReport | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """A line for each recording that some means leave out, since a figure is undefined for it."""
        found: dict[str, dict[str, float | None]] = {}
        for row in self.rows:
            for entry in row.recordings:
                undefined = {name: value for name, value in entry.figures.items() if math.isnan(value or 0.0)}
                found.setdefault(entry.recording, {}).update(undefined)
        return tuple(undefined_lines(found))

    @property
    def passed(self) -> bool:
        """Whether no gate failed."""
        misfit = self.convention is not None and self.convention.status == "failed"
        return not misfit and all(row.verdict != "failed" for row in self.rows)


def encode_report(report: Report) -> bytes:
    """The report as indented JSON, with the verdict and the notes."""
    document = {
        "passed": report.passed,
        **msgspec.to_builtins(report),
        "notes": report.notes,
        "verdicts": {row.title: row.verdict for row in report.rows},
    }
    return indented_json(document)


_COLUMNS = ("rtf", "snr_db", "pesq_wb", "pesq_lost", "stoi", "lsd", "multi_resolution_stft", "mel_l1")


def report_table(report: Report) -> list[list[str]]:
    """The report as rows of text, the first being the header.

    SNR is against the reference, PESQ, STOI, LSD, M-STFT and mel L1 against the recording, `lost` is the PESQ that the
    reference has more.
    """
    header = ["graph", "runs on", *(FIGURES[name].title for name in _COLUMNS), "verdict"]
    reference = [REFERENCE, report.reference_backend, *_cells(report.reference_figures), ""]
    rows = [[row.graph, row.provider, *_cells(row.figures), row.verdict] for row in report.rows]
    return [header, reference, *rows]


def _cells(figures: Mapping[str, float | None]) -> list[str]:
    return [figure_text(name, figures.get(name)) for name in _COLUMNS]
