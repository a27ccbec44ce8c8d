"""What the project's benchmark measures of WaveGlow and the diffusion models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from tests.benchmark.family_models import FAMILY_MODELS, FamilyModel, family_model
from tests.benchmark.measures import command_line_peak_bytes, write_long_recording
from tests.benchmark.project_report import Finding, Target
from voirs_vocoder.export.bench.artifact import bench_mel, bytes_in_hand
from voirs_vocoder.export.bench.fresh_process import speak_fresh
from voirs_vocoder.export.bench.paired import (
    MIN_PAIRS,
    Estimate,
    interleaved_times,
    median_estimate,
    ratio_estimate,
)
from voirs_vocoder.export.graphs.onnx_from_torch import example_inputs
from voirs_vocoder.runtime import Artifact, SessionConfig, Vocoder, VocodingConfig
from voirs_vocoder.runtime.artifact.axes import axis_size
from voirs_vocoder.runtime.artifact.manifest import GraphEntry
from voirs_vocoder.runtime.diffusion.choice import chosen_plan
from voirs_vocoder.runtime.drivers import open_driver
from voirs_vocoder.runtime.progress import Progress
from voirs_vocoder.runtime.providers.onnxruntime import OrtSession

__all__ = ["FamilyFindings", "family_benchmark"]

Feed = Mapping[str, NDArray[np.generic]]

_MB = 1e6
# Enough for a ratio, and a second of WaveGlow takes two.
_FRAMES = {"waveglow": 48, "diffwave": 86, "diffwave-unet": 172}
_LOOP_FRAMES = 86
_FEWER_PAIRS = 3
_MAX_RATIO = 1.02
_MAX_LOOP_RATIO = 1.03
_MIN_INT8_GAIN = 1.6
_MAX_FLOW_OVERHEAD_MB = 150.0
_FLOW_PEAK_FRAMES = 86
_MAX_DIFFUSION_CPU_RTF = 0.15
_MAX_DIFFUSION_GPU_RTF = 0.08
_HOUR_S = 3600.0
_QUICK_S = 180.0


@dataclass(frozen=True)
class FamilyFindings:
    """What was found.

    Attributes:
        rtf: Model to contender to seconds of compute per second of audio; of diffusion models for a single step.
        findings: Figures with goals.
        targets: The user's targets for diffusion.
    """

    rtf: dict[str, dict[str, Estimate]]
    findings: list[Finding]
    targets: list[Target]


def family_benchmark(
    folder: Path, data: Path, *, pairs: int, threads: int, reuse: bool, quick: bool, progress: Progress
) -> FamilyFindings:
    """Measure WaveGlow and the diffusion models.

    Args:
        folder: Where models are written.
        data: The project's `artifacts/` folder.
        pairs: Rounds of the faster models; the slow ones take a third.
        threads: Of every backend.
        reuse: Measure the models that an earlier run exported.
        quick: Minutes instead of an hour.
        progress: Told what is being done.

    Raises:
        ExportError: A fresh process failed, or a graph does not compute what the model computes.
    """
    torch.set_num_threads(threads)
    found = FamilyFindings({}, [], [])
    for family in FAMILY_MODELS:

        def report(message: str, done: int, total: int, family: str = family) -> None:
            progress(f"{family}: {message}", done, total)

        model = family_model(family, folder, reuse=reuse, progress=report)
        report("timing", 0, 0)
        few = max(MIN_PAIRS, pairs // _FEWER_PAIRS)
        _speed(model, family, few, threads, found)
        if family == "waveglow":
            found.findings.append(_flow_peak(model, folder, threads))
        else:
            report("timing the sampling loop", 0, 0)
            found.findings.append(_loop(model, few, threads))
    progress("diffwave-unet: a long recording through the command line", 0, 0)
    found.findings.append(
        _long(folder / "diffwave-unet" / "artifact", folder, data, _QUICK_S if quick else _HOUR_S)
    )
    return found


def _speed(model: FamilyModel, family: str, pairs: int, threads: int, found: FamilyFindings) -> None:
    frames = _FRAMES[family]
    hop_length = model.artifact.manifest.hop_length
    feed = example_inputs(
        model.spec, {"batch": 1, "samples": frames * hop_length, "frames": frames}, frames, seed=0
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    stock = onnxruntime.InferenceSession(str(model.stock), options, providers=["CPUExecutionProvider"])
    calls: dict[str, Callable[[], object]] = {
        "stock": partial(stock.run, None, feed),
        "pytorch": partial(_run_module, model.spec.module, feed),
        "ours": partial(_session(model.artifact, model.spec.role, "fp32", threads)[0].run, feed),
    }
    if any(graph.target == "cpu" for graph in model.artifact.manifest.graphs):
        calls["int8"] = partial(_session(model.artifact, model.spec.role, "int8", threads)[0].run, feed)
    times = interleaved_times(calls, pairs=pairs)
    audio_s = frames * hop_length / model.artifact.manifest.sample_rate
    found.rtf[model.name] = {name: median_estimate(values / audio_s) for name, values in times.items()}
    for rival, title in (("stock", "stock export in ONNX Runtime"), ("pytorch", "PyTorch")):
        estimate = ratio_estimate(times["ours"], times[rival])
        name = f"{model.name} FP32: our time / {title}"
        # The U-Net has no published form that somebody else could have exported; its figure informs.
        ratio_goal = None if family == "diffwave-unet" else _MAX_RATIO
        found.findings.append(Finding(name=name, value=estimate.median, estimate=estimate, goal=ratio_goal))
    if "int8" in times:
        gain = ratio_estimate(times["ours"], times["int8"])
        name = f"{model.name} INT8 step: times faster than FP32"
        goal = _MIN_INT8_GAIN if family == "diffwave" else None
        found.findings.append(Finding(name=name, value=gain.median, estimate=gain, goal=goal, bound="min"))
        found.targets.extend(_targets(model, found.rtf[model.name]))


def _targets(model: FamilyModel, rtf: Mapping[str, Estimate]) -> list[Target]:
    """How far a diffusion model is from the user's figures with its default sampler."""
    diffusion = model.artifact.manifest.diffusion
    if diffusion is None:
        return []
    steps = len(chosen_plan(diffusion, VocodingConfig()).steps)
    total = {name: steps * rtf[name].median for name in ("ours", "int8")}
    affordable = {name: int(_MAX_DIFFUSION_CPU_RTF / rtf[name].median) for name in total}
    sampler = f"{diffusion.sampler}, {steps} steps"
    return [
        Target(
            target=f"RTF {_MAX_DIFFUSION_CPU_RTF}, {model.name} on CPU",
            measured=f"{total['ours']:.3f} FP32, {total['int8']:.3f} INT8",
            verdict="met" if min(total.values()) <= _MAX_DIFFUSION_CPU_RTF else "not met",
            reason=f"{sampler}; room for {affordable['ours']} of FP32, {affordable['int8']} of INT8",
        ),
        Target(
            target=f"RTF {_MAX_DIFFUSION_GPU_RTF}, {model.name} on GPU",
            measured="",
            verdict="not measurable here",
            reason="there is no GPU that ONNX Runtime can use",
        ),
    ]


def _loop(model: FamilyModel, pairs: int, threads: int) -> Finding:
    """The whole of `Vocoder.vocode` against the network alone, on the same sessions."""
    artifact = model.artifact
    manifest = artifact.manifest
    sessions = {role: _session(artifact, role, "fp32", threads) for role in ("conditioner", "step")}
    driver = open_driver(manifest, sessions.__getitem__, SessionConfig(threads=threads))
    vocoder = Vocoder.from_driver(manifest, "fp32", driver)
    mel = bench_mel(manifest.mel, _LOOP_FRAMES)
    steps = len(chosen_plan(manifest.diffusion, VocodingConfig()).steps) if manifest.diffusion else 0
    step, entry = sessions["step"]
    inputs = {tensor.name: tensor for tensor in entry.inputs}
    feed = {
        name: np.ones(
            [
                axis_size(axis, batch=1, frames=_LOOP_FRAMES, hop_length=manifest.hop_length)
                for axis in tensor.shape
            ],
            np.float32,
        )
        for name, tensor in inputs.items()
    }

    def network() -> None:
        sessions["conditioner"][0].run({"mel": mel[np.newaxis]})
        for _ in range(steps):
            step.run(feed)

    times = interleaved_times({"loop": partial(vocoder.vocode, mel), "network": network}, pairs=pairs)
    estimate = ratio_estimate(times["loop"], times["network"])
    name = f"{model.name}: Vocoder.vocode / the network alone, {steps} steps"
    return Finding(name=name, value=estimate.median, estimate=estimate, goal=_MAX_LOOP_RATIO)


def _flow_peak(model: FamilyModel, folder: Path, threads: int) -> Finding:
    manifest = model.artifact.manifest
    mel = bench_mel(manifest.mel, _FLOW_PEAK_FRAMES)
    path = folder / "mel.npy"
    np.save(path, mel)
    spoken = speak_fresh(model.artifact.root, "cpu", "fp32", threads, path)
    weights = model.artifact.graph("offline", "fp32").file.size_bytes
    beyond = spoken.peak_bytes - bytes_in_hand(mel, manifest.hop_length) - weights
    return Finding(
        name=f"{model.name}, 1 s through Vocoder.vocode: peak beyond the weights",
        value=beyond / _MB,
        unit="MB",
        goal=_MAX_FLOW_OVERHEAD_MB,
    )


def _long(root: Path, folder: Path, data: Path, seconds: float) -> Finding:
    recording, output = folder / "long.wav", folder / "long-unet.wav"
    write_long_recording(data / "samples", recording, seconds)
    options = ("--sampler", "ddim", "--steps", "1")
    peak = command_line_peak_bytes(Artifact.open(root), recording, output, *options)
    recording.unlink()
    output.unlink()
    length = f"{seconds / 60:.0f} min"
    return Finding(
        name=f"U-Net, {length} through the command line, one step: peak",
        value=peak / _MB,
        unit="MB",
        goal=256.0,
    )


def _session(artifact: Artifact, role: str, precision: str, threads: int) -> tuple[OrtSession, GraphEntry]:
    entry = artifact.graph(role, "int8", "cpu") if precision == "int8" else artifact.graph(role, "fp32")
    return OrtSession(artifact.read(entry.file), entry, "cpu", SessionConfig(threads=threads)), entry


def _run_module(module: torch.nn.Module, feed: Feed) -> object:
    with torch.inference_mode():
        return module(*(torch.from_numpy(value) for value in feed.values()))
