"""Comparison of files, folders and artifacts."""

from voirs_vocoder.export.validation.compare.artifacts import compare_artifacts
from voirs_vocoder.export.validation.compare.recordings import compare_recordings
from voirs_vocoder.export.validation.compare.report import (
    CompareReport,
    Comparison,
    compare_table,
    encode_comparison,
)
from voirs_vocoder.export.validation.compare.thresholds import parsed_threshold

__all__ = [
    "CompareReport",
    "Comparison",
    "compare_artifacts",
    "compare_recordings",
    "compare_table",
    "encode_comparison",
    "parsed_threshold",
]
