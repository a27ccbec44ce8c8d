"""The project's benchmark: the published models against stock ONNX Runtime, PyTorch and OpenVINO."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.benchmark.contenders import contenders
from tests.benchmark.family_project import family_benchmark
from tests.benchmark.finishing import effect_findings, page_findings
from tests.benchmark.measures import (
    command_line_peak_bytes,
    copy_synthesis_lsd,
    first_second,
    single_core_rtf,
    vocode_peak_bytes,
    write_long_recording,
)
from tests.benchmark.models import VARIANTS, BenchModel, shipped_or_random
from tests.benchmark.project_report import Finding, ProjectReport
from tests.benchmark.streams import stream_findings
from tests.benchmark.targets import Measured, targets
from voirs_vocoder.export.bench.artifact import bench_mel
from voirs_vocoder.export.bench.paired import (
    Estimate,
    Times,
    interleaved_times,
    median_estimate,
    ratio_estimate,
)
from voirs_vocoder.runtime import Artifact, Vocoder
from voirs_vocoder.runtime.machine import this_machine
from voirs_vocoder.runtime.progress import Progress
from voirs_vocoder.runtime.providers.onnxruntime import ort_provider_problem

__all__ = ["ProjectSettings", "project_benchmark"]

_MB = 1e6
_FRAMES = 172  # 2 s, within one window of every variant
_LONG_S = 10.0
_MINUTES_S = 180.0
_HOUR_S = 3600.0
# A round of V2 and V3 takes a tenth of V1's, and smaller differences matter.
_MORE_PAIRS = 3
_PACKAGES = ("torch", "onnx", "onnxruntime", "openvino")


@dataclass(frozen=True)
class ProjectSettings:
    """How the project's benchmark runs.

    Attributes:
        data: The project's `artifacts/` folder.
        output: Where models and the report are written.
        pairs: Rounds of V1; V2 and V3 take three times as many.
        threads: Of every backend.
        reuse: Measure the models that an earlier run exported.
        quick: Minutes instead of an hour through the command line.
        hour_with: The variant that the hour is vocoded with.
    """

    data: Path
    output: Path
    pairs: int
    threads: int
    reuse: bool = False
    quick: bool = False
    hour_with: str = "v2"


def project_benchmark(settings: ProjectSettings, progress: Progress) -> ProjectReport:
    """Measure everything.

    Args:
        settings: How.
        progress: Told what is being done.

    Raises:
        InputError: The project's data is not there, or there are too few pairs.
        ExportError: A fresh process failed, or a graph does not compute what the model computes.
    """
    models = {variant: _model(variant, settings, progress) for variant in VARIANTS}
    rtf: dict[str, dict[str, Estimate]] = {}
    findings: list[Finding] = []
    for variant, model in models.items():
        progress(f"{variant}: timing", 0, 0)
        times = _times(model, settings)
        audio_s = _audio_s(model.artifact)
        rtf[variant] = {name: median_estimate(values / audio_s) for name, values in times.items()}
        findings.extend(_speed_findings(variant, times))
    v1, v2 = models["v1"].artifact, models["v2"].artifact
    progress("v1: a single core", 0, 0)
    core_rtf = single_core_rtf(v1, _FRAMES, settings.pairs)
    with tempfile.TemporaryDirectory(dir=settings.output) as name:
        folder = Path(name)
        progress("v2: from a fresh process to the first second", 0, 0)
        seconds, ratio = first_second(v2, folder, settings.threads, settings.pairs)
        progress("v1: peak memory", 0, 0)
        peak_bytes = vocode_peak_bytes(v1, folder, _LONG_S, settings.threads)
        findings.append(_first_second_finding(ratio))
        findings.append(
            Finding(
                name="V2: fresh process to 1 s of audio", value=seconds.median, unit="s", estimate=seconds
            )
        )
        findings.append(_memory_finding(f"V1, {_LONG_S:.0f} s through Vocoder.vocode: peak", peak_bytes))
        findings.extend(_command_line_findings(models, settings, folder, progress))
        progress("streams on one core", 0, 0)
        artifacts = {variant: model.artifact for variant, model in models.items()}
        findings.extend(stream_findings(artifacts, folder, settings.pairs))
        progress("effects", 0, 0)
        findings.extend(effect_findings(settings.pairs))
        findings.extend(page_findings(settings.data, folder, progress))
    file_bytes = {
        "fp32": v1.graph("offline", "fp32").file.size_bytes,
        "int8": v1.graph("offline", "int8", "cpu").file.size_bytes,
    }
    findings.append(
        Finding(name="V1 INT8: file", value=file_bytes["int8"] / _MB, unit="MB", goal=25.0),
    )
    progress("v2: quality", 0, 0)
    measured = Measured(
        v1_rtf={"fp32": rtf["v1"]["ours"], "int8": rtf["v1"]["int8"]},
        v1_core_rtf=core_rtf,
        threads=settings.threads,
        gpu_rtf=_gpu_rtf(v1, settings),
        look_ahead_ms=1e3 * v1.manifest.look_ahead_samples / v1.manifest.sample_rate,
        lsd=copy_synthesis_lsd(v2, settings.data / "samples"),
        v1_peak_bytes=peak_bytes,
        v1_file_bytes=file_bytes,
    )
    families = family_benchmark(
        settings.output,
        settings.data,
        pairs=settings.pairs,
        threads=settings.threads,
        reuse=settings.reuse,
        quick=settings.quick,
        progress=progress,
    )
    return ProjectReport(
        machine=this_machine(),
        versions={name: version(name) for name in _PACKAGES},
        threads=settings.threads,
        audio_s=_audio_s(v1),
        rtf={**rtf, **families.rtf},
        findings=(*findings, *families.findings),
        targets=(*targets(measured), *families.targets),
    )


def _model(variant: str, settings: ProjectSettings, progress: Progress) -> BenchModel:
    return shipped_or_random(
        variant,
        settings.output,
        settings.data,
        int8=variant == "v1",
        reuse=settings.reuse,
        progress=lambda message, done, total: progress(f"{variant}: {message}", done, total),
    )


def _audio_s(artifact: Artifact) -> float:
    return _FRAMES * artifact.manifest.hop_length / artifact.manifest.sample_rate


def _times(model: BenchModel, settings: ProjectSettings) -> Times:
    mel = bench_mel(model.artifact.manifest.mel, _FRAMES)
    pairs = settings.pairs * (1 if model.variant == "v1" else _MORE_PAIRS)
    return interleaved_times(contenders(model, mel, settings.threads), pairs=pairs)


def _speed_findings(variant: str, times: Times) -> list[Finding]:
    name = variant.upper()
    findings = [
        _ratio(f"{name} FP32: our time / stock export in ONNX Runtime", times["ours"], times["stock"], 1.02),
        _ratio(f"{name} FP32: our time / PyTorch", times["ours"], times["pytorch"]),
        _ratio(f"{name} FP32: our time / OpenVINO", times["ours"], times["openvino"]),
        _ratio(f"{name} FP32: Vocoder.vocode / bare session", times["vocode"], times["bare"], 1.02),
    ]
    if "int8" in times:
        estimate = ratio_estimate(times["stock"], times["int8"])
        title = f"{name} INT8: times faster than stock FP32"
        findings.append(Finding(name=title, value=estimate.median, estimate=estimate, goal=2.2, bound="min"))
    return findings


def _ratio(
    name: str, values: NDArray[np.float64], baseline: NDArray[np.float64], goal: float | None = None
) -> Finding:
    estimate = ratio_estimate(values, baseline)
    return Finding(name=name, value=estimate.median, estimate=estimate, goal=goal)


def _first_second_finding(ratio: Estimate) -> Finding:
    name = "V2: fresh process to 1 s of audio, our time / bare"
    return Finding(name=name, value=ratio.median, estimate=ratio, goal=1.5)


def _memory_finding(name: str, peak_bytes: int) -> Finding:
    return Finding(name=name, value=peak_bytes / _MB, unit="MB", goal=256.0)


def _command_line_findings(
    models: Mapping[str, BenchModel], settings: ProjectSettings, folder: Path, progress: Progress
) -> list[Finding]:
    lengths = dict.fromkeys(("v1", "v2"), _MINUTES_S)
    if not settings.quick:
        lengths[settings.hour_with] = _HOUR_S
    findings = []
    for variant, seconds in lengths.items():
        length = f"{seconds / 60:.0f} min"
        progress(f"{variant}: {length} through the command line", 0, 0)
        recording = folder / "long.wav"
        write_long_recording(settings.data / "samples", recording, seconds)
        peak_bytes = command_line_peak_bytes(models[variant].artifact, recording, folder / f"{variant}.wav")
        findings.append(
            _memory_finding(f"{variant.upper()}, {length} through the command line: peak", peak_bytes)
        )
    return findings


def _gpu_rtf(artifact: Artifact, settings: ProjectSettings) -> Estimate | None:
    if ort_provider_problem("cuda") is not None:
        return None
    mel = bench_mel(artifact.manifest.mel, _FRAMES)
    with Vocoder.load(artifact.root, provider="cuda") as vocoder:
        times = interleaved_times({"cuda": partial(vocoder.vocode, mel)}, pairs=settings.pairs)
    return median_estimate(times["cuda"] / _audio_s(artifact))
