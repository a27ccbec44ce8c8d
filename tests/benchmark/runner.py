"""The benchmark: every case of the table is measured by the same runner."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np

from artifacts.shipped import SAMPLES
from tests.benchmark.cases import CASES
from tests.benchmark.finishing import effect_findings, page_findings
from tests.benchmark.goals import Finding
from tests.benchmark.models import BenchModel, bench_model
from tests.benchmark.processes import command_line_peak, first_second, peak_beyond_weights, vocode_peak
from tests.benchmark.report import ProjectReport, Target
from tests.benchmark.speed import core_rtf, gpu_rtf, loop_finding, speed
from tests.benchmark.streams import open_streams, stream_costs, stream_times, streams_per_core
from tests.benchmark.targets import SPEED_CASE, Measured, diffusion_targets, targets
from voirs_vocoder.export.bench.paired import Estimate
from voirs_vocoder.runtime import Artifact, Vocoder, mel_spectrogram, read_audio
from voirs_vocoder.runtime.audio import mono, resample
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.machine import this_machine
from voirs_vocoder.runtime.metrics import lsd
from voirs_vocoder.runtime.progress import Progress
from voirs_vocoder.runtime.providers import get_provider

__all__ = ["MEASUREMENTS", "BenchSettings", "copy_synthesis_lsd", "run_benchmark"]

_MB = 1e6
_MINUTES_S = 180.0
_HOUR_S = 3600.0
_PACKAGES = ("torch", "onnx", "onnxruntime", "openvino")


@dataclass(frozen=True)
class BenchSettings:
    """How the benchmark runs.

    Attributes:
        output: Folder for the models and the report.
        pairs: Rounds of a case of scale 1, see `BenchCase.rounds`.
        threads: Number of threads of every backend.
        cases: Keys of the cases to measure; effects, page and the users' targets are measured when all are.
        reuse: Measure the models that an earlier run exported.
        quick: Minutes instead of the hour through the command line.
    """

    output: Path
    pairs: int
    threads: int
    cases: tuple[str, ...] = tuple(CASES)
    reuse: bool = False
    quick: bool = False


@dataclass(frozen=True)
class _Measurement:
    """Figures that are measured together.

    Attributes:
        title: What is being done, for progress.
        figures: Keys of the figures; the measurement runs for a case that asks for any of them.
        measure: Measures them. Takes the model, a folder for temporary files, and the settings.
    """

    title: str
    figures: tuple[str, ...]
    measure: Callable[[BenchModel, Path, BenchSettings], list[Finding]]


MEASUREMENTS = (
    _Measurement(
        "timing the sampling loop", ("loop",), lambda m, f, s: [loop_finding(m, s.pairs, s.threads)]
    ),
    _Measurement(
        "from a fresh process to the first second",
        ("first_second",),
        lambda m, f, s: first_second(m, f, s.threads, s.pairs),
    ),
    _Measurement("peak memory", ("peak_mb",), lambda m, f, s: [vocode_peak(m, f, s.threads)]),
    _Measurement(
        "peak memory beyond the weights",
        ("peak_beyond_weights_mb",),
        lambda m, f, s: [peak_beyond_weights(m, f, s.threads)],
    ),
    _Measurement(
        "minutes through the command line",
        ("minutes_peak_mb",),
        lambda m, f, s: [command_line_peak(m, "minutes_peak_mb", SAMPLES, f, _MINUTES_S)],
    ),
    _Measurement(
        "a long recording through the command line",
        ("hour_peak_mb",),
        lambda m, f, s: [
            command_line_peak(m, "hour_peak_mb", SAMPLES, f, _MINUTES_S if s.quick else _HOUR_S)
        ],
    ),
    _Measurement(
        "streams on one core",
        ("stream_16", "stream_8", "stream_gain_8"),
        lambda m, f, s: stream_costs(m, s.pairs),
    ),
    _Measurement(
        "streams on all threads",
        ("stream_16_threads", "stream_8_threads"),
        lambda m, f, s: stream_times(m, s.pairs, s.threads),
    ),
    _Measurement("streams at once", ("streams_per_core",), lambda m, f, s: [streams_per_core(m)]),
    _Measurement("open streams", ("open_streams_mb",), lambda m, f, s: [open_streams(m, f)]),
    _Measurement("file sizes", ("int8_file_mb",), lambda m, f, s: [_int8_file(m)]),
    _Measurement("quality", ("lsd",), lambda m, f, s: [_lsd(m)]),
)
"""What is measured of a model besides the ratios of its speed, in order."""


def run_benchmark(settings: BenchSettings, progress: Progress) -> ProjectReport:
    """Measure the chosen cases.

    Args:
        settings: How the benchmark runs.
        progress: Receives what is being done.

    Raises:
        InputError: The project's data is not there, or there are too few pairs.
        ExportError: A fresh process failed, or a graph does not compute what the model computes.
    """
    rtf: dict[str, dict[str, Estimate]] = {}
    findings: list[Finding] = []
    found_targets: list[Target] = []
    models: dict[str, BenchModel] = {}
    for key in settings.cases:
        case = CASES[key]

        def report(message: str, done: int, total: int, key: str = key) -> None:
            progress(f"{key}: {message}", done, total)

        model = models[key] = bench_model(case, settings.output, reuse=settings.reuse, progress=report)
        report("timing", 0, 0)
        rtf[case.title], ratios = speed(model, settings.pairs, settings.threads)
        findings.extend(ratios)
        with tempfile.TemporaryDirectory(dir=settings.output) as folder:
            for measurement in MEASUREMENTS:
                if set(measurement.figures) & set(case.figures):
                    report(measurement.title, 0, 0)
                    findings.extend(measurement.measure(model, Path(folder), settings))
        found_targets.extend(
            diffusion_targets(case.title, model.artifact.manifest.diffusion, rtf[case.title])
        )
    if set(settings.cases) == set(CASES):
        progress("effects", 0, 0)
        findings.extend(effect_findings(settings.pairs))
        with tempfile.TemporaryDirectory(dir=settings.output) as folder:
            findings.extend(page_findings(Path(folder), progress))
        found_targets[:0] = targets(_measured(models[SPEED_CASE], rtf, findings, settings))
    return ProjectReport(
        date=datetime.now(UTC).date().isoformat(),
        machine=this_machine(),
        versions={name: version(name) for name in _PACKAGES},
        threads=settings.threads,
        rtf=rtf,
        findings=tuple(findings),
        targets=tuple(found_targets),
    )


def copy_synthesis_lsd(artifact: Artifact, speech: Path) -> float:
    """Mean log-spectral distance between recordings and what the vocoder makes of their mels.

    Args:
        artifact: An artifact with FP32 graphs.
        speech: Folder of .flac recordings.

    Raises:
        InputError: There are no recordings.
    """
    distances = []
    with Vocoder.load(artifact.root) as vocoder:
        rate, convention = vocoder.metadata.sample_rate, vocoder.metadata.convention
        for path in sorted(speech.glob("*.flac")):
            audio = read_audio(path)
            samples = resample(mono(audio.samples), audio.sample_rate, rate)
            copy = vocoder.vocode(mel_spectrogram(samples, rate, convention)).samples[0]
            length = min(samples.size, copy.size)
            distances.append(lsd(samples[:length], copy[:length]))
    if not distances:
        raise InputError(
            f"{speech}: holds no .flac recordings; run the benchmark in a checkout of the project"
        )
    return float(np.mean(distances))


def _lsd(model: BenchModel) -> Finding:
    return Finding(
        name=f"{model.case.title}: LSD of copies of the shipped recordings",
        value=copy_synthesis_lsd(model.artifact, SAMPLES),
        goal=model.case.figures["lsd"],
        case=model.case.key,
        figure="lsd",
    )


def _int8_file(model: BenchModel) -> Finding:
    return Finding(
        name=f"{model.case.title} INT8: file",
        value=_file_bytes(model)["int8"] / _MB,
        unit="MB",
        goal=model.case.figures["int8_file_mb"],
        case=model.case.key,
        figure="int8_file_mb",
    )


def _file_bytes(model: BenchModel) -> dict[str, int]:
    artifact, role = model.artifact, model.case.role
    return {
        "fp32": artifact.graph(role, "fp32").file.size_bytes,
        "int8": artifact.graph(role, "int8", "cpu").file.size_bytes,
    }


def _measured(
    model: BenchModel,
    rtf: Mapping[str, Mapping[str, Estimate]],
    findings: list[Finding],
    settings: BenchSettings,
) -> Measured:
    manifest = model.artifact.manifest
    values = {(finding.case, finding.figure): finding.value for finding in findings}
    times = rtf[model.case.title]
    gpu = gpu_rtf(model, settings.pairs) if get_provider("cuda").problem() is None else None
    return Measured(
        v1_rtf={"fp32": times["ours"], "int8": times["int8"]},
        v1_core_rtf=core_rtf(model, settings.pairs),
        threads=settings.threads,
        gpu_rtf=gpu,
        look_ahead_ms=1e3 * manifest.look_ahead_samples / manifest.sample_rate,
        lsd=next(value for (_, figure), value in values.items() if figure == "lsd"),
        v1_peak_bytes=round(values[SPEED_CASE, "peak_mb"] * _MB),
        v1_file_bytes=_file_bytes(model),
    )
