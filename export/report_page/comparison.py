"""Page of a comparison."""

from __future__ import annotations

from collections.abc import Iterator

from voirs_vocoder.export.report_page import PageClip, PageColumn, PageContent, PageRow, PageUtterance
from voirs_vocoder.export.report_page.columns import (
    PAGE_RECORDINGS,
    figure_column,
    figure_texts,
    gate_reasons,
    this_place,
)
from voirs_vocoder.export.validation.compare.report import CompareReport, Comparison
from voirs_vocoder.export.validation.kept_audio import KeptAudio
from voirs_vocoder.runtime.metrics import FIGURES, figure_text

__all__ = ["comparison_page"]


def comparison_page(report: CompareReport, kept_audio: KeptAudio) -> PageContent:
    """Everything that `compare` found, with the audio that was kept.

    Args:
        report: Figures and verdicts to show.
        kept_audio: Audio that was kept during the measurement.
    """
    names = [name for name in FIGURES if any(c.figures.get(name) is not None for c in report.comparisons)]
    judged = any(comparison.gates for comparison in report.comparisons)
    first = report.comparisons[0]
    many = len(report.comparisons) > 1
    count = len(first.recordings)
    return PageContent(
        title=f"{first.reference}: do its graphs agree?"
        if many
        else f"{first.degraded} against {first.reference}",
        subtitle=f"{count} recording{'s' * (count != 1)}; figures between the two signals of each row",
        passed=report.passed if judged else None,
        verdict=_sentence(report, judged),
        columns=(
            PageColumn("reference", numeric=False),
            PageColumn("against", numeric=False),
            *(figure_column(name) for name in names),
        ),
        rows=tuple(_row(comparison, names) for comparison in report.comparisons),
        notes=report.notes,
        rtf=tuple(report.rtf.items()),
        utterances=tuple(_utterances(report, kept_audio)),
        provenance=(("Compared", f"{len(report.comparisons)} pairs of {report.kind}"), *this_place()),
    )


def _sentence(report: CompareReport, judged: bool) -> str:
    if not judged:
        return "No threshold was set."
    failed = sum(comparison.verdict == "failed" for comparison in report.comparisons)
    total = len(report.comparisons)
    pairs = "The pair keeps" if total == 1 else f"All {total} pairs keep"
    return (
        f"{failed} of {total} pairs miss a threshold."
        if failed
        else f"{pairs} every threshold that was measured."
    )


def _row(comparison: Comparison, names: list[str]) -> PageRow:
    cells = [figure_text(name, comparison.figures.get(name)) for name in names]
    names_and_cells = (comparison.reference, comparison.degraded, *cells)
    return PageRow(names_and_cells, comparison.verdict, gate_reasons(comparison.gates))


def _utterances(report: CompareReport, kept_audio: KeptAudio) -> Iterator[PageUtterance]:
    first = report.comparisons[0]
    files = report.kind != "artifacts"
    reference = first.reference
    # The figures beside a clip are against the clip of the reference, so only comparisons with that reference count.
    figures = {
        (entry.recording, comparison.degraded): entry.figures
        for comparison in report.comparisons
        if comparison.reference == reference
        for entry in comparison.recordings
    }
    for name in list(kept_audio.recordings)[:PAGE_RECORDINGS]:
        recording = PageClip(reference if files else "recording", kept_audio.recording(name))
        made = (
            PageClip(
                candidate,
                kept_audio.audio(name, candidate),
                tuple(figure_texts(figures.get((name, candidate), {}), list(FIGURES))),
            )
            for candidate in kept_audio.candidates
        )
        yield PageUtterance(name, kept_audio.recordings[name], (recording, *made), reference)
