"""Description of a loaded vocoder."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from voirs_vocoder.runtime.mel.convention import MelConvention

__all__ = ["VocoderFeature", "VocoderMetadata"]


class VocoderFeature(Enum):
    """Ability that an artifact has only with graphs of its own.

    Attributes:
        BATCH: Several utterances in one run.
        STREAMING: Live utterances, chunk by chunk.
    """

    BATCH = "batch"
    STREAMING = "stream"


@dataclass(frozen=True)
class VocoderMetadata:
    """Description of a loaded vocoder.

    Attributes:
        family: Model family, such as `hifigan`.
        variant: Published variant of the model, such as `v2`, or `custom`.
        precision: Precision of the graphs that run, such as `fp32`.
        provider: Name of the provider that runs the graphs; the chosen one where `auto` was requested.
        backend: Library that runs the graphs, with its version.
        sample_rate: Sample rate of the audio, in Hz.
        hop_length: Audio samples per mel frame.
        convention: Mel convention of the input.
        look_ahead_frames: Number of mel frames after a frame that its audio depends on.
        licence: SPDX identifier of the weights' license; None when it is unknown.
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
