"""Benchmarks: of any artifact, without torch, and of the project itself.

`artifact_benchmark` is the former; `python -m voirs_vocoder.export.bench` runs the latter.
"""

from __future__ import annotations

from voirs_vocoder.export.bench.artifact import artifact_benchmark
from voirs_vocoder.export.bench.report import BenchReport, BenchRow, bench_table, encode_bench

__all__ = ["BenchReport", "BenchRow", "artifact_benchmark", "bench_table", "encode_bench"]
