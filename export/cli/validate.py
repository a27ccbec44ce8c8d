"""`voirs-vocoder validate`: every graph of an artifact measured on recordings and judged by its gates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from voirs_vocoder.export.cli import options
from voirs_vocoder.export.cli.command import Command, option
from voirs_vocoder.export.cli.console import print_table
from voirs_vocoder.export.cli.process import GATE_FAILED
from voirs_vocoder.export.cli.recordings_options import recordings_options
from voirs_vocoder.export.validation.convention import convention_lines
from voirs_vocoder.export.validation.gates import gate_lines
from voirs_vocoder.export.validation.report import Report, encode_report, report_table
from voirs_vocoder.runtime.files import require_writable_file, write_whole
from voirs_vocoder.runtime.printing import say
from voirs_vocoder.runtime.progress import ConsoleProgress
from voirs_vocoder.runtime.providers import all_providers

__all__ = ["command", "judge_artifact"]


def _cpu_providers() -> list[str]:
    return [provider.name for provider in all_providers() if provider.measurable and not provider.on_gpu]


@click.command(
    "validate",
    cls=Command,
    short_help="Measure the graphs on recordings; judge the gates.",
    examples=(
        "voirs-vocoder validate hifigan-v1 --speech speech/held-out --json report.json",
        "voirs-vocoder validate hifigan-v1 --speech speech/held-out --checkpoint g_02500000 --config config_v1.json",
    ),
)
@options.artifact_argument
@options.speech_option(required=True, help_text="Folder of recordings, none of which INT8 was calibrated on.")
@options.checkpoint_options(
    required=False,
    help_text="Source checkpoint, whose PyTorch model is then the reference in place of the FP32 graph.",
)
@option(
    "--provider",
    "providers",
    type=options.KnownName(_cpu_providers),
    multiple=True,
    show_default="all that are installed",
    help="Provider to measure on. Repeat it for more.",
)
@recordings_options
@options.json_file_option
def command(
    root: Path,
    speech: Path,
    checkpoint: Path | None,
    config: Path | None,
    providers: tuple[str, ...],
    json_file: Path | None,
) -> None:
    """Measure every graph of the artifact DIR on recordings; exit with 1 if a gate fails.

    The report is kept in the artifact, and the means of its figures in the manifest.
    """
    if config is not None and checkpoint is None:
        raise click.UsageError("--config describes --checkpoint; give both")
    judge_artifact(
        root, speech, checkpoint=checkpoint, config=config, providers=providers or None, json_file=json_file
    )


def judge_artifact(
    root: Path,
    speech: Path,
    *,
    checkpoint: Path | None,
    config: Path | None,
    json_file: Path | None,
    providers: Sequence[str] | None = None,
) -> None:
    """Validate, record, print.

    Args:
        root: The artifact.
        speech: Folder of recordings.
        checkpoint: The source checkpoint; None takes the FP32 graph as the reference.
        config: Its configuration; None looks beside it.
        json_file: Where else to write the report; None writes it into the artifact only.
        providers: Names of the providers to measure on; None measures on all that are installed.

    Raises:
        click.exceptions.Exit: A gate failed.
    """
    if json_file is not None:
        require_writable_file(json_file)

    from voirs_vocoder.export.validation_run import validate_and_record

    with ConsoleProgress() as progress:
        report = validate_and_record(
            root, speech, checkpoint=checkpoint, config=config, providers=providers, progress=progress
        )
    if json_file is not None:
        write_whole(json_file, encode_report(report))
    _print_report(report)
    if not report.passed:
        raise click.exceptions.Exit(GATE_FAILED)


def _print_report(report: Report) -> None:
    print_table(report_table(report))
    reference = (
        "PyTorch" if report.reference == "pytorch" else "the FP32 graph, since no --checkpoint was given"
    )
    count = len(report.recordings)
    say(
        "",
        f"{count} recording{'s' * (count != 1)}, {report.speech_s:.1f} s. SNR is against {reference}; "
        "the rest against the recordings.",
    )
    for note in report.notes:
        say(note)
    for line in convention_lines(report.convention):
        say(line)
    for row in report.rows:
        for line in gate_lines(row.title, row.gates):
            say(line)
