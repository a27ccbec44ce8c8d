"""What quality costs: samplers and numbers of steps of a diffusion model against each other, and the best bargain."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from voirs_vocoder.export.artifact.model_card import with_model_card
from voirs_vocoder.export.artifact.writer import locked_artifact, replace_manifest, with_files
from voirs_vocoder.export.tuning.sweep_plot import sweep_png
from voirs_vocoder.export.validation.speech import Speech, load_speech, mean_figures
from voirs_vocoder.runtime import Artifact, SessionConfig, Vocoder, VocodingConfig
from voirs_vocoder.runtime.artifact.manifest import Diffusion, Precision
from voirs_vocoder.runtime.diffusion import MAX_STEPS, SAMPLERS
from voirs_vocoder.runtime.diffusion.choice import ADAPTIVE, FAST
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.metrics import measure
from voirs_vocoder.runtime.progress import Progress, silent

__all__ = [
    "DEFAULT_STEPS",
    "SweepPoint",
    "SweepReport",
    "knee_of",
    "record_sweep",
    "sweep_artifact",
    "sweep_table",
]

DEFAULT_STEPS = (2, 3, 4, 6, 8, 12, 20)
"""Numbers of steps that are tried with every sampler that leaves them open."""

_FIGURES = ("pesq_wb", "stoi", "lsd")
_REPORT_PATH = "validation/sweep.json"
_PLOT_PATH = "validation/sweep.png"
# What nobody hears.
_ALLOWED_LOSS = {"pesq_wb": 0.05, "stoi": 0.01}


class SweepPoint(msgspec.Struct, frozen=True, kw_only=True):
    """A sampler with a number of steps.

    Attributes:
        sampler: Its name.
        steps: How many; None where the sampler decides.
        rtf: Seconds of compute per second of audio, over all recordings together.
        pesq_wb: Mean over the recordings; None where it could not be measured, as for the others.
        stoi: Likewise.
        lsd: Likewise.
    """

    sampler: str
    steps: int | None
    rtf: float
    pesq_wb: float | None
    stoi: float | None
    lsd: float | None


class SweepReport(msgspec.Struct, frozen=True, kw_only=True):
    """A sweep.

    Attributes:
        family: Of the artifact.
        variant: Of the artifact.
        precision: Of the graphs.
        backend: What ran them.
        recordings: How many.
        speech_s: Their length together.
        points: In the order of measurement.
        knee: Place of the best bargain among the points.
    """

    family: str
    variant: str
    precision: Precision
    backend: str
    recordings: int
    speech_s: float
    points: tuple[SweepPoint, ...]
    knee: int


def sweep_artifact(
    root: Path,
    speech: Path,
    *,
    precision: Precision = "fp32",
    steps: Sequence[int] = DEFAULT_STEPS,
    threads: int | None = None,
    progress: Progress = silent,
) -> SweepReport:
    """Measure every sampler, on the CPU.

    Args:
        root: The artifact of a diffusion model.
        speech: Folder of recordings, none of which was calibrated on.
        precision: Of the graphs.
        steps: Numbers of steps to try; those beyond the checkpoint's are left out.
        threads: Of the session; None takes one per core.
        progress: Told how far it is.

    Raises:
        InputError: The artifact is of another kind, or the recordings or steps are at fault.
        ArtifactError, ProviderError: As `Vocoder.load`.
    """
    manifest = Artifact.open(root).manifest
    if manifest.diffusion is None:
        raise InputError(f"{root}: only a diffusion model has samplers to sweep, this is a {manifest.family}")
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
    """Place of the cheapest point that is nearly as good as the best: within 0.05 PESQ and 0.01 STOI.

    PESQ alone would not do: near its floor of 1 it no longer tells the intelligible from noise. Where nothing is
    within both, PESQ decides; what was not measured does not.

    Raises:
        InputError: Neither was measured.
    """
    values = {figure: [getattr(point, figure) for point in points] for figure in _ALLOWED_LOSS}
    measured = {figure: own for figure, own in values.items() if own and None not in own}
    if not measured:
        raise InputError("a sweep needs PESQ or STOI to judge by; pip install 'voirs-vocoder[eval]'")
    good: Sequence[int] = range(len(points))
    for figure, own in measured.items():
        least = max(own) - _ALLOWED_LOSS[figure]
        good = [place for place in good if own[place] >= least] or good
    return min(good, key=lambda place: points[place].rtf)


def record_sweep(root: Path, report: SweepReport) -> Artifact:
    """Write table and plot into the artifact, and make the knee its default.

    Raises:
        ArtifactError: The artifact is damaged or another process is changing it.
        InputError: matplotlib is not installed, or it cannot be written.
    """
    data = msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"
    files = {_REPORT_PATH: data, _PLOT_PATH: sweep_png(report)}
    knee = report.points[report.knee]
    with locked_artifact(root) as artifact:
        manifest = artifact.manifest
        if manifest.diffusion is None:
            raise InputError(f"{root}: only a diffusion model has a default sampler; sweep another artifact")
        diffusion = msgspec.structs.replace(manifest.diffusion, sampler=knee.sampler, steps=knee.steps)
        changed = with_files(msgspec.structs.replace(manifest, diffusion=diffusion), files)
        changed, card = with_model_card(changed)
        return replace_manifest(artifact, changed, {**files, **card})


def sweep_table(report: SweepReport) -> list[list[str]]:
    """The points as rows of text, the first being the header; the knee is marked."""
    rows = [["sampler", "steps", "RTF", "PESQ", "STOI", "LSD", ""]]
    for place, point in enumerate(report.points):
        figures = [
            "-" if value is None else f"{value:.3f}" for value in (point.pesq_wb, point.stoi, point.lsd)
        ]
        mark = "<- knee" if place == report.knee else ""
        rows.append([point.sampler, str(point.steps or "own"), f"{point.rtf:.4f}", *figures, mark])
    return rows


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
