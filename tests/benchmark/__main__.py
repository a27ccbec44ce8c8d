"""`python -m tests.benchmark`: the project's benchmark, which `make bench` runs."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import click

from tests.benchmark.models import VARIANTS
from tests.benchmark.project import ProjectSettings, project_benchmark
from tests.benchmark.project_report import encode_project, finding_table, speed_table, target_table
from voirs_vocoder.export.bench.paired import MIN_PAIRS
from voirs_vocoder.export.cli.console import ConsoleProgress, console_messages, print_table
from voirs_vocoder.export.cli.failure import report_failure
from voirs_vocoder.export.errors import ExportError
from voirs_vocoder.reference_models.errors import ReferenceModelError
from voirs_vocoder.runtime.errors import VoirsVocoderError

__all__ = ["main"]

_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.option(
    "--data", type=_FOLDER, default=Path("artifacts"), show_default=True, help="The project's data."
)
@click.option(
    "--output",
    type=_FOLDER,
    default=Path("artifacts/build/bench"),
    show_default=True,
    help="For models and report.",
)
@click.option("--pairs", type=click.IntRange(MIN_PAIRS), default=31, show_default=True, help="Rounds of V1.")
@click.option(
    "--threads", type=click.IntRange(1), default=os.cpu_count(), show_default=True, help="Of every backend."
)
@click.option(
    "--hour-with", type=click.Choice(VARIANTS), default="v2", show_default=True, help="Vocodes the hour."
)
@click.option("--quick", is_flag=True, help="Minutes instead of the hour.")
@click.option("--reuse", is_flag=True, help="Measure the models that the last run exported.")
def main(
    data: Path, output: Path, pairs: int, threads: int, hour_with: str, quick: bool, reuse: bool
) -> None:
    """Measure speed, memory and size of HiFi-GAN V1, V2 and V3 on this machine."""
    output.mkdir(parents=True, exist_ok=True)
    settings = ProjectSettings(
        data=data, output=output, pairs=pairs, threads=threads, reuse=reuse, quick=quick, hour_with=hour_with
    )
    # The stock exporter's notes address its own developers.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with console_messages(), ConsoleProgress() as progress:
            report = project_benchmark(settings, progress)
    except (VoirsVocoderError, ReferenceModelError, ExportError) as error:
        sys.exit(report_failure(error))
    path = output / "report.json"
    path.write_bytes(encode_project(report))
    machine = report.machine
    click.echo(
        f"\n{machine.processor}, {machine.cores} cores, {report.threads} threads; {report.audio_s:.1f} s of audio"
    )
    for rows in (speed_table(report), finding_table(report), target_table(report)):
        click.echo()
        print_table(rows)
    click.echo(f"\n{path}")


if __name__ == "__main__":
    main()
