"""`python -m tests.gpu`: what runs on this machine's GPU, how exactly, and how fast; `make gpu` runs it."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from tests.gpu.artifacts import ARTIFACTS
from tests.gpu.measuring import gpu_name
from tests.gpu.peers import pytorch
from tests.gpu.report import Figure, GpuReport, load_report, with_section, write_report
from tests.gpu.sections import SECTIONS, Rig
from voirs_vocoder.runtime.machine import read_processor

__all__ = ["main"]

_ALL = {**SECTIONS, "pytorch": pytorch}


@click.command()
@click.option(
    "--artifacts",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=ARTIFACTS,
    show_default=True,
    help="Folder of the artifacts, made by `python -m tests.gpu.models`.",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("artifacts/build/gpu-report"),
    show_default=True,
    help="Folder for report.json and report.md.",
)
@click.option(
    "--provider",
    "providers",
    multiple=True,
    default=("cuda",),
    show_default=True,
    help="Measure this provider; may be repeated.",
)
@click.option(
    "--section",
    "sections",
    type=click.Choice(tuple(_ALL)),
    multiple=True,
    help="Measure this section, again if need be; may be repeated. Without it all are measured that are missing.",
)
@click.option("--rehearsal", is_flag=True, help="Run on a machine without a GPU, with short input.")
def main(
    artifacts: Path, output: Path, providers: tuple[str, ...], sections: tuple[str, ...], rehearsal: bool
) -> None:
    """Test and measure the GPU providers; exits with 1 where a figure misses its goal.

    Each finished section is kept, so that a run that was cut off goes on where it stopped.
    """
    output.mkdir(parents=True, exist_ok=True)
    gpu, driver = (f"rehearsal on {read_processor().name}", "none") if rehearsal else gpu_name()
    report = load_report(output / "report.json", gpu, _versions(driver))
    rig = Rig(artifacts, providers, rehearsal)
    for name in sections or tuple(
        name for name in _ALL if name not in report.sections or not report.sections[name].complete
    ):
        click.echo(f"{name}:")
        started = time.perf_counter()
        figures: list[Figure] = []
        for figure in _ALL[name](rig):
            figures.append(figure)
            click.echo(_line(figure))
            _keep(report, name, figures, started, output, complete=False)
        report = _keep(report, name, figures, started, output, complete=True)
    missed = [
        figure for section in report.sections.values() for figure in section.figures if figure.met is False
    ]
    click.echo(f"\n{len(missed)} figures miss their goal; {output / 'report.md'}")
    sys.exit(1 if missed else 0)


def _keep(
    report: GpuReport, name: str, figures: list[Figure], started: float, output: Path, *, complete: bool
) -> GpuReport:
    kept = with_section(report, name, figures, time.perf_counter() - started, complete=complete)
    write_report(kept, output)
    return kept


def _line(figure: Figure) -> str:
    value = "failed" if figure.value is None else f"{figure.value:.4g} {figure.unit}"
    verdict = "" if figure.met is None else " (met)" if figure.met else f" (NOT met: {figure.limit:g})"
    note = f" {figure.note}" if figure.note else ""
    return f"  {figure.name}: {value}{verdict}{note}"


def _versions(driver: str) -> dict[str, str]:
    import onnxruntime

    versions = {"driver": driver, "onnxruntime": onnxruntime.__version__}
    try:
        import torch
    except ImportError:
        return versions
    return {**versions, "torch": str(torch.__version__)}


if __name__ == "__main__":
    main()
