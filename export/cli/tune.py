"""`voirs-vocoder tune`: settings of an artifact, measured on recordings and kept as its defaults."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
from click.core import ParameterSource

from voirs_vocoder.export.cli import options
from voirs_vocoder.export.cli.command import Command, option
from voirs_vocoder.export.cli.console import print_table
from voirs_vocoder.export.cli.recordings_options import recordings_options
from voirs_vocoder.export.tuning.points import POINT_NAMES, PointName
from voirs_vocoder.runtime.artifact.manifest import Precision
from voirs_vocoder.runtime.artifact.reading import Artifact
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.files import indented_json, require_writable_file, write_whole
from voirs_vocoder.runtime.printing import remark, say
from voirs_vocoder.runtime.progress import ConsoleProgress

if TYPE_CHECKING:
    from voirs_vocoder.export.tuning.int8 import BudgetKind
    from voirs_vocoder.runtime.artifact.manifest import Manifest

__all__ = ["command"]

SAMPLER = "sampler"
LOOK_AHEAD = "look-ahead"
MACHINE = "machine"
INT8 = "int8"
GPU = "gpu"
_BUDGET_S = 300.0

_TAKEN_BY: Mapping[str, tuple[str, ...]] = {
    "speech": (SAMPLER, LOOK_AHEAD, MACHINE, INT8),
    "budget_s": (MACHINE,),
    "calibration": (INT8,),
    "point": (INT8,),
    "snr_db": (INT8,),
    "pesq_lost": (INT8,),
    "time_ratio": (INT8,),
    "gpu_tuning": (GPU,),
    "precision": (SAMPLER, LOOK_AHEAD, GPU),
    "threads": (SAMPLER, LOOK_AHEAD, INT8),
}
"""Option to the settings whose tuning takes it; the others are taken by all."""

_Tuner = Callable[[Path, Path, Precision, int | None], msgspec.Struct]


def int8_options(function: Callable[..., object]) -> Callable[..., object]:
    """`--point`, `--snr-db`, `--pesq-lost` and `--time-ratio`: the goal of `--only int8`."""
    point = option(
        "--point",
        type=click.Choice(POINT_NAMES),
        show_default="balanced",
        group=options.GRAPHS,
        help="Mix of --only int8: `fast` has the fewest FP32 layers, `faithful` an SNR of 33 dB, `balanced` lies where "
        "the curve between the two bends.",
    )
    snr = option(
        "--snr-db",
        metavar="DB",
        type=float,
        group=options.GRAPHS,
        help="Take the fastest mix of --only int8 with at least so much SNR against FP32.",
    )
    pesq = option(
        "--pesq-lost",
        metavar="PESQ",
        type=float,
        group=options.GRAPHS,
        help="Take the fastest mix of --only int8 that loses at most so much PESQ against FP32.",
    )
    ratio = option(
        "--time-ratio",
        metavar="RATIO",
        type=click.FloatRange(min=0.0, min_open=True),
        group=options.GRAPHS,
        help="Take the mix of --only int8 with the best SNR that takes at most so much of the time of FP32.",
    )
    return point(snr(pesq(ratio(function))))


@click.command(
    "tune",
    cls=Command,
    short_help="Measure settings; keep the best as defaults.",
    examples=(
        "voirs-vocoder tune diffwave --speech speech/held-out",
        "voirs-vocoder tune hifigan-v2 --speech speech/held-out --only machine --budget-s 120",
        "voirs-vocoder tune hifigan-v2 --speech speech/held-out --only look-ahead --threads 1",
        "voirs-vocoder tune hifigan-v2 --speech speech/held-out --only int8 --calibration speech/train --snr-db 33",
        "voirs-vocoder tune hifigan-v2 --only gpu --precision fp16",
    ),
)
@options.artifact_argument
@options.speech_option(
    required=False,
    help_text="Folder of recordings, none of which INT8 was calibrated on. All but --only gpu need it.",
)
@recordings_options
@option(
    "--only",
    type=click.Choice((SAMPLER, LOOK_AHEAD, MACHINE, INT8, GPU)),
    show_default="sampler and look-ahead, as far as the model has them, and machine",
    help="Setting to tune.",
)
@option(
    "--budget-s",
    metavar="S",
    type=click.FloatRange(min=0.0, min_open=True),
    default=_BUDGET_S,
    show_default=True,
    help="Seconds that the tuning of the machine may take.",
)
@options.calibration_option(required=False)
@int8_options
@options.gpu_tuning_option(
    "File for what --only gpu measures, beside what it holds for other models and GPUs."
)
@options.precision_option
@options.threads_option
@options.json_file_option
def command(
    root: Path,
    speech: Path | None,
    only: str | None,
    budget_s: float,
    calibration: Path | None,
    point: PointName | None,
    snr_db: float | None,
    pesq_lost: float | None,
    time_ratio: float | None,
    gpu_tuning: Path | None,
    precision: Precision,
    threads: int | None,
    json_file: Path | None,
) -> None:
    """Measure settings of the artifact DIR, and make the best ones its defaults.

    sampler, of a diffusion model: PESQ, STOI, LSD and real-time factor of every sampler with several numbers of steps.
    The cheapest setting whose PESQ and STOI are nearly those of the best becomes the default of `vocode`.

    look-ahead, of a one-pass model: PESQ, LSD, SNR against the offline pass, latency and computing time of streams
    that await fewer frames than the model depends on. The least look-ahead that keeps nearly the whole PESQ becomes
    what `stream --low-latency` awaits.

    machine: latency, throughput and memory of every provider, precision, number of threads and of parallel runs on this
    processor, without those whose audio misses the gates of `validate`. The best for each are kept in the artifact for
    processors of this kind, and are used by `vocode` and `stream` with --tuned. Leave the machine idle meanwhile.

    int8: the noise that each convolution adds to the final audio when it is INT8, and the time that it saves then; for
    a flow model those of each flow. Mixes of INT8 and FP32 follow from both, and some are vocoded and timed. The
    INT8 graphs of the artifact are made again, calibrated on --calibration, with the mix named by --point, or with the
    best one within a budget of quality or time. Validate the artifact afterwards, on other recordings.

    gpu: how the provider cuda computes every shape fastest on this GPU. The choices are kept in a file of this machine,
    which `vocode` and `stream` use with --gpu-tuning.

    Tables and plots of the others are kept in the artifact, under validation.
    """
    _refuse_others(click.get_current_context(), (SAMPLER, LOOK_AHEAD, MACHINE) if only is None else (only,))
    if json_file is not None:
        require_writable_file(json_file)
    reports: dict[str, msgspec.Struct]
    if only == GPU:
        reports = {GPU: _tune_gpu(root, precision, gpu_tuning)}
    elif speech is None:
        raise click.UsageError("Missing option '--speech'.")
    elif only == INT8:
        if calibration is None:
            raise click.UsageError("--only int8 needs --calibration DIR with recordings to calibrate on")
        budgets: dict[BudgetKind, float | None] = {
            "snr_db": snr_db,
            "pesq_lost": pesq_lost,
            "time_ratio": time_ratio,
        }
        goals = [name for name, value in (("point", point), *budgets.items()) if value is not None]
        if len(goals) > 1:
            raise click.UsageError(f"--only int8 takes one goal, got {_flags(goals)}; leave out all but one")
        reports = {INT8: _tune_int8(root, speech, calibration, point, budgets, threads)}
    else:
        chosen = _applicable(root, Artifact.open(root).manifest, only)
        tuners: dict[str, _Tuner] = {**_TUNERS, MACHINE: partial(_tune_machine, budget_s)}
        reports = {name: tuners[name](root, speech, precision, threads) for name in chosen}
    if json_file is not None:
        write_whole(json_file, indented_json(reports))


def _refuse_others(context: click.Context, settings: Collection[str]) -> None:
    """Refuse options that no tuning of these settings takes.

    Raises:
        click.UsageError: Such an option was given.
    """
    for name, takers in _TAKEN_BY.items():
        if context.get_parameter_source(name) == ParameterSource.COMMANDLINE and not set(takers) & set(
            settings
        ):
            raise click.UsageError(
                f"{_flags([name])} is for --only {'|'.join(takers)}; leave it out, or choose another setting"
            )


def _flags(parameters: Sequence[str]) -> str:
    return " and ".join(f"--{name.replace('_', '-')}" for name in parameters)


def _applicable(root: Path, manifest: Manifest, only: str | None) -> list[str]:
    """Names of the settings to tune; a line on stderr for each that is left out.

    Raises:
        InputError: There is nothing to tune.
    """
    from voirs_vocoder.export.tuning.look_ahead import look_ahead_problem
    from voirs_vocoder.export.tuning.sweep import sweep_problem

    problems = {SAMPLER: sweep_problem(manifest), LOOK_AHEAD: look_ahead_problem(manifest), MACHINE: None}
    wanted = [only] if only is not None else list(problems)
    found = [name for name in wanted if problems[name] is None]
    if not found:
        reasons = "; ".join(f"{name}: {problems[name]}" for name in wanted)
        raise InputError(f"{root}: nothing to tune ({reasons}); choose another artifact or setting")
    for name in wanted:
        if problems[name] is not None:
            remark(f"skipped {name}: {problems[name]}")
    return found


def _tune_sampler(root: Path, speech: Path, precision: Precision, threads: int | None) -> msgspec.Struct:
    from voirs_vocoder.export.artifact.change import require_changeable
    from voirs_vocoder.export.tuning.sweep import (
        SWEEP_PLOT_PATH,
        record_sweep,
        sweep_artifact,
        sweep_table,
    )

    require_changeable(root, (SWEEP_PLOT_PATH,))
    with ConsoleProgress() as progress:
        report = sweep_artifact(root, speech, precision=precision, threads=threads, progress=progress)
    record_sweep(root, report)
    print_table(sweep_table(report))
    knee = report.points[report.knee]
    steps = "" if knee.steps is None else f" with {knee.steps} steps"
    say(
        "",
        f"{report.recordings} recordings, {report.speech_s:.1f} s. The default is now {knee.sampler}{steps}; plot: "
        f"{click.format_filename(root / SWEEP_PLOT_PATH)}",
    )
    return report


def _tune_look_ahead(root: Path, speech: Path, precision: Precision, threads: int | None) -> msgspec.Struct:
    from voirs_vocoder.export.artifact.change import require_changeable
    from voirs_vocoder.export.tuning.look_ahead import (
        LOOK_AHEAD_PLOT_PATH,
        look_ahead_table,
        measure_look_aheads,
        record_look_aheads,
    )

    require_changeable(root, (LOOK_AHEAD_PLOT_PATH,))
    with ConsoleProgress() as progress:
        report = measure_look_aheads(root, speech, precision=precision, threads=threads, progress=progress)
    record_look_aheads(root, report)
    print_table(look_ahead_table(report))
    chosen = report.points[report.chosen].look_ahead_frames
    say(
        "",
        f"{report.recordings} recordings, {report.speech_s:.1f} s, chunks of {report.chunk_frames} frame. Low "
        f"latency now awaits {chosen} frames; plot: {click.format_filename(root / LOOK_AHEAD_PLOT_PATH)}",
    )
    return report


def _tune_machine(
    budget_s: float, root: Path, speech: Path, precision: Precision, threads: int | None
) -> msgspec.Struct:
    from voirs_vocoder.export.artifact.change import require_changeable
    from voirs_vocoder.export.tuning.machine import machine_table, record_machine, refusals, tune_machine
    from voirs_vocoder.runtime.tuned import TUNED_PATH

    del precision, threads  # every one of them is measured
    require_changeable(root, (TUNED_PATH,))
    with ConsoleProgress() as progress:
        machine = tune_machine(root, speech, budget_s=budget_s, progress=progress)
    record_machine(root, machine)
    print_table(machine_table(machine))
    say(
        "",
        *refusals(machine),
        f"{machine.processor}, {machine.usable_threads} threads; {machine.recordings} recordings, "
        f"{machine.speech_s:.1f} s. Use the best settings with --tuned {'|'.join(machine.best)}",
    )
    return machine


def _tune_int8(
    root: Path,
    speech: Path,
    calibration: Path,
    point: PointName | None,
    budgets: Mapping[BudgetKind, float | None],
    threads: int | None,
) -> msgspec.Struct:
    from voirs_vocoder.export.artifact.change import require_changeable
    from voirs_vocoder.export.tuning.int8 import Budget, record_int8, tune_int8
    from voirs_vocoder.export.tuning.int8_report import SENSITIVITY_PLOT_PATH, mixed_table

    require_changeable(root, (SENSITIVITY_PLOT_PATH,))
    limits = [Budget(kind, limit) for kind, limit in budgets.items() if limit is not None]
    goal = limits[0] if limits else point or "balanced"
    with ConsoleProgress() as progress:
        tuned = tune_int8(root, speech, calibration, goal=goal, threads=threads, progress=progress)
        record_int8(root, tuned, progress)
    report = tuned.report
    print_table(mixed_table(report))
    say(
        "",
        f"{len(report.recordings)} recordings, {report.speech_s:.1f} s, {report.processor}, {report.threads} threads. "
        f"The INT8 graphs now have {report.points[report.chosen].float_layers} of {len(report.layers)} layers in FP32 "
        f"({report.chosen_for}); plot: {click.format_filename(root / SENSITIVITY_PLOT_PATH)}",
    )
    return report


def _tune_gpu(root: Path, precision: Precision, file: Path | None) -> msgspec.Struct:
    from voirs_vocoder.export.tuning.gpu import default_tuning_file, gpu_table, record_gpu_tuning, tune_gpu

    path = file or default_tuning_file()
    with ConsoleProgress() as progress:
        report = tune_gpu(root, precision, progress=progress)
    record_gpu_tuning(path, report)
    print_table(gpu_table(report))
    say(
        "",
        f"{report.device}, {report.backend}. Use the choices with --gpu-tuning {click.format_filename(path)}",
    )
    return report


_TUNERS: dict[str, _Tuner] = {
    SAMPLER: _tune_sampler,
    LOOK_AHEAD: _tune_look_ahead,
}
