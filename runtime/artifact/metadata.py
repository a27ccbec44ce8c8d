"""What is known of a loaded vocoder."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from voirs_vocoder.runtime.mel.convention import MelConvention

__all__ = ["VocoderFeature", "VocoderMetadata"]


class VocoderFeature(Enum):
    """What an artifact may or may not be able to do."""

    BATCH = "batch"
    STREAMING = "stream"


@dataclass(frozen=True)
class VocoderMetadata:
    """What is known of a loaded vocoder.

    Attributes:
        family: Such as `hifigan`.
        variant: Such as `v2`.
        precision: Of the graph that runs.
        provider: What runs it; under `auto`, what was chosen.
        backend: The same with its version.
        sample_rate: Of the audio, in Hz.
        hop_length: Audio samples per mel frame.
        convention: Of the mel.
        look_ahead_frames: Future mel frames that a frame's audio depends on.
        licence: Of the weights; None when unknown.
    """

    family: str
    variant: str
    precision: str
    provider: str
    backend: str
    sample_rate: int
    hop_length: int
    convention: MelConvention
    look_ahead_frames: int
    licence: str | None
