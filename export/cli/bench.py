"""`voirs-vocoder bench`: the speed of an artifact's graphs on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from voirs_vocoder.export.cli import options
from voirs_vocoder.export.cli.console import ConsoleProgress, print_table
from voirs_vocoder.export.cli.output import require_writable_file, write_file

__all__ = ["command"]


@click.command(
    "bench",
    cls=options.ExampleCommand,
    short_help="Measure the speed of the graphs here.",
    examples=("voirs-vocoder bench hifigan-v1 --threads 2 --json bench.json",),
)
@options.artifact_argument
@click.option(
    "--seconds",
    metavar="S",
    type=click.FloatRange(min=0.1),
    default=10.0,
    help="Length of the audio that is made each time.",
)
@click.option(
    "--pairs",
    metavar="N",
    type=click.IntRange(min=1),
    default=15,
    help="Rounds; each graph vocodes once in each.",
)
@options.threads_option
@options.json_file_option
def command(root: Path, seconds: float, pairs: int, threads: int | None, json_file: Path | None) -> None:
    """Measure how fast the graphs of the artifact DIR run here, each against the FP32 graph."""
    if json_file is not None:
        require_writable_file(json_file)

    from voirs_vocoder.export.bench import artifact_benchmark, bench_table, encode_bench

    with ConsoleProgress() as progress:
        report = artifact_benchmark(root, seconds=seconds, pairs=pairs, threads=threads, progress=progress)
    if json_file is not None:
        write_file(json_file, encode_bench(report))
    print_table(bench_table(report))
