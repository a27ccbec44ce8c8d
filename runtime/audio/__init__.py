"""Audio: in memory, read from files that nobody vouches for, and changed in rate."""

from voirs_vocoder.runtime.audio.buffer import AudioBuffer, array_blocks, mono
from voirs_vocoder.runtime.audio.read import (
    AUDIO_ENDINGS,
    AudioInfo,
    SequentialSoundFile,
    audio_blocks,
    audio_info,
    read_audio,
)
from voirs_vocoder.runtime.audio.resample import resample, resampled_blocks, resampled_length

__all__ = [
    "AUDIO_ENDINGS",
    "AudioBuffer",
    "AudioInfo",
    "SequentialSoundFile",
    "array_blocks",
    "audio_blocks",
    "audio_info",
    "mono",
    "read_audio",
    "resample",
    "resampled_blocks",
    "resampled_length",
]
