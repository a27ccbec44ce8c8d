"""What audio is like by itself: levels, loudness, spectrum, tones, and whether an output is fit to be heard."""

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
