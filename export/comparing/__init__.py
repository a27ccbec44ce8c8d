"""Files, folders and artifacts held against each other."""

from voirs_vocoder.export.comparing.artifacts import compare_artifacts
from voirs_vocoder.export.comparing.recordings import compare_recordings
from voirs_vocoder.export.comparing.result import (
    CompareReport,
    Comparison,
    compare_table,
    encode_comparison,
)
from voirs_vocoder.export.comparing.thresholds import parsed_threshold

__all__ = [
    "CompareReport",
    "Comparison",
    "compare_artifacts",
    "compare_recordings",
    "compare_table",
    "encode_comparison",
    "parsed_threshold",
]
