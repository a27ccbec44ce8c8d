"""Tuning of the sampler: quality and cost of each sampler and number of steps of a diffusion model, and the knee."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from voirs_vocoder.export.artifact.change import Change, change_artifact
from voirs_vocoder.export.artifact.provenance import command_record
from voirs_vocoder.export.artifact.writer import with_files
from voirs_vocoder.export.tuning.pictures import circle_point, new_figure, png_of
from voirs_vocoder.export.validation.means import mean_figures
from voirs_vocoder.export.validation.speech import Speech, load_speech
from voirs_vocoder.runtime import Artifact, SessionConfig, Vocoder, VocodingConfig
from voirs_vocoder.runtime.artifact.manifest import Diffusion, Manifest, Precision
from voirs_vocoder.runtime.artifact.sweep import SWEEP_PATH, SweepPoint, SweepReport
from voirs_vocoder.runtime.diffusion import MAX_STEPS, SAMPLERS
from voirs_vocoder.runtime.diffusion.samplers import ADAPTIVE, FAST
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.files import indented_json
from voirs_vocoder.runtime.metrics import FIGURES, figure_text, measure, tolerance_of
from voirs_vocoder.runtime.optional import missing_package
from voirs_vocoder.runtime.progress import Progress, silent

__all__ = [
    "DEFAULT_STEPS",
    "SWEEP_PLOT_PATH",
    "knee_of",
    "record_sweep",
    "sweep_artifact",
    "sweep_png",
    "sweep_problem",
    "sweep_table",
]

DEFAULT_STEPS = (2, 3, 4, 6, 8, 12, 20)
"""Numbers of steps that are measured with every sampler that takes a number of steps."""
SWEEP_PLOT_PATH = "validation/sweep.png"
"""Path of the plot inside an artifact."""

_FIGURES = ("pesq_wb", "stoi", "lsd")
# The knee may lose the tolerance of each of these figures against the best point.
_DECISIVE = ("pesq_wb", "stoi")
_SIZE_INCHES = (13.0, 4.4)


def sweep_problem(manifest: Manifest) -> str | None:
    """Why an artifact has no sampler to tune; None if it has one.

    Args:
        manifest: Manifest of the artifact.
    """
    if manifest.diffusion is not None:
        return None
    return f"only a diffusion model has samplers to sweep, this is a {manifest.family}"


def sweep_artifact(
    root: Path,
    speech: Path,
    *,
    precision: Precision = "fp32",
    steps: Sequence[int] = DEFAULT_STEPS,
    threads: int | None = None,
    progress: Progress = silent,
) -> SweepReport:
    """Measure every sampler of a diffusion model on the CPU.

    Args:
        root: Directory of the artifact, which is not changed.
        speech: Folder of recordings, none of which INT8 was calibrated on.
        precision: Precision of the graphs to run.
        steps: Numbers of steps to measure; those above the checkpoint's training steps are left out.
        threads: Worker threads of the session; None uses one per core.
        progress: Receives the number of settings that are done.

    Raises:
        InputError: The artifact is not of a diffusion model, or recordings or `steps` cannot be used.
        ArtifactError: The artifact is damaged or has no graph of that precision.
        ProviderError: The graph cannot be run.
    """
    manifest = Artifact.open(root).manifest
    problem = sweep_problem(manifest)
    if problem is not None or manifest.diffusion is None:
        raise InputError(f"{root}: {problem}")
    if not steps or min(steps) < 1 or max(steps) > MAX_STEPS:
        raise InputError(f"a sweep needs numbers of steps from 1 to {MAX_STEPS}, got {list(steps)}")
    utterances = load_speech(speech, manifest)
    configs = _configs(manifest.diffusion, steps)
    points = []
    with Vocoder.load(root, precision=precision, session=SessionConfig(threads=threads)) as vocoder:
        for done, config in enumerate(configs):
            progress(f"{config.sampler} {config.steps or ''}".strip(), done, len(configs))
            points.append(_point(vocoder, config, utterances))
        backend = vocoder.metadata.backend
    progress("measured", 1, 1)
    return SweepReport(
        family=manifest.family,
        variant=manifest.variant,
        precision=precision,
        backend=backend,
        recordings=len(utterances),
        speech_s=sum(u.samples.size for u in utterances) / manifest.sample_rate,
        points=tuple(points),
        knee=knee_of(points),
    )


def knee_of(points: Sequence[SweepPoint]) -> int:
    """Index of the cheapest point whose PESQ and STOI are within their tolerances of the best.

    PESQ alone is not enough: near its floor of 1 it does not separate intelligible speech from noise. Where no point
    is within both tolerances, PESQ decides; a figure that was not measured for every point is ignored.

    Args:
        points: Measured points, at least one.

    Raises:
        InputError: Neither PESQ nor STOI was measured for every point.
    """
    values = {figure: [getattr(point, figure) for point in points] for figure in _DECISIVE}
    measured = {figure: own for figure, own in values.items() if own and None not in own}
    if not measured:
        raise InputError(missing_package("judging a sweep", "pesq or pystoi", "eval"))
    good: Sequence[int] = range(len(points))
    for figure, own in measured.items():
        least = max(own) - tolerance_of(figure)
        good = [place for place in good if own[place] >= least] or good
    return min(good, key=lambda place: points[place].rtf)


def record_sweep(root: Path, report: SweepReport) -> Artifact:
    """Write table and plot into the artifact, and make the knee its default sampling.

    Args:
        root: Directory of the artifact.
        report: Measured sweep of that artifact.

    Returns:
        The changed artifact.

    Raises:
        ArtifactError: The artifact is damaged or another process is changing it.
        InputError: matplotlib is not installed, or the artifact cannot be written.
    """
    data = indented_json(report)
    files = {SWEEP_PATH: data, SWEEP_PLOT_PATH: sweep_png(report)}
    knee = report.points[report.knee]

    def edit(artifact: Artifact) -> Change:
        manifest = artifact.manifest
        if manifest.diffusion is None:
            raise InputError(f"{root}: only a diffusion model has a default sampler; sweep another artifact")
        diffusion = msgspec.structs.replace(manifest.diffusion, sampler=knee.sampler, steps=knee.steps)
        return with_files(msgspec.structs.replace(manifest, diffusion=diffusion), files), files

    record = command_record(
        "tune", {"only": "sampler", "precision": report.precision, "recordings": report.recordings}
    )
    return change_artifact(root, edit, record)


def sweep_table(report: SweepReport) -> list[list[str]]:
    """The points as rows of text, the first row being the header; the knee is marked."""
    rows = [["sampler", "steps", *(FIGURES[name].title for name in ("rtf", *_FIGURES)), ""]]
    for place, point in enumerate(report.points):
        figures = [figure_text(name, getattr(point, name)) for name in ("rtf", *_FIGURES)]
        mark = "<- default" if place == report.knee else ""
        rows.append([point.sampler, str(point.steps or "own"), *figures, mark])
    return rows


def sweep_png(report: SweepReport) -> bytes:
    """Draw PESQ, STOI and LSD of every point against its real-time factor.

    Args:
        report: Measured sweep.

    Returns:
        A PNG; the same report gives the same bytes.

    Raises:
        InputError: matplotlib is not installed.
    """
    figure = new_figure(*_SIZE_INCHES)
    from matplotlib.ticker import LogLocator, NullFormatter

    figure.suptitle(
        f"{report.family} {report.variant}, {report.precision}: {report.recordings} recordings, "
        f"{report.speech_s:.0f} s of speech, {report.backend}"
    )
    knee = report.points[report.knee]
    for axes, figure_name in zip(figure.subplots(1, len(_FIGURES)), _FIGURES, strict=True):
        for sampler in dict.fromkeys(point.sampler for point in report.points):
            points = [
                p for p in report.points if p.sampler == sampler and getattr(p, figure_name) is not None
            ]
            line = axes.plot(
                [point.rtf for point in points],
                [getattr(point, figure_name) for point in points],
                marker="o",
                markersize=4,
                linewidth=1.2,
                label=sampler,
            )
            for point in points:
                axes.annotate(
                    _steps(point),
                    (point.rtf, getattr(point, figure_name)),
                    xytext=(3, 4),
                    textcoords="offset points",
                    fontsize=7,
                    color=line[0].get_color(),
                )
        if getattr(knee, figure_name) is not None:
            label = f"knee: {knee.sampler} {_steps(knee)}".strip()
            circle_point(axes, knee.rtf, getattr(knee, figure_name), label)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("real-time factor")
        direction = "higher" if FIGURES[figure_name].higher_is_better else "lower"
        axes.set_ylabel(f"{FIGURES[figure_name].title} ({direction} is better)")
        axes.grid(visible=True, which="both", alpha=0.25)
    figure.axes[0].legend(fontsize=8)
    return png_of(figure)


def _configs(diffusion: Diffusion, steps: Sequence[int]) -> list[VocodingConfig]:
    possible = sorted({count for count in steps if count <= len(diffusion.training_betas)})
    configs = [VocodingConfig(sampler=sampler, steps=count) for sampler in SAMPLERS for count in possible]
    if diffusion.fast_betas is not None:
        configs.insert(0, VocodingConfig(sampler=FAST))
    return [*configs, VocodingConfig(sampler=ADAPTIVE)]


def _point(vocoder: Vocoder, config: VocodingConfig, utterances: Sequence[Speech]) -> SweepPoint:
    metadata = vocoder.metadata
    # The first run allocates.
    vocoder.vocode(utterances[0].mel, config)
    elapsed_s, figures = 0.0, []
    for utterance in utterances:
        started_s = time.perf_counter()
        audio = vocoder.vocode(utterance.mel, config).samples[0, : utterance.samples.size]
        elapsed_s += time.perf_counter() - started_s
        figures.append(measure(utterance.samples, audio, metadata.sample_rate, metadata.convention, _FIGURES))
    speech_s = float(np.sum([utterance.samples.size for utterance in utterances])) / metadata.sample_rate
    return SweepPoint(
        sampler=str(config.sampler), steps=config.steps, rtf=elapsed_s / speech_s, **mean_figures(figures)
    )


def _steps(point: SweepPoint) -> str:
    return "" if point.steps is None else str(point.steps)
