"""`voirs-vocoder compare`: figures between files, folders, graphs or backends."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from voirs_vocoder.export.cli import options
from voirs_vocoder.export.cli.command import Command, option
from voirs_vocoder.export.cli.console import print_table
from voirs_vocoder.export.cli.process import GATE_FAILED
from voirs_vocoder.export.cli.recordings_options import recordings_options
from voirs_vocoder.runtime.artifact.directory import MANIFEST_NAME
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.files import require_writable_file, write_whole
from voirs_vocoder.runtime.printing import say
from voirs_vocoder.runtime.progress import ConsoleProgress

if TYPE_CHECKING:
    from voirs_vocoder.export.precisions import Gate
    from voirs_vocoder.export.validation.compare import CompareReport
    from voirs_vocoder.export.validation.kept_audio import KeptAudio
    from voirs_vocoder.runtime.progress import Progress

__all__ = ["command"]

_PATH = click.Path(path_type=Path)


@click.command(
    "compare",
    cls=Command,
    short_help="Compare files, folders, or backends of an artifact.",
    examples=(
        "voirs-vocoder compare recording.wav copy.wav --at-most lsd=1 --at-least pesq_wb=3",
        "voirs-vocoder compare recordings/ copies/ --align --report compare.html",
        "voirs-vocoder compare hifigan-v1 --speech speech/held-out",
        "voirs-vocoder compare hifigan-v1 hifigan-v1-tuned --speech speech/held-out",
    ),
)
@click.argument("reference", metavar="A", type=_PATH)
@click.argument("degraded", metavar="[B]", type=_PATH, required=False)
@options.speech_option(
    required=False, help_text="Folder of recordings for artifacts to vocode; required for artifacts."
)
@option(
    "--at-least",
    "at_least",
    metavar="FIGURE=X",
    multiple=True,
    help="Lower limit of a figure, such as snr_db=30. Repeat it for more.",
)
@option(
    "--at-most",
    "at_most",
    metavar="FIGURE=X",
    multiple=True,
    help="Upper limit of a figure, such as lsd=1. Repeat it for more.",
)
@option(
    "--align",
    is_flag=True,
    help="Resample, shift and cut recordings of different rate, start or length instead of refusing them.",
)
@recordings_options
@options.json_file_option
@options.report_option("HTML file for a page with players, spectrograms and a blind test.")
def command(
    reference: Path,
    degraded: Path | None,
    speech: Path | None,
    at_least: tuple[str, ...],
    at_most: tuple[str, ...],
    align: bool,
    json_file: Path | None,
    report_file: Path | None,
) -> None:
    """Measure how far B is from A; exit with 1 if a limit is missed.

    A and B are two files, two folders, whose files are compared by name, or two artifacts, which are compared graph by
    graph. A alone is an artifact: all its graphs on all backends are compared with each other on the same recordings,
    and each pair must reach the SNR that the gates of both allow.
    """
    for path in (json_file, report_file):
        if path is not None:
            require_writable_file(path)
    if report_file is not None:
        from voirs_vocoder.export.report_page import require_drawing

        require_drawing()
    artifacts = _is_artifact(reference)
    if degraded is not None and artifacts != _is_artifact(degraded):
        raise InputError(
            f"{reference} and {degraded}: one is an artifact, the other is not; compare like with like"
        )
    if artifacts != (speech is not None):
        raise click.UsageError("artifacts need --speech DIR with recordings to vocode, and only they do")
    if artifacts and align:
        raise click.UsageError("--align is for recordings; what one artifact makes is aligned")

    from voirs_vocoder.export.validation.compare import parsed_threshold
    from voirs_vocoder.export.validation.kept_audio import KeptAudio

    thresholds = [
        *(parsed_threshold(text, "min") for text in at_least),
        *(parsed_threshold(text, "max") for text in at_most),
    ]
    with KeptAudio() as kept_audio, ConsoleProgress() as progress:
        report = _compare(
            reference,
            degraded,
            speech,
            thresholds,
            align,
            kept_audio,
            progress,
            paged=report_file is not None,
        )
        if report_file is not None:
            from voirs_vocoder.export.report_page import render_page
            from voirs_vocoder.export.report_page.comparison import comparison_page

            write_whole(report_file, render_page(comparison_page(report, kept_audio), progress=progress))
    _print(report, json_file)
    if not report.passed:
        raise click.exceptions.Exit(GATE_FAILED)


def _compare(
    reference: Path,
    degraded: Path | None,
    speech: Path | None,
    thresholds: list[Gate],
    align: bool,
    kept_audio: KeptAudio,
    progress: Progress,
    *,
    paged: bool,
) -> CompareReport:
    if speech is not None:
        from voirs_vocoder.export.validation.compare import compare_artifacts

        roots = [reference] if degraded is None else [reference, degraded]
        return compare_artifacts(
            roots, speech, thresholds=thresholds, kept_audio=kept_audio, progress=progress
        )
    from voirs_vocoder.export.validation.compare import compare_recordings

    if degraded is None:
        raise click.UsageError("name what A is compared with: B")
    # Artifacts are compared on what is kept; recordings are kept for the page alone.
    kept = kept_audio if paged else None
    return compare_recordings(
        reference, degraded, thresholds=thresholds, align=align, kept_audio=kept, progress=progress
    )


def _print(report: CompareReport, json_file: Path | None) -> None:
    from voirs_vocoder.export.validation.compare import compare_table, encode_comparison
    from voirs_vocoder.export.validation.gates import gate_lines

    if json_file is not None:
        write_whole(json_file, encode_comparison(report))
    print_table(compare_table(report))
    for note in report.notes:
        say(f"note: {note}")
    for comparison in report.comparisons:
        for line in gate_lines(f"{comparison.degraded} against {comparison.reference}", comparison.gates):
            say(line)


def _is_artifact(path: Path) -> bool:
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder; check the path")
    return (path / MANIFEST_NAME).is_file()
