"""`voirs-vocoder bench`: the speed of an artifact's graphs on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from voirs_vocoder.export.cli import options
from voirs_vocoder.export.cli.command import Command, option
from voirs_vocoder.export.cli.console import print_table
from voirs_vocoder.export.cli.process import GATE_FAILED
from voirs_vocoder.export.cli.recordings_options import recordings_options
from voirs_vocoder.runtime.files import indented_json, require_writable_file, write_whole
from voirs_vocoder.runtime.printing import say
from voirs_vocoder.runtime.progress import ConsoleProgress

__all__ = ["command"]


def _moved_to_tune(flag: str, setting: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A flag of earlier versions, refused in favor of `tune`."""

    def refuse(context: click.Context, parameter: click.Parameter, given: bool) -> None:
        del parameter
        if given:
            raise click.UsageError(
                f"{flag} is no longer part of bench; run voirs-vocoder tune DIR --speech S --only {setting}",
                context,
            )

    return option(flag, is_flag=True, hidden=True, expose_value=False, is_eager=True, callback=refuse)


@click.command(
    "bench",
    cls=Command,
    short_help="Measure the speed of the graphs here.",
    examples=(
        "voirs-vocoder bench hifigan-v1 --threads 2 --json bench.json",
        "voirs-vocoder bench hifigan-v2 --speech speech/held-out --save-baseline baseline.json",
        "voirs-vocoder bench hifigan-v2 --speech speech/held-out --against baseline.json",
    ),
)
@options.artifact_argument
@option(
    "--seconds",
    metavar="S",
    type=click.FloatRange(min=0.1),
    default=10.0,
    help="Length of the audio that each graph makes per round, in seconds.",
)
@option(
    "--pairs",
    metavar="N",
    type=click.IntRange(min=1),
    default=15,
    help="Number of rounds; each graph vocodes once per round.",
)
@option(
    "--save-baseline",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Measure quality and ratios of speed instead, and store them in this file.",
)
@option(
    "--against",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Measure quality and ratios of speed instead, and exit with 1 where one is worse than in this file.",
)
@options.speech_option(required=False, help_text="Folder of recordings for --save-baseline and --against.")
@recordings_options
@options.threads_option
@options.warm_option
@options.json_file_option
@_moved_to_tune("--sweep", "sampler")
@_moved_to_tune("--look-ahead", "look-ahead")
def command(
    root: Path,
    seconds: float,
    pairs: int,
    save_baseline: Path | None,
    against: Path | None,
    speech: Path | None,
    threads: int | None,
    warm: bool,
    json_file: Path | None,
) -> None:
    """Measure how fast the graphs of the artifact DIR run here, each against the FP32 graph. DIR is not changed.

    With --save-baseline or --against: PESQ, STOI, LSD, SNR, level, pitch and brightness of every recording, and times
    relative to FP32.
    """
    if save_baseline is not None and against is not None:
        raise click.UsageError("--save-baseline and --against are two measurements; make one after the other")
    baseline = save_baseline is not None or against is not None
    if baseline != (speech is not None):
        raise click.UsageError(
            "--save-baseline and --against need --speech DIR with recordings, and only they use it"
        )
    if baseline and warm:
        raise click.UsageError(
            "--warm is for times, and --save-baseline and --against measure ratios; leave it out"
        )
    for path in (json_file, save_baseline):
        if path is not None:
            require_writable_file(path)

    if speech is not None:
        _baseline(root, speech, pairs, save_baseline, against, json_file)
        return

    from voirs_vocoder.export.bench import artifact_benchmark, bench_table, encode_bench

    with ConsoleProgress() as progress:
        report = artifact_benchmark(
            root, seconds=seconds, pairs=pairs, threads=threads, warm=warm, progress=progress
        )
    if json_file is not None:
        write_whole(json_file, encode_bench(report))
    print_table(bench_table(report))


def _baseline(
    root: Path, speech: Path, pairs: int, save: Path | None, against: Path | None, json_file: Path | None
) -> None:
    from voirs_vocoder.export.bench.baseline import changes, changes_table, measure_baseline, read_baseline

    then = None if against is None else read_baseline(against)
    with ConsoleProgress() as progress:
        now = measure_baseline(root, speech, pairs=pairs, progress=progress)
    data = indented_json(now)
    for path in (save, json_file):
        if path is not None:
            write_whole(path, data)
    if then is None:
        say(f"{save}: {now.model}, {len(now.graphs)} graphs, {len(now.recordings)} recordings")
        return
    found = changes(then, now)
    worse = [change for change in found if change.worse]
    print_table(changes_table(worse or [change for change in found if change.recording is None]))
    say("", f"{len(found)} figures, {len(worse)} of them worse than in {against}")
    if worse:
        raise click.exceptions.Exit(GATE_FAILED)
