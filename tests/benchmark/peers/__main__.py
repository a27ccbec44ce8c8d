"""`python -m tests.benchmark.peers`: the benchmark against peers, which `make bench-peers` runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import cast

import click

from artifacts.shipped import SAMPLES
from tests.benchmark.peers.cases import PEER_CASES
from tests.benchmark.peers.contract import MODES, Mode
from tests.benchmark.peers.goals import goal_rows
from tests.benchmark.peers.machine_peak import cpu_has_amx
from tests.benchmark.peers.picture import peers_picture
from tests.benchmark.peers.publish import peer_tables, publish
from tests.benchmark.peers.report import case_table, peak_text, reasons
from tests.benchmark.peers.results import read_results, run_versions
from tests.benchmark.peers.runner import read_peaks, run_peers
from tests.benchmark.peers.settings import PeersSettings
from tests.benchmark.peers.table import PEERS
from voirs_vocoder.export.cli.console import console_messages, print_table
from voirs_vocoder.export.cli.failure import report_failure
from voirs_vocoder.export.errors import ExportError
from voirs_vocoder.reference_models.errors import ReferenceModelError
from voirs_vocoder.runtime.errors import VoirsVocoderError
from voirs_vocoder.runtime.files import write_whole
from voirs_vocoder.runtime.machine import this_machine
from voirs_vocoder.runtime.progress import ConsoleProgress

__all__ = ["main"]


@click.command()
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("artifacts/build/bench-peers"),
    show_default=True,
    help="Folder for models, results and the picture.",
)
@click.option(
    "--speech",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=SAMPLES,
    help="Folder of recordings that the quality of trained models is measured on, none of which INT8 was calibrated "
    "on. Default: the shipped samples.",
)
@click.option(
    "--case",
    "cases",
    type=click.Choice(tuple(PEER_CASES)),
    multiple=True,
    help="Measure this model; may be repeated. Without it all are measured.",
)
@click.option(
    "--peer",
    "peers",
    type=click.Choice(tuple(PEERS)),
    multiple=True,
    help="Measure this peer; may be repeated. Without it all are measured.",
)
@click.option(
    "--mode",
    "modes",
    type=click.Choice(tuple(MODES)),
    multiple=True,
    help="Measure this mode; may be repeated. Without it all are measured; quality belongs to offline.",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    default=os.cpu_count(),
    show_default=True,
    help="Number of threads of every peer.",
)
@click.option("--rounds", type=click.IntRange(3), default=15, show_default=True, help="Most timed rounds.")
@click.option(
    "--budget-s",
    type=click.FloatRange(1.0),
    default=300.0,
    show_default=True,
    help="Seconds of timed rounds of one model in one mode; slow models have fewer rounds, but at least 3.",
)
@click.option("--quick", is_flag=True, help="Run short utterances, and keep the results apart.")
@click.option("--remeasure", is_flag=True, help="Measure what was already measured as well.")
@click.option("--only-report", is_flag=True, help="Measure nothing; print the results so far.")
@click.option(
    "--publish",
    "is_published",
    is_flag=True,
    help="Take the results over into artifacts/measured.json and MEASURED.md.",
)
def main(
    output: Path,
    speech: Path,
    cases: tuple[str, ...],
    peers: tuple[str, ...],
    modes: tuple[str, ...],
    threads: int,
    rounds: int,
    budget_s: float,
    quick: bool,
    remeasure: bool,
    only_report: bool,
    is_published: bool,
) -> None:
    """Compare our artifacts with PyTorch, ONNX Runtime, OpenVINO, NNCF and sherpa-onnx on this machine.

    A run that was stopped goes on where it was; what failed or could not run is tried again.
    """
    settings = PeersSettings(
        output=output,
        speech=speech.resolve(),
        cases=cases or tuple(PEER_CASES),
        peers=peers or tuple(PEERS),
        modes=cast("tuple[Mode, ...]", tuple(mode for mode in MODES if not modes or mode in modes)),
        threads=threads,
        rounds=rounds,
        budget_s=budget_s,
        quick=quick,
        remeasure=remeasure,
    )
    try:
        with console_messages(), ConsoleProgress() as progress:
            if not only_report:
                run_peers(settings, progress)
            peaks = read_peaks(settings)
        results = read_results(settings.results)
        titles = {key: case.title for key, case in PEER_CASES.items()}
        picture = peers_picture(results, titles)
        picture_path = settings.results.with_suffix(".png")
        write_whole(picture_path, picture)
    except (VoirsVocoderError, ReferenceModelError, ExportError) as error:
        sys.exit(report_failure(error))
    machine = this_machine()
    click.echo(f"\n{machine.processor}, {machine.cores} cores, {threads} threads; peak {peak_text(peaks)}")
    for key in settings.cases:
        rows = case_table(results, key, peaks)
        click.echo(f"\n{titles[key]}")
        if len(rows) > 1:
            print_table(rows)
        for line in reasons(results, key):
            click.echo(line)
    click.echo()
    print_table(goal_rows(results, has_amx=cpu_has_amx(), peaks=peaks))
    click.echo(f"\n{settings.results}\n{picture_path}")
    if is_published:
        tables = peer_tables(
            results,
            titles,
            peaks=peaks,
            has_amx=cpu_has_amx(),
            threads=threads,
            versions=run_versions(),
        )
        publish(tables, picture)


if __name__ == "__main__":
    main()
