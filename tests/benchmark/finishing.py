"""What comes after the vocoder: the speed of effects, and of the report page."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from tests.benchmark.project_report import Finding
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
_MAX_SPEECH_RTF = 0.002
_MAX_PAGE_S = 60.0
_MAX_PAGE_MB = 25.0
_RECORDINGS = 10


def effect_findings(pairs: int) -> list[Finding]:
    """RTF of each preset: 10 s of noise in mono, one core, presets taking turns.

    Args:
        pairs: Rounds.
    """
    noise = np.random.default_rng(0).normal(0.0, 0.1, (1, round(_SECONDS * _SAMPLE_RATE)))
    audio = AudioBuffer(noise.astype(np.float32), _SAMPLE_RATE)
    calls: dict[str, Callable[[], object]] = {
        name: partial(chain.apply, audio) for name, chain in PRESETS.items()
    }
    findings = []
    for name, values in interleaved_times(calls, pairs=pairs).items():
        estimate = median_estimate(values / _SECONDS)
        goal = _MAX_SPEECH_RTF if name == "speech" else None
        findings.append(
            Finding(name=f"effects `{name}`: RTF", value=estimate.median, estimate=estimate, goal=goal)
        )
    return findings


def page_findings(data: Path, folder: Path, progress: Progress) -> list[Finding]:
    """Time and size of validation with its page: the shipped V2 in every precision, on ten recordings.

    Args:
        data: The project's `artifacts/` folder.
        folder: For an artifact and copies of recordings.
        progress: Told what is being done.
    """
    calibrated, *others = sorted((data / "samples" / "calibration").glob("*.flac"))
    recordings = [*sorted((data / "samples").glob("*.flac")), *others][:_RECORDINGS]
    places = {"calibration": [calibrated], "speech": recordings}
    for name, paths in places.items():
        (folder / name).mkdir()
        for path in paths:
            shutil.copy(path, folder / name)
    request = ExportRequest(
        family="hifigan",
        checkpoint=data / "checkpoints" / "hifigan_v2_kerstin" / "model.safetensors",
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
        Finding(name=f"validation and its page, {of}", value=elapsed_s, unit="s", goal=_MAX_PAGE_S),
        Finding(name=f"page, {of}", value=size_bytes / 1e6, unit="MB", goal=_MAX_PAGE_MB),
    ]
