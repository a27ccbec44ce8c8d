"""What comes after the vocoder: the speed of effects, and of validation with its report page."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from artifacts.shipped import SAMPLES, SHIPPED
from tests.benchmark.cases import EFFECT_GOALS, PAGE_MB_GOAL, PAGE_S_GOAL
from tests.benchmark.goals import Finding
from voirs_vocoder.export.bench.paired import interleaved_times, median_estimate
from voirs_vocoder.export.pipeline import ExportRequest, export_artifact
from voirs_vocoder.export.validation.report import PAGE_PATH
from voirs_vocoder.export.validation_run import validate_and_record
from voirs_vocoder.runtime import AudioBuffer
from voirs_vocoder.runtime.effects import PRESETS
from voirs_vocoder.runtime.progress import Progress

__all__ = ["effect_findings", "page_findings"]

_SAMPLE_RATE = 22_050
_SECONDS = 10.0
_RECORDINGS = 10


def effect_findings(pairs: int) -> list[Finding]:
    """RTF of each preset: 10 s of noise in mono, one core, presets taking turns.

    Args:
        pairs: Number of rounds.
    """
    noise = np.random.default_rng(0).normal(0.0, 0.1, (1, round(_SECONDS * _SAMPLE_RATE)))
    audio = AudioBuffer(noise.astype(np.float32), _SAMPLE_RATE)
    calls: dict[str, Callable[[], object]] = {
        name: partial(chain.apply, audio) for name, chain in PRESETS.items()
    }
    findings = []
    for name, values in interleaved_times(calls, pairs=pairs).items():
        estimate = median_estimate(values / _SECONDS)
        goal = EFFECT_GOALS.get(name)
        findings.append(
            Finding(name=f"effects `{name}`: RTF", value=estimate.median, estimate=estimate, goal=goal)
        )
    return findings


def page_findings(folder: Path, progress: Progress) -> list[Finding]:
    """Time and size of validation with its page: the first shipped checkpoint in every precision, on ten recordings.

    Args:
        folder: Folder for an artifact and copies of recordings.
        progress: Receives what is being done.
    """
    calibrated, *others = sorted((SAMPLES / "calibration").glob("*.flac"))
    recordings = [*sorted(SAMPLES.glob("*.flac")), *others][:_RECORDINGS]
    places = {"calibration": [calibrated], "speech": recordings}
    for name, paths in places.items():
        (folder / name).mkdir()
        for path in paths:
            shutil.copy(path, folder / name)
    request = ExportRequest(
        family=SHIPPED[0].family,
        checkpoint=SHIPPED[0].weights,
        config=None,
        output=folder / "page",
        precisions=("fp32", "fp16", "int8"),
        calibration=folder / "calibration",
        stream=False,
    )
    artifact = export_artifact(request, progress)
    started_s = time.perf_counter()
    report = validate_and_record(artifact.root, folder / "speech", progress=progress)
    elapsed_s = time.perf_counter() - started_s
    size_bytes = (artifact.root / PAGE_PATH).stat().st_size
    of = f"{len(report.recordings)} recordings x {len(report.rows)} graphs"
    return [
        Finding(name=f"validation and its page, {of}", value=elapsed_s, unit="s", goal=PAGE_S_GOAL),
        Finding(name=f"page, {of}", value=size_bytes / 1e6, unit="MB", goal=PAGE_MB_GOAL),
    ]
