"""Page of a validation."""

from __future__ import annotations

from collections.abc import Iterator

from voirs_vocoder.export.report_page import PageClip, PageColumn, PageContent, PageRow, PageUtterance
from voirs_vocoder.export.report_page.columns import figure_column, figure_texts, gate_reasons, this_place
from voirs_vocoder.export.validation.convention import convention_lines
from voirs_vocoder.export.validation.kept_audio import KeptAudio
from voirs_vocoder.export.validation.report import REFERENCE, Report, Row
from voirs_vocoder.runtime.artifact.manifest import Manifest
from voirs_vocoder.runtime.metrics import figure_text

__all__ = ["validation_page"]

_NAMES = ("snr_db", "pesq_wb", "pesq_lost", "stoi", "lsd", "multi_resolution_stft", "mel_l1")
_COLUMNS = ("rtf", *_NAMES)
_RECORDING = "recording"


def validation_page(report: Report, manifest: Manifest, kept_audio: KeptAudio) -> PageContent:
    """Everything that `validate` found, with the audio that was kept.

    Args:
        report: Figures and verdicts to show.
        manifest: Manifest of the artifact.
        kept_audio: Audio that was kept during the measurement.
    """
    model = "the PyTorch model" if report.reference == "pytorch" else "the FP32 graph"
    count = len(report.recordings)
    return PageContent(
        title=f"{report.family} {report.variant}",
        subtitle=f"{count} recording{'s' * (count != 1)}, {report.speech_s:.1f} s of speech, against {model}",
        passed=report.passed,
        verdict=_sentence(report),
        columns=(
            PageColumn("graph", numeric=False),
            PageColumn("runs on", numeric=False),
            *(figure_column(name) for name in _COLUMNS),
        ),
        rows=(_reference_row(report), *(_row(row) for row in report.rows)),
        notes=(
            f"SNR is against {model}; PESQ, STOI, LSD, M-STFT and mel L1 are against the recordings.",
            "PESQ lost is the PESQ of the reference minus the PESQ of the graph.",
            *convention_lines(report.convention),
            *report.notes,
        ),
        rtf=tuple((row.title, rtf) for row in report.rows if (rtf := row.figures.get("rtf")) is not None),
        utterances=tuple(_utterances(report, kept_audio)),
        provenance=tuple(_provenance(report, manifest)),
    )


def _sentence(report: Report) -> str:
    verdicts = [row.verdict for row in report.rows]
    failed, missing = verdicts.count("failed"), verdicts.count("not run")
    if report.convention is not None and report.convention.status == "failed":
        return "The mel convention is not that of the weights."
    if failed:
        return f"{failed} of {len(verdicts)} graphs miss a gate."
    tail = f"; for {missing} of them a figure could not be measured" if missing else ""
    return f"{len(verdicts)} graphs, none misses a gate{tail}."


def _reference_row(report: Report) -> PageRow:
    cells = (figure_text(name, report.reference_figures.get(name)) for name in _COLUMNS)
    return PageRow((REFERENCE, report.reference_backend, *cells), None)


def _row(row: Row) -> PageRow:
    cells = (figure_text(name, row.figures.get(name)) for name in _COLUMNS)
    return PageRow((row.graph, row.provider, *cells), row.verdict, gate_reasons(row.gates))


def _utterances(report: Report, kept_audio: KeptAudio) -> Iterator[PageUtterance]:
    figures = {(entry.recording, row.title): entry.figures for row in report.rows for entry in row.recordings}
    for name, sample_rate in kept_audio.recordings.items():
        made = (
            PageClip(
                candidate,
                kept_audio.audio(name, candidate),
                tuple(figure_texts(figures.get((name, candidate), {}), _NAMES)),
            )
            for candidate in kept_audio.candidates
        )
        yield PageUtterance(
            name, sample_rate, (PageClip(_RECORDING, kept_audio.recording(name)), *made), REFERENCE
        )


def _provenance(report: Report, manifest: Manifest) -> Iterator[tuple[str, str]]:
    yield "Checkpoint, SHA-256", report.checkpoint_sha256 or "not recorded"
    yield "Mel", f"{manifest.mel.id}, {manifest.sample_rate} Hz, hop {manifest.hop_length}"
    yield "License of the weights", manifest.licence or "not stated"
    yield "Recordings", ", ".join(f"{entry.name} ({entry.sha256[:12]})" for entry in report.recordings)
    calibration = manifest.calibration
    if calibration is not None:
        yield "Calibrated on", ", ".join(entry.name for entry in calibration.recordings)
    yield from this_place()
