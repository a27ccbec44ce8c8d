"""Report of a benchmark of one artifact."""

from __future__ import annotations

import msgspec

from voirs_vocoder.export.bench.paired import Estimate
from voirs_vocoder.runtime.artifact.manifest import Precision, Target
from voirs_vocoder.runtime.files import indented_json
from voirs_vocoder.runtime.machine import Machine

__all__ = [
    "BenchReport",
    "BenchRow",
    "bench_table",
    "encode_bench",
    "estimate_cells",
]


class BenchRow(msgspec.Struct, frozen=True, kw_only=True):
    """A graph on a backend.

    Attributes:
        graph: Precision and target of the graph, such as `int8.cpu`.
        precision: Precision of the graph.
        target: Kind of backend that the graph is made for; None for a graph that runs everywhere.
        provider: Name of the provider that ran the graph.
        backend: Library and version that ran the graph.
        rtf: Seconds of compute per second of audio.
        time_ratio: Time divided by that of FP32 in ONNX Runtime on the CPU; below 1 is faster.
        load_s: Seconds of importing the runtime and loading the artifact, in a fresh process.
        peak_bytes: Peak resident memory of a fresh process that loads and vocodes, less the mel and the audio.
        size_bytes: Size of the files of that precision and target.
    """

    graph: str
    precision: Precision
    target: Target | None
    provider: str
    backend: str
    rtf: Estimate
    time_ratio: Estimate
    load_s: float
    peak_bytes: int
    size_bytes: int


class BenchReport(msgspec.Struct, frozen=True, kw_only=True):
    """A benchmark.

    Attributes:
        family: Model family of the artifact.
        variant: Variant of the artifact's model.
        machine: Machine that was measured on.
        threads: Worker threads of every backend.
        audio_s: Length of the utterance, in seconds.
        rows: One per graph and backend, FP32 on the CPU first.
    """

    family: str
    variant: str
    machine: Machine
    threads: int
    audio_s: float
    rows: tuple[BenchRow, ...]


def encode_bench(report: BenchReport) -> bytes:
    """The report as indented JSON."""
    return indented_json(report)


def bench_table(report: BenchReport) -> list[list[str]]:
    """The report as rows of text, the first being the header. Intervals are 95%."""
    header = ["graph", "runs on", "RTF", "time / fp32", "interval", "pairs", "load ms", "peak MB", "file MB"]
    rows = [
        [
            row.graph,
            row.provider,
            f"{row.rtf.median:.4f}",
            *estimate_cells(row.time_ratio, ".3f"),
            f"{row.load_s * 1e3:.0f}",
            f"{row.peak_bytes / 1e6:.0f}",
            f"{row.size_bytes / 1e6:.2f}",
        ]
        for row in report.rows
    ]
    return [header, *rows]


def estimate_cells(estimate: Estimate, form: str) -> tuple[str, str, str]:
    """An estimate as three cells: median, interval, pairs.

    Args:
        estimate: What to show.
        form: Format of its numbers.
    """
    interval = f"{estimate.low:{form}} .. {estimate.high:{form}}"
    return f"{estimate.median:{form}}", interval, str(estimate.pairs)
