"""The targets that users set for the project, against what was measured."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from tests.benchmark.project_report import Target, Verdict
from voirs_vocoder.export.bench.paired import Estimate

__all__ = ["Measured", "targets"]

_MB = 1e6
_MAX_CPU_RTF = 0.02
_MAX_GPU_RTF = 0.005
_MAX_LATENCY_MS = 50.0
_MAX_LSD = 1.0
_MAX_PEAK_MB = 256.0
_MAX_FILE_MB = 25.0
_MAX_CORE_SHARE = 0.25


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What the targets are held against.

    Attributes:
        v1_rtf: Precision to RTF of V1 on the CPU.
        v1_core_rtf: Precision to RTF of V1 on a single core.
        threads: That `v1_rtf` was measured with.
        gpu_rtf: Of V1 on the GPU; None without one.
        look_ahead_ms: Future audio that V1's output depends on.
        lsd: Of copy synthesis with the shipped V2.
        v1_peak_bytes: Peak resident memory of a process that vocodes with V1.
        v1_file_bytes: Precision to size of V1's graph.
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
    """How the user's eight targets stand."""
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
