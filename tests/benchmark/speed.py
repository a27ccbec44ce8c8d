"""How fast a model's graph is: contenders take turns on the same inputs, and figures are ratios of their times."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from tests.benchmark.cases import BenchCase
from tests.benchmark.goals import Finding
from tests.benchmark.models import BenchModel, Feed, bench_feed
from voirs_vocoder.export.bench.artifact import bench_mel
from voirs_vocoder.export.bench.paired import (
    MIN_PAIRS,
    Estimate,
    interleaved_times,
    median_estimate,
    ratio_estimate,
)
from voirs_vocoder.runtime import Artifact, SessionConfig, Vocoder, VocodingConfig
from voirs_vocoder.runtime.artifact.axes import axis_size
from voirs_vocoder.runtime.artifact.manifest import GraphEntry, Precision
from voirs_vocoder.runtime.diffusion.choice import chosen_plan
from voirs_vocoder.runtime.drivers.registry import open_driver
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.providers.onnxruntime import OrtSession
from voirs_vocoder.runtime.providers.openvino import OpenVinoSession

__all__ = [
    "RATIOS",
    "Contender",
    "core_rtf",
    "estimated",
    "gpu_rtf",
    "loop_finding",
    "rounds",
    "session_of",
    "speed",
]

Contender = Callable[[], object]

_LOOP_FRAMES = 86
RATIOS = {
    "ours/stock": "{} FP32: our time / stock export in ONNX Runtime",
    "ours/posted": "{} FP32: our time / the export that its users post",
    "ours/pytorch": "{} FP32: our time / PyTorch",
    "ours/openvino": "{} FP32: our time / OpenVINO",
    "openvino/pytorch": "{} FP32 in OpenVINO: our time / PyTorch",
    "vocode/bare": "{} FP32: Vocoder.vocode / bare session",
    "stock/int8": "{} INT8: times faster than stock FP32",
    "ours/int8": "{} INT8: times faster than FP32",
    "ours/int8_openvino": "{} INT8 in OpenVINO: times faster than FP32 in ONNX Runtime",
    "openvino/int8_openvino": "{} INT8 in OpenVINO: times faster than FP32 there",
}
"""Ratios of the times of two contenders, by figure: the name in reports, in which {} is the model."""


def rounds(case: BenchCase, pairs: int) -> int:
    """Number of timed rounds of a case, at least `MIN_PAIRS`.

    Args:
        case: The case, whose `rounds` scale the number.
        pairs: Rounds of a case of scale 1.
    """
    return max(MIN_PAIRS, round(pairs * case.rounds))


def estimated(case: BenchCase, figure: str, name: str, estimate: Estimate) -> Finding:
    """A finding of repeated measurements.

    Args:
        case: The case, which knows the goal.
        figure: Key of the figure in `case.figures`.
        name: What was measured, in words.
        estimate: The figure.
    """
    return Finding(
        name=name,
        value=estimate.median,
        estimate=estimate,
        goal=case.figures[figure],
        case=case.key,
        figure=figure,
    )


def speed(model: BenchModel, pairs: int, threads: int) -> tuple[dict[str, Estimate], list[Finding]]:
    """Time all contenders of a model against each other.

    Args:
        model: The model.
        pairs: Rounds of a case of scale 1.
        threads: Number of threads of every backend.

    Returns:
        Contender to seconds of compute per second of audio (of a diffusion model: per step), and the ratios.
    """
    case = model.case
    ratios = [figure for figure in case.figures if figure in RATIOS]
    wanted = dict.fromkeys(name for figure in ratios for name in figure.split("/"))
    calls = _contenders(model, frozenset(wanted), threads)
    times = interleaved_times(calls, pairs=rounds(case, pairs))
    audio_s = _audio_s(model.artifact, case.frames)
    rtf = {name: median_estimate(values / audio_s) for name, values in times.items()}
    findings = []
    for figure in ratios:
        numerator, denominator = figure.split("/")
        ratio = ratio_estimate(times[numerator], times[denominator])
        findings.append(estimated(case, figure, RATIOS[figure].format(case.title), ratio))
    return rtf, findings


def loop_finding(model: BenchModel, pairs: int, threads: int) -> Finding:
    """The whole of `Vocoder.vocode` of a diffusion model against its networks alone, on the same sessions.

    Args:
        model: A diffusion model.
        pairs: Rounds of a case of scale 1.
        threads: Number of threads of the sessions.
    """
    manifest = model.artifact.manifest
    sessions = {
        role: session_of(model.artifact, role, "fp32", threads=threads) for role in ("conditioner", "step")
    }
    driver = open_driver(manifest, sessions.__getitem__, SessionConfig(threads=threads))
    vocoder = Vocoder.from_driver(manifest, "fp32", driver)
    mel = bench_mel(manifest.mel, _LOOP_FRAMES)
    steps = len(chosen_plan(manifest.diffusion, VocodingConfig()).steps) if manifest.diffusion else 0
    step, entry = sessions["step"]
    sizes = {"batch": 1, "frames": _LOOP_FRAMES, "hop_length": manifest.hop_length}
    feed = {
        tensor.name: np.ones([axis_size(axis, **sizes) for axis in tensor.shape], np.float32)
        for tensor in entry.inputs
    }

    def networks() -> None:
        sessions["conditioner"][0].run({"mel": mel[np.newaxis]})
        for _ in range(steps):
            step.run(feed)

    calls: dict[str, Contender] = {"loop": partial(vocoder.vocode, mel), "networks": networks}
    times = interleaved_times(calls, pairs=rounds(model.case, pairs))
    name = f"{model.case.title}: Vocoder.vocode / the networks alone, {steps} steps"
    return estimated(model.case, "loop", name, ratio_estimate(times["loop"], times["networks"]))


def core_rtf(model: BenchModel, pairs: int) -> dict[str, Estimate]:
    """Seconds of one core per second of audio, by precision.

    Args:
        model: The model; INT8 is measured where the artifact has it.
        pairs: Rounds of a case of scale 1.
    """
    feed = bench_feed(model, model.case.frames)
    precisions: tuple[Precision, ...] = ("fp32", "int8") if model.case.int8 else ("fp32",)
    calls: dict[str, Contender] = {
        precision: partial(session_of(model.artifact, model.case.role, precision, threads=1)[0].run, feed)
        for precision in precisions
    }
    times = interleaved_times(calls, pairs=rounds(model.case, pairs))
    audio_s = _audio_s(model.artifact, model.case.frames)
    return {name: median_estimate(values / audio_s) for name, values in times.items()}


def gpu_rtf(model: BenchModel, pairs: int) -> Estimate:
    """Seconds of compute per second of audio of `Vocoder.vocode` through ONNX Runtime's CUDA provider.

    Args:
        model: The model.
        pairs: Rounds of a case of scale 1.

    Raises:
        ProviderError: There is no GPU that ONNX Runtime can use.
    """
    mel = bench_mel(model.artifact.manifest.mel, model.case.frames)
    with Vocoder.load(model.artifact.root, provider="cuda") as vocoder:
        times = interleaved_times({"cuda": partial(vocoder.vocode, mel)}, pairs=rounds(model.case, pairs))
    return median_estimate(times["cuda"] / _audio_s(model.artifact, model.case.frames))


def session_of(
    artifact: Artifact, role: str, precision: Precision, *, threads: int
) -> tuple[OrtSession, GraphEntry]:
    """A graph of an artifact in our session on the CPU, and its manifest entry.

    Args:
        artifact: The artifact.
        role: Role of the graph.
        precision: Precision of the graph; INT8 takes the graph that is made for the CPU.
        threads: Number of threads of the session.
    """
    entry = artifact.graph(role, precision, "cpu" if precision == "int8" else None)
    return OrtSession(artifact.read_graph(entry), entry, "cpu", SessionConfig(threads=threads)), entry


def _contenders(model: BenchModel, wanted: frozenset[str], threads: int) -> dict[str, Contender]:
    """The contenders that a case asks for, all on the same inputs.

    `stock` is torch.onnx.export alone in ONNX Runtime with its defaults; `posted` what the model's users export, there,
    and what they compute after it; `pytorch` the module; `openvino` our graph in OpenVINO at full precision; `ours` our
    graph in our session; `int8` our INT8 graph there; `int8_openvino` our other INT8 graph in OpenVINO; `vocode` the
    whole of `Vocoder.vocode`; `bare` the session of ONNX Runtime inside ours.
    """
    torch.set_num_threads(threads)
    artifact, role = model.artifact, model.case.role
    feed = bench_feed(model, model.case.frames)
    session, entry = session_of(artifact, role, "fp32", threads=threads)
    config = SessionConfig(threads=threads)

    def openvino(entry: GraphEntry) -> Contender:
        return partial(OpenVinoSession(artifact.read_graph(entry), entry, config).run, feed)

    def vocode() -> Contender:
        driver = open_driver(artifact.manifest, lambda role: (session, entry), config)
        return partial(Vocoder.from_driver(artifact.manifest, "fp32", driver).vocode, feed["mel"][0])

    makers: Mapping[str, Callable[[], Contender]] = {
        "stock": lambda: _stock(model.stock, feed, threads),
        "posted": lambda: _posted(model, feed, threads),
        "pytorch": lambda: partial(_run_module, model.spec.module, feed),
        "openvino": lambda: openvino(entry),
        "ours": lambda: partial(session.run, feed),
        "vocode": vocode,
        # The very session that ours wraps: two sessions over one graph differ by more than what is put around them.
        "bare": lambda: partial(session._session.run, None, dict(feed)),
        "int8": lambda: partial(session_of(artifact, role, "int8", threads=threads)[0].run, feed),
        "int8_openvino": lambda: openvino(artifact.graph(role, "int8", "tensorrt")),
    }
    return {name: make() for name, make in makers.items() if name in wanted}


def _stock(graph: Path, feed: Feed, threads: int) -> Callable[[], list[NDArray[np.float32]]]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    return partial(session.run, None, dict(feed))


def _posted(model: BenchModel, feed: Feed, threads: int) -> Contender:
    if model.posted is None:
        raise InputError(f"{model.case.key}: users post no other export of this model")
    run = _stock(model.posted_graph, feed, threads)
    finish = model.posted.finish
    return run if finish is None else lambda: finish.audio(*run())


def _run_module(module: torch.nn.Module, feed: Feed) -> object:
    with torch.inference_mode():
        return module(*(torch.from_numpy(value) for value in feed.values()))


def _audio_s(artifact: Artifact, frames: int) -> float:
    return frames * artifact.manifest.hop_length / artifact.manifest.sample_rate
