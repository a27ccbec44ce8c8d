"""Benchmarks of any artifact: speed and memory of its graphs on this machine, and quality against a stored baseline."""

from __future__ import annotations

from voirs_vocoder.export.bench.artifact import artifact_benchmark
from voirs_vocoder.export.bench.report import BenchReport, BenchRow, bench_table, encode_bench

__all__ = ["BenchReport", "BenchRow", "artifact_benchmark", "bench_table", "encode_bench"]
