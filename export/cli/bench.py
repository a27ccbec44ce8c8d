"""`voirs-vocoder bench`: the speed of an artifact's graphs on this machine."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from voirs_vocoder.export.cli import options
from voirs_vocoder.export.cli.console import ConsoleProgress, print_table
from voirs_vocoder.export.cli.failure import GATE_FAILED
from voirs_vocoder.export.cli.output import require_writable_file, write_file
from voirs_vocoder.runtime.artifact.manifest import Precision

__all__ = ["command"]


@click.command(
    "bench",
    cls=options.ExampleCommand,
    short_help="Measure the speed of the graphs here.",
    examples=(
        "voirs-vocoder bench hifigan-v1 --threads 2 --json bench.json",
        "voirs-vocoder bench diffwave --sweep --speech speech/held-out",
        "voirs-vocoder bench hifigan-v2 --speech speech/held-out --against baseline.json",
        "voirs-vocoder bench hifigan-v2 --look-ahead --speech speech/held-out --threads 1",
    ),
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
@click.option(
    "--sweep",
    is_flag=True,
    help="Instead: samplers and steps of a diffusion model against quality; the knee becomes the default.",
)
@click.option(
    "--look-ahead",
    is_flag=True,
    help="Instead: what less look-ahead costs a stream; the least that loses at most 0.05 PESQ becomes the default.",
)
@click.option(
    "--save-baseline",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Instead: measure quality and ratios of speed, and store them for later.",
)
@click.option(
    "--against",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Instead: measure them, and exit with 1 where one is worse than in a stored baseline.",
)
@options.speech_option(
    required=False, help_text="Recordings for --sweep, --look-ahead, --save-baseline and --against."
)
@options.precision_option
@options.threads_option
@options.json_file_option
def command(
    root: Path,
    seconds: float,
    pairs: int,
    sweep: bool,
    look_ahead: bool,
    save_baseline: Path | None,
    against: Path | None,
    speech: Path | None,
    precision: Precision,
    threads: int | None,
    json_file: Path | None,
) -> None:
    """Measure how fast the graphs of the artifact DIR run here, each against the FP32 graph.

    With --sweep: PESQ, STOI, LSD and real-time factor of every sampler over numbers of steps, on recordings. Table and
    plot are kept in the artifact, and the cheapest setting within 0.05 PESQ of the best becomes its default.

    With --look-ahead: SNR against the offline pass, PESQ, LSD, latency and computing of a stream that awaits fewer
    frames than the model hears, in chunks of one frame.

    With --against: PESQ, STOI, LSD, SNR, level, pitch and brightness of every recording, and times relative to FP32.
    """
    chosen = [sweep, look_ahead, save_baseline is not None, against is not None]
    if sum(chosen) > 1:
        raise click.UsageError(
            "--sweep, --look-ahead, --save-baseline and --against are four measurements; make one after the other"
        )
    if any(chosen) != (speech is not None):
        raise click.UsageError(
            "--sweep, --look-ahead, --save-baseline and --against need --speech DIR with recordings, and only they do"
        )
    for path in (json_file, save_baseline):
        if path is not None:
            require_writable_file(path)

    if speech is not None and (save_baseline is not None or against is not None):
        _baseline(root, speech, pairs, save_baseline, against, json_file)
        return
    if speech is not None:
        measure = _sweep if sweep else _look_ahead
        measure(root, speech, precision, threads, json_file)
        return

    from voirs_vocoder.export.bench import artifact_benchmark, bench_table, encode_bench

    with ConsoleProgress() as progress:
        report = artifact_benchmark(root, seconds=seconds, pairs=pairs, threads=threads, progress=progress)
    if json_file is not None:
        write_file(json_file, encode_bench(report))
    print_table(bench_table(report))


def _baseline(
    root: Path, speech: Path, pairs: int, save: Path | None, against: Path | None, json_file: Path | None
) -> None:
    from voirs_vocoder.export.bench.baseline import changes, changes_table, measure_baseline, read_baseline

    then = None if against is None else read_baseline(against)
    with ConsoleProgress() as progress:
        now = measure_baseline(root, speech, pairs=pairs, progress=progress)
    data = msgspec.json.format(msgspec.json.encode(now), indent=2) + b"\n"
    for path in (save, json_file):
        if path is not None:
            write_file(path, data)
    if then is None:
        click.echo(f"{save}: {now.model}, {len(now.graphs)} graphs, {len(now.recordings)} recordings")
        return
    found = changes(then, now)
    worse = [change for change in found if change.worse]
    print_table(changes_table(worse or [change for change in found if change.recording is None]))
    click.echo(f"\n{len(found)} figures, {len(worse)} of them worse than in {against}")
    if worse:
        raise click.exceptions.Exit(GATE_FAILED)


def _sweep(
    root: Path, speech: Path, precision: Precision, threads: int | None, json_file: Path | None
) -> None:
    from voirs_vocoder.export.tuning.sweep import record_sweep, sweep_artifact, sweep_table

    with ConsoleProgress() as progress:
        report = sweep_artifact(root, speech, precision=precision, threads=threads, progress=progress)
    artifact = record_sweep(root, report)
    if json_file is not None:
        write_file(json_file, msgspec.json.encode(report))
    print_table(sweep_table(report))
    knee = report.points[report.knee]
    steps = "" if knee.steps is None else f" with {knee.steps} steps"
    click.echo(
        f"\n{report.recordings} recordings, {report.speech_s:.1f} s. Default now: {knee.sampler}{steps}. "
        f"{artifact.root / 'validation' / 'sweep.png'}"
    )


def _look_ahead(
    root: Path, speech: Path, precision: Precision, threads: int | None, json_file: Path | None
) -> None:
    from voirs_vocoder.export.tuning.look_ahead import (
        look_ahead_table,
        measure_look_aheads,
        record_look_aheads,
    )

    with ConsoleProgress() as progress:
        report = measure_look_aheads(root, speech, precision=precision, threads=threads, progress=progress)
    artifact = record_look_aheads(root, report)
    if json_file is not None:
        write_file(json_file, msgspec.json.encode(report))
    print_table(look_ahead_table(report))
    chosen = report.points[report.chosen].look_ahead_frames
    plot = artifact.root / "validation" / "look-ahead.png"
    click.echo(
        f"\n{report.recordings} recordings, {report.speech_s:.1f} s, chunks of {report.chunk_frames} frame. Low "
        f"latency now awaits {chosen} frames. {plot}"
    )
