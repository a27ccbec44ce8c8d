"""The targets that users set for the project, compared with what was measured."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from tests.benchmark.report import Target, Verdict
from voirs_vocoder.export.bench.paired import Estimate
from voirs_vocoder.runtime import VocodingConfig
from voirs_vocoder.runtime.artifact.manifest import Diffusion
from voirs_vocoder.runtime.diffusion.choice import chosen_plan

__all__ = ["SPEED_CASE", "Measured", "diffusion_targets", "targets"]

SPEED_CASE = "v1"
"""Key of the case that the targets for speed, memory and size are compared with."""

_MB = 1e6
_MAX_CPU_RTF = 0.02
_MAX_GPU_RTF = 0.005
_MAX_LATENCY_MS = 50.0
_MAX_LSD = 1.0
_MAX_PEAK_MB = 256.0
_MAX_FILE_MB = 25.0
_MAX_CORE_SHARE = 0.25
_MAX_DIFFUSION_CPU_RTF = 0.15
_MAX_DIFFUSION_GPU_RTF = 0.08


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """The measured figures that the targets are compared with.

    Attributes:
        v1_rtf: Precision to RTF of V1 on the CPU.
        v1_core_rtf: Precision to RTF of V1 on a single core.
        threads: Number of threads that `v1_rtf` was measured with.
        gpu_rtf: RTF of V1 on the GPU; None without a GPU.
        look_ahead_ms: Duration of the future audio that V1's output depends on, in milliseconds.
        lsd: Log-spectral distance of copy synthesis with the shipped V2.
        v1_peak_bytes: Peak resident memory of a process that vocodes with V1, in bytes.
        v1_file_bytes: Precision to size of V1's graph, in bytes.
    """

    v1_rtf: Mapping[str, Estimate]
    v1_core_rtf: Mapping[str, Estimate]
    threads: int
    gpu_rtf: Estimate | None
    look_ahead_ms: float
    lsd: float
    v1_peak_bytes: int
    v1_file_bytes: Mapping[str, int]


def targets(measured: Measured) -> tuple[Target, ...]:
    """Compare the eight targets that users set for HiFi-GAN with what was measured.

    Args:
        measured: The measured figures.
    """
    rtf, core_rtf = _fastest(measured.v1_rtf), _fastest(measured.v1_core_rtf)
    peak_mb = measured.v1_peak_bytes / _MB
    file_mb = {name: size / _MB for name, size in measured.v1_file_bytes.items()}
    smallest = min(file_mb.values())
    return (
        Target(
            target=f"RTF {_MAX_CPU_RTF}, V1 on CPU",
            measured=_medians(measured.v1_rtf),
            verdict=_verdict(rtf, _MAX_CPU_RTF),
            reason=f"{measured.threads} threads; 52.9 GFLOP per second of audio",
        ),
        _gpu_target(measured),
        Target(
            target=f"latency {_MAX_LATENCY_MS:.0f} ms",
            measured=f"{measured.look_ahead_ms:.0f} ms",
            verdict=_verdict(measured.look_ahead_ms, _MAX_LATENCY_MS),
            reason="look-ahead of the trained network alone",
        ),
        Target(
            target=f"LSD {_MAX_LSD:.1f}",
            measured=f"{measured.lsd:.2f}",
            verdict=_verdict(measured.lsd, _MAX_LSD),
            reason="shipped V2, copies of the samples",
        ),
        Target(
            target=f"{_MAX_PEAK_MB:.0f} MB per instance",
            measured=f"{peak_mb:.0f} MB",
            verdict=_verdict(peak_mb, _MAX_PEAK_MB),
            reason="peak of a process with V1 FP32, 10 s",
        ),
        Target(
            target=f"{_MAX_FILE_MB:.0f} MB per model",
            measured=", ".join(f"{size:.1f} {name.upper()}" for name, size in file_mb.items()),
            verdict=_verdict(smallest, _MAX_FILE_MB),
            reason="V1; the smallest counts",
        ),
        Target(
            target=f"{_MAX_CORE_SHARE:.0%} of one core",
            measured=_medians(measured.v1_core_rtf),
            verdict=_verdict(core_rtf, _MAX_CORE_SHARE),
            reason="V1, RTF with one thread; the fastest counts",
        ),
        Target(
            target="MOS 4.35",
            measured="",
            verdict="not measurable here",
            reason="needs a listening test",
        ),
    )


def diffusion_targets(
    title: str, diffusion: Diffusion | None, rtf: Mapping[str, Estimate]
) -> tuple[Target, ...]:
    """Compare the targets that users set for diffusion models with a model and its default sampler.

    Args:
        title: The model's name in reports.
        diffusion: The model's diffusion settings; None for a model of another kind, which has no such target.
        rtf: Contender to seconds of compute per second of audio and step; `ours`, and `int8` where it was measured.
    """
    if diffusion is None:
        return ()
    steps = len(chosen_plan(diffusion, VocodingConfig()).steps)
    per_step = {
        precision: rtf[name].median for name, precision in (("ours", "FP32"), ("int8", "INT8")) if name in rtf
    }
    room = ", ".join(f"{int(_MAX_DIFFUSION_CPU_RTF / one)} of {name}" for name, one in per_step.items())
    return (
        Target(
            target=f"RTF {_MAX_DIFFUSION_CPU_RTF}, {title} on CPU",
            measured=", ".join(f"{steps * one:.3f} {name}" for name, one in per_step.items()),
            verdict=_verdict(steps * min(per_step.values()), _MAX_DIFFUSION_CPU_RTF),
            reason=f"{diffusion.sampler}, {steps} steps; room for {room}",
        ),
        Target(
            target=f"RTF {_MAX_DIFFUSION_GPU_RTF}, {title} on GPU",
            measured="",
            verdict="not measurable here",
            reason="there is no GPU that ONNX Runtime can use",
        ),
    )


def _gpu_target(measured: Measured) -> Target:
    target = f"RTF {_MAX_GPU_RTF}, V1 on GPU"
    if measured.gpu_rtf is None:
        reason = "there is no GPU that ONNX Runtime can use"
        return Target(target=target, measured="", verdict="not measurable here", reason=reason)
    rtf = measured.gpu_rtf.median
    return Target(
        target=target,
        measured=f"{rtf:.4f} FP32",
        verdict=_verdict(rtf, _MAX_GPU_RTF),
        reason="ONNX Runtime, CUDA provider",
    )


def _verdict(value: float, limit: float) -> Verdict:
    return "met" if value <= limit else "not met"


def _fastest(estimates: Mapping[str, Estimate]) -> float:
    return min(estimate.median for estimate in estimates.values())


def _medians(estimates: Mapping[str, Estimate]) -> str:
    return ", ".join(f"{estimate.median:.3f} {name.upper()}" for name, estimate in estimates.items())
