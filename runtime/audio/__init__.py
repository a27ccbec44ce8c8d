"""Audio: buffers in memory, reading of untrusted files, editing, resampling and encoding."""

from voirs_vocoder.runtime.audio.buffer import AudioBuffer, array_blocks, mono
from voirs_vocoder.runtime.audio.decoder import SequentialSoundFile
from voirs_vocoder.runtime.audio.encoder import ResampledWarning
from voirs_vocoder.runtime.audio.encoders.backend import AudioTags
from voirs_vocoder.runtime.audio.folder import AUDIO_ENDINGS, recordings_in
from voirs_vocoder.runtime.audio.formats import AUDIO_FORMATS
from voirs_vocoder.runtime.audio.mixing import RecordingWarning
from voirs_vocoder.runtime.audio.pcm import float_from_pcm, pcm_from_float
from voirs_vocoder.runtime.audio.read import (
    AudioInfo,
    audio_blocks,
    audio_info,
    mono_blocks,
    read_audio,
    read_mono,
    reading,
)
from voirs_vocoder.runtime.audio.resample import resample, resampled_blocks, resampled_length
from voirs_vocoder.runtime.audio.stream_encoder import StreamEncoder

__all__ = [
    "AUDIO_ENDINGS",
    "AUDIO_FORMATS",
    "AudioBuffer",
    "AudioInfo",
    "AudioTags",
    "RecordingWarning",
    "ResampledWarning",
    "SequentialSoundFile",
    "StreamEncoder",
    "array_blocks",
    "audio_blocks",
    "audio_info",
    "float_from_pcm",
    "mono",
    "mono_blocks",
    "pcm_from_float",
    "read_audio",
    "read_mono",
    "reading",
    "recordings_in",
    "resample",
    "resampled_blocks",
    "resampled_length",
]
