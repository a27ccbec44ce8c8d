"""Analysis of audio without a reference: levels, loudness, spectrum, tones, and checks of an output."""

from voirs_vocoder.runtime.analysis.output_checks import (
    OutputCheck,
    OutputChecker,
    OutputLimits,
    OutputReport,
    check_output,
)
from voirs_vocoder.runtime.analysis.summary import AudioAnalysis, analyse
from voirs_vocoder.runtime.analysis.tone import Harmonics, dynamic_range_db, harmonics, thd_n_percent

__all__ = [
    "AudioAnalysis",
    "Harmonics",
    "OutputCheck",
    "OutputChecker",
    "OutputLimits",
    "OutputReport",
    "analyse",
    "check_output",
    "dynamic_range_db",
    "harmonics",
    "thd_n_percent",
]
