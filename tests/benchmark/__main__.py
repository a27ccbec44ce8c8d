"""`python -m tests.benchmark`: the project's benchmark, which `make bench` runs."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import click

from tests.benchmark.cases import CASES
from tests.benchmark.report import encode_project, finding_table, speed_table, target_table
from tests.benchmark.runner import BenchSettings, run_benchmark
from voirs_vocoder.export.bench.paired import MIN_PAIRS
from voirs_vocoder.export.cli.console import console_messages, print_table
from voirs_vocoder.export.cli.failure import report_failure
from voirs_vocoder.export.errors import ExportError
from voirs_vocoder.reference_models.errors import ReferenceModelError
from voirs_vocoder.runtime.errors import VoirsVocoderError
from voirs_vocoder.runtime.progress import ConsoleProgress

__all__ = ["main"]


@click.command()
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("artifacts/build/bench"),
    show_default=True,
    help="Folder for the models and report.json.",
)
@click.option(
    "--case",
    "cases",
    type=click.Choice(tuple(CASES)),
    multiple=True,
    help="Measure this model; may be repeated. Without it all are measured, and effects and report page as well.",
)
@click.option(
    "--pairs",
    type=click.IntRange(MIN_PAIRS),
    default=31,
    show_default=True,
    help="Number of timed rounds; fast models take three times as many, slow ones a third.",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    default=os.cpu_count(),
    show_default=True,
    help="Number of threads of every backend.",
)
@click.option(
    "--quick", is_flag=True, help="Vocode three minutes instead of an hour through the command line."
)
@click.option(
    "--reuse", is_flag=True, help="Measure the models that an earlier run exported to the same folder."
)
def main(output: Path, cases: tuple[str, ...], pairs: int, threads: int, quick: bool, reuse: bool) -> None:
    """Measure speed, memory and size of HiFi-GAN, WaveGlow and diffusion models on this machine.

    Published sizes with random weights, and the shipped HiFi-GAN V2, against the stock export of torch in ONNX
    Runtime, PyTorch and OpenVINO. `python -m tests.benchmark.measured report.json` renews artifacts/MEASURED.md.
    """
    output.mkdir(parents=True, exist_ok=True)
    chosen = cases or tuple(CASES)
    settings = BenchSettings(output, pairs, threads, cases=chosen, reuse=reuse, quick=quick)
    # The stock exporter's notes address its own developers.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with console_messages(), ConsoleProgress() as progress:
            report = run_benchmark(settings, progress)
    except (VoirsVocoderError, ReferenceModelError, ExportError) as error:
        sys.exit(report_failure(error))
    path = output / "report.json"
    path.write_bytes(encode_project(report))
    machine = report.machine
    click.echo(f"\n{machine.processor}, {machine.cores} cores, {report.threads} threads")
    for rows in (speed_table(report), finding_table(report), target_table(report)):
        click.echo()
        print_table(rows)
    click.echo(f"\n{path}")


if __name__ == "__main__":
    main()
