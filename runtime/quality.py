"""Levels of quality and modes of performance: the choice of precision, sampler and session, and its expected cost."""

from __future__ import annotations

import mmap
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import msgspec
import numpy as np

from voirs_vocoder.runtime.artifact.manifest import GraphEntry, Precision, Target
from voirs_vocoder.runtime.artifact.reading import Artifact
from voirs_vocoder.runtime.artifact.sweep import read_sweep
from voirs_vocoder.runtime.config import SessionConfig, VocodingConfig
from voirs_vocoder.runtime.diffusion.samplers import FAST
from voirs_vocoder.runtime.drivers.registry import driver_roles
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.mel.compression import compressed
from voirs_vocoder.runtime.metrics import tolerance_of
from voirs_vocoder.runtime.providers import AUTO, Provider, get_provider
from voirs_vocoder.runtime.vocoder import Vocoder

__all__ = [
    "PERFORMANCE_MODES",
    "QUALITY_LEVELS",
    "CostEstimate",
    "PerformanceMode",
    "QualityLevel",
    "QualityPlan",
    "estimate_cost",
    "quality_plan",
]

QualityLevel = Literal["low", "medium", "high", "ultra"]
PerformanceMode = Literal["economy", "balanced", "speed"]
QUALITY_LEVELS: tuple[QualityLevel, ...] = get_args(QualityLevel)
PERFORMANCE_MODES: tuple[PerformanceMode, ...] = get_args(PerformanceMode)

# PESQ that a level may lose against the artifact's best setting.
_ALLOWED_PESQ_LOSS: dict[QualityLevel, float] = {
    "low": 0.5,
    "medium": 0.2,
    "high": tolerance_of("pesq_wb"),
    "ultra": 0.0,
}
# PESQ that INT8 may lose against FP32 at the level `medium`: the limit of its gate.
_INT8_PESQ_LOSS = 0.1
# Steps of a diffusion model whose artifact has no sweep.
_STEPS: dict[QualityLevel, int] = {"low": 3, "medium": 6, "high": 12, "ultra": 24}
_SESSIONS: dict[PerformanceMode, SessionConfig] = {
    "economy": SessionConfig(threads=1, spinning=False, activation_budget_bytes=8 << 20),
    "balanced": SessionConfig(),
    "speed": SessionConfig(activation_budget_bytes=192 << 20),
}
_TRIAL_S = 0.5
_TRIALS = 3


@dataclass(frozen=True)
class QualityPlan:
    """Choice for a level of quality and a mode of performance.

    Attributes:
        precision: Precision of the graphs.
        session: Threads and memory of the session.
        sampler: Sampler of a diffusion model; None uses the artifact's default, and for other models.
        steps: Number of sampling steps of a diffusion model; None uses the artifact's default, and for other models.
        reasons: Reason of each choice, one line each.
    """

    precision: Precision
    session: SessionConfig
    sampler: str | None
    steps: int | None
    reasons: tuple[str, ...]


class CostEstimate(msgspec.Struct, frozen=True):
    """Expected cost of an utterance on this machine.

    Attributes:
        rtf: Real-time factor: seconds of compute per second of audio, from a short trial.
        peak_bytes: Peak memory of the whole process in bytes: its present memory, the intermediate results of the
            largest window, mel and audio.
    """

    rtf: float
    peak_bytes: int


def quality_plan(
    artifact: Artifact,
    quality: QualityLevel,
    performance: PerformanceMode = "balanced",
    provider: str = "cpu",
) -> QualityPlan:
    """Choose precision, sampler, steps and session.

    `ultra`: FP32, and the best measured sampler setting of a diffusion model. `high`: no audible loss, which is FP16
    on a GPU, and fewer steps that lose at most 0.05 PESQ. `medium`: INT8 if it was measured to lose at most 0.1 PESQ,
    and fewer steps that lose at most 0.2. `low`: INT8 if the artifact has it, and fewer steps that lose at most 0.5
    PESQ. Sampler settings come from the artifact's sweep; without a sweep the levels use 24, 12, 6 and 3 steps.

    `economy`: one thread that sleeps between runs, small windows. `balanced`: the defaults. `speed`: large windows.

    Args:
        artifact: Artifact to choose from.
        quality: One of `QUALITY_LEVELS`.
        performance: One of `PERFORMANCE_MODES`.
        provider: Name of the provider that will run the graphs; `auto` is planned as `cpu`, which it can fall back on.

    Raises:
        InputError: A level or mode is unknown.
        ProviderError: The provider is unknown.
        ArtifactError: The sweep in the artifact is damaged.
    """
    if quality not in QUALITY_LEVELS or performance not in PERFORMANCE_MODES:
        raise InputError(
            f"quality must be one of {', '.join(QUALITY_LEVELS)}, performance one of "
            f"{', '.join(PERFORMANCE_MODES)}; got {quality!r} and {performance!r}"
        )
    precision, why = _precision(artifact, quality, get_provider("cpu" if provider == AUTO else provider))
    sampler, steps, how = _sampling(artifact, quality)
    return QualityPlan(precision, _SESSIONS[performance], sampler, steps, (why, *how))


def estimate_cost(
    vocoder: Vocoder, artifact: Artifact, config: VocodingConfig, frames: int, session: SessionConfig
) -> CostEstimate:
    """Estimate the cost of an utterance: vocode half a second of a quiet mel a few times, and add up memory.

    Args:
        vocoder: Loaded vocoder.
        artifact: Artifact that the vocoder was loaded from.
        config: Settings of the utterance.
        frames: Length of the mel in frames.
        session: Session settings that the vocoder was loaded with.

    Raises:
        ProviderError: The provider failed.
    """
    manifest = artifact.manifest
    trial_frames = max(1, round(_TRIAL_S * manifest.sample_rate / manifest.hop_length))
    values = np.full((manifest.mel.n_mels, trial_frames), _quiet(artifact), np.float32)
    times_s = []
    for _ in range(_TRIALS + 1):
        started_s = time.perf_counter()
        audio = vocoder.vocode(values, config)
        times_s.append(time.perf_counter() - started_s)
    # The first run allocates.
    rtf = float(np.median(times_s[1:])) / audio.duration_s
    # FP32 graphs bear the figure, which is that of their other precisions too.
    graph = _graphs(artifact, "fp32")[-1]
    per_frame = graph.facts.activation_bytes_per_frame
    budget = session.activation_bytes(on_gpu=False)
    wanted = budget if per_frame is None else per_frame * frames
    window_bytes = min(wanted, budget)
    in_hand = frames * (manifest.mel.n_mels + manifest.hop_length) * 4
    return CostEstimate(rtf, _resident_bytes() + window_bytes + in_hand)


def _precision(artifact: Artifact, quality: QualityLevel, provider: Provider) -> tuple[Precision, str]:
    if quality in ("low", "medium"):
        graphs = _graphs(artifact, "int8", provider.int8_target) if provider.int8_target else []
        lost = [graph.validation.get("pesq_lost") for graph in graphs if graph.validation]
        measured = max((value for value in lost if value is not None), default=None)
        if graphs and (quality == "low" or (measured is not None and measured <= _INT8_PESQ_LOSS)):
            loss = "not measured" if measured is None else f"{measured:.3f} PESQ lost"
            return "int8", f"INT8 ({loss})"
        if graphs:
            loss = "its loss was never measured" if measured is None else f"it loses {measured:.3f} PESQ"
            return _float_precision(artifact, provider, f"no INT8, {loss}")
        return _float_precision(artifact, provider, f"the artifact has no INT8 for {provider.name}")
    if quality == "high":
        return _float_precision(artifact, provider, "no audible loss")
    return "fp32", "FP32, the model itself"


def _float_precision(artifact: Artifact, provider: Provider, why: str) -> tuple[Precision, str]:
    # A CPU computes FP16 graphs in FP32, so there they gain nothing.
    if provider.on_gpu and _graphs(artifact, "fp16"):
        return "fp16", f"FP16: {why}"
    return "fp32", f"FP32: {why}"


def _graphs(artifact: Artifact, precision: Precision, target: Target | None = None) -> list[GraphEntry]:
    roles = driver_roles(artifact.manifest.driver)
    return [
        graph
        for graph in artifact.manifest.graphs
        if graph.role in roles and graph.precision == precision and graph.target == target
    ]


def _sampling(artifact: Artifact, quality: QualityLevel) -> tuple[str | None, int | None, tuple[str, ...]]:
    diffusion = artifact.manifest.diffusion
    if diffusion is None:
        return None, None, ()
    sweep = read_sweep(artifact)
    points = () if sweep is None else sweep.points
    measured = [(point, point.pesq_wb) for point in points if point.pesq_wb is not None]
    if measured:
        best = max(pesq for _, pesq in measured)
        enough = [(point, pesq) for point, pesq in measured if pesq >= best - _ALLOWED_PESQ_LOSS[quality]]
        point, pesq = min(enough, key=lambda each: each[0].rtf)
        why = f"{point.sampler}, {point.steps or 'its own'} steps (PESQ {pesq:.2f}, the best is {best:.2f})"
        return point.sampler, point.steps, (why,)
    steps = min(_STEPS[quality], len(diffusion.training_betas))
    sampler = "dpm-solver++" if diffusion.sampler == FAST else diffusion.sampler
    return sampler, steps, (f"{sampler}, {steps} steps: no sweep was made",)


def _quiet(artifact: Artifact) -> float:
    """Value of a mel band halfway, on a logarithmic scale, between the floor and magnitude 1."""
    mel = artifact.manifest.mel
    return 0.3 if mel.compression == "db-unit" else float(compressed(mel.floor**0.5, mel))


def _resident_bytes() -> int:
    """Resident memory of this process in bytes; where the system does not report it, the highest so far."""
    statm = Path("/proc/self/statm")
    if statm.is_file():
        return int(statm.read_text(encoding="ascii").split()[1]) * mmap.PAGESIZE
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
