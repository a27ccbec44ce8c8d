"""Encoding by FFmpeg, through PyAV: AAC in MP4."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.audio.encoders.backend import AudioTags, ByteTarget
from voirs_vocoder.runtime.audio.ffmpeg import aac_problem, import_av
from voirs_vocoder.runtime.audio.formats import AudioFormat
from voirs_vocoder.runtime.errors import InputError

__all__ = ["AvBackend"]

_LAYOUTS = {1: "mono", 2: "stereo"}
_BIT_RATE_PER_CHANNEL = 96_000
# Output that is complete without seeking back: a header without an index, then fragments.
_STREAMED = {"movflags": "frag_every_frame+empty_moov+default_base_moof"}
_TAGS = {"title": "title", "artist": "artist", "comment": "comment", "software": "encoder"}


class AvBackend:
    """The backend for AAC in MP4."""

    def __init__(
        self,
        target: ByteTarget,
        audio_format: AudioFormat,
        rate: int,
        channels: int,
        tags: AudioTags,
        streamed: bool,
        where: str,
    ) -> None:
        """Open the encoder.

        Raises:
            InputError: PyAV or the encoder is missing, or there are more than two channels.
        """
        self._av: Any = import_av(where)
        problem = aac_problem()
        if problem is not None:
            raise InputError(f"{where}: {problem}")
        if channels not in _LAYOUTS:
            raise InputError(
                f"{where}: {audio_format.name} takes 1 or 2 channels, got {channels}; mix them down"
            )
        self._where = where
        self._layout = _LAYOUTS[channels]
        self._rate = rate
        self._position = 0
        options = _STREAMED if streamed else {}
        self._container = self._av.open(target, "w", format=audio_format.container, options=options)
        for name, key in _TAGS.items():
            if getattr(tags, name):
                self._container.metadata[key] = getattr(tags, name)
        self._stream = self._container.add_stream(audio_format.codec, rate=rate, layout=self._layout)
        self._stream.bit_rate = _BIT_RATE_PER_CHANNEL * channels

    def write(self, values: NDArray[np.int32] | NDArray[np.float32]) -> None:
        """Encode the next samples, float32 [channels, samples] in [-1, 1]."""
        frame = self._av.AudioFrame.from_ndarray(
            np.ascontiguousarray(values, np.float32), format="fltp", layout=self._layout
        )
        frame.sample_rate = self._rate
        frame.pts = self._position
        self._position += values.shape[1]
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Encode the remaining samples and end the file; the target stays open."""
        self._container.mux(self._stream.encode(None))
        self._container.close()
