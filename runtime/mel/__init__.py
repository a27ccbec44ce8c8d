"""The mel front end: mel spectrograms from audio and files, whole or in windows, and the checks of their values."""

from voirs_vocoder.runtime.mel.npy import NpyMelSource, load_mel
from voirs_vocoder.runtime.mel.source import ArrayMelSource, AudioMelSource, MelSource
from voirs_vocoder.runtime.mel.transform import mel_spectrogram
from voirs_vocoder.runtime.mel.values import (
    MelRangeWarning,
    MelSpectrogram,
    RangeWatch,
    check_mel,
    range_hint,
)

__all__ = [
    "ArrayMelSource",
    "AudioMelSource",
    "MelRangeWarning",
    "MelSource",
    "MelSpectrogram",
    "NpyMelSource",
    "RangeWatch",
    "check_mel",
    "load_mel",
    "mel_spectrogram",
    "range_hint",
]
