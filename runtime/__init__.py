"""The runtime: artifacts in, audio out. Imports neither torch nor onnx, and each name only when it is used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voirs_vocoder.runtime.aio import AioConfig, AsyncVocoder
    from voirs_vocoder.runtime.artifact.metadata import VocoderFeature, VocoderMetadata
    from voirs_vocoder.runtime.artifact.reading import Artifact
    from voirs_vocoder.runtime.audio import (
        AudioBuffer,
        AudioTags,
        RecordingWarning,
        StreamEncoder,
        read_audio,
    )
    from voirs_vocoder.runtime.audio.write import AudioWriter, write_audio
    from voirs_vocoder.runtime.batch import BatchError
    from voirs_vocoder.runtime.config import SessionConfig, VocodingConfig
    from voirs_vocoder.runtime.dummy import DummyVocoder
    from voirs_vocoder.runtime.effects import EffectChain, load_chain
    from voirs_vocoder.runtime.errors import ArtifactError, InputError, ProviderError, VoirsVocoderError
    from voirs_vocoder.runtime.mel import (
        ArrayMelSource,
        AudioMelSource,
        MelRangeWarning,
        MelSource,
        MelSpectrogram,
        NpyMelSource,
        load_mel,
        mel_spectrogram,
    )
    from voirs_vocoder.runtime.mel.convention import MelConvention, get_convention
    from voirs_vocoder.runtime.streaming import StreamingConfig, StreamStatistics, VocoderStream
    from voirs_vocoder.runtime.vocoder import Vocoder

__all__ = [
    "AioConfig",
    "ArrayMelSource",
    "Artifact",
    "ArtifactError",
    "AsyncVocoder",
    "AudioBuffer",
    "AudioMelSource",
    "AudioTags",
    "AudioWriter",
    "BatchError",
    "DummyVocoder",
    "EffectChain",
    "InputError",
    "MelConvention",
    "MelRangeWarning",
    "MelSource",
    "MelSpectrogram",
    "NpyMelSource",
    "ProviderError",
    "RecordingWarning",
    "SessionConfig",
    "StreamEncoder",
    "StreamStatistics",
    "StreamingConfig",
    "Vocoder",
    "VocoderFeature",
    "VocoderMetadata",
    "VocoderStream",
    "VocodingConfig",
    "VoirsVocoderError",
    "get_convention",
    "load_chain",
    "load_mel",
    "mel_spectrogram",
    "read_audio",
    "write_audio",
]

_HOMES = {
    "aio": ("AioConfig", "AsyncVocoder"),
    "artifact": ("Artifact",),
    "audio": ("AudioBuffer", "AudioTags", "RecordingWarning", "StreamEncoder", "read_audio"),
    "audio.write": ("AudioWriter", "write_audio"),
    "batch": ("BatchError",),
    "config": ("SessionConfig", "VocodingConfig"),
    "mel.convention": ("MelConvention", "get_convention"),
    "dummy": ("DummyVocoder",),
    "effects": ("EffectChain", "load_chain"),
    "errors": ("ArtifactError", "InputError", "ProviderError", "VoirsVocoderError"),
    "mel": (
        "ArrayMelSource",
        "AudioMelSource",
        "MelRangeWarning",
        "MelSource",
        "MelSpectrogram",
        "NpyMelSource",
        "load_mel",
        "mel_spectrogram",
    ),
    "streaming": ("StreamStatistics", "StreamingConfig", "VocoderStream"),
    "artifact.metadata": ("VocoderFeature", "VocoderMetadata"),
    "vocoder": ("Vocoder",),
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
