"""What a benchmark of one artifact found."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import msgspec

from voirs_vocoder.export.bench.paired import Estimate
from voirs_vocoder.runtime.artifact.manifest import Int8Target, Precision

__all__ = [
    "BenchReport",
    "BenchRow",
    "Machine",
    "bench_table",
    "encode_bench",
    "estimate_cells",
    "this_machine",
]


class Machine(msgspec.Struct, frozen=True):
    """What was measured on.

    Attributes:
        processor: As the operating system names it.
        cores: Logical processors.
        system: Operating system and architecture.
        python: Its version.
    """

    processor: str
    cores: int
    system: str
    python: str


class BenchRow(msgspec.Struct, frozen=True, kw_only=True):
    """A graph on a backend.

    Attributes:
        graph: Its precision and target, such as `int8.cpu`.
        precision: Of the graph.
        target: Of an INT8 graph.
        provider: What ran it.
        backend: Library and version.
        rtf: Seconds of compute per second of audio.
        time_ratio: Time divided by that of FP32 in ONNX Runtime on the CPU; below 1 is faster.
        load_s: Importing the runtime and loading the artifact, in a fresh process.
        peak_bytes: The most memory resident in a fresh process that loads and speaks, less the mel and the audio.
        size_bytes: Of the files of that precision and target.
    """

    graph: str
    precision: Precision
    target: Int8Target | None
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
        family: Of the artifact.
        variant: Of the artifact.
        machine: What was measured on.
        threads: Of every backend.
        audio_s: Length of the utterance, in seconds.
        rows: One per graph and backend, FP32 on the CPU first.
    """

    family: str
    variant: str
    machine: Machine
    threads: int
    audio_s: float
    rows: tuple[BenchRow, ...]


def this_machine() -> Machine:
    """Where this process runs."""
    names = Path("/proc/cpuinfo")
    lines = names.read_text(encoding="utf-8").splitlines() if names.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return Machine(
        processor=models[0] if models else platform.machine(),
        cores=os.cpu_count() or 1,
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
    )


def encode_bench(report: BenchReport) -> bytes:
    """The report as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"


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
