"""Decoding by FFmpeg, through PyAV: AAC in MP4."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.audio.containers import Container
from voirs_vocoder.runtime.audio.ffmpeg import import_av
from voirs_vocoder.runtime.errors import InputError

__all__ = ["AV_ENDINGS", "AvDecoder"]

AV_ENDINGS = (".m4a",)
"""Endings of the files that FFmpeg decodes, which libsndfile cannot."""


class AvDecoder:
    """Decoder of AAC in MP4; attributes and methods are those of `decoder.Decoder`."""

    def __init__(self, container: Container, where: str) -> None:
        """Read the header.

        Args:
            container: Container of the recording.
            where: Beginning of the error message, such as the path of the file.

        Raises:
            InputError: PyAV is not installed, or the file holds no audio that FFmpeg reads.
        """
        self._av: Any = import_av(where)
        self._container: Any = None
        try:
            # One fixed format: FFmpeg would otherwise guess, and follow playlists to other files.
            self._container = self._av.open(container.file, format="mp4")
            stream = self._container.streams.audio[0]
            # A stream without a codec has none of these.
            self.sample_rate = int(stream.codec_context.sample_rate)
            self.channels = int(stream.codec_context.channels)
        except (self._av.FFmpegError, AttributeError, IndexError, TypeError, ValueError) as error:
            self.close()
            if container.cut is not None:
                raise InputError(f"{where}: cut off: {container.cut}; get the whole file") from error
            reason = getattr(error, "strerror", None) or "it has no audio of a known codec"
            raise InputError(
                f"{where}: not audio that FFmpeg reads as MP4 ({reason}); replace the file"
            ) from error
        # An MP4 declares a length in time, not in samples.
        self.declared_samples: int | None = None
        self.layout: str | None = "wav"
        self._planes = self._decoded()
        self._left = np.empty((self.channels, 0), np.float32)

    def decode(self, samples: int) -> tuple[NDArray[np.float32], str | None]:
        """Decode the next samples, as `Decoder.decode` states."""
        parts = [self._left]
        have = self._left.shape[1]
        reason = None
        while have < samples:
            try:
                plane = next(self._planes, None)
            except (self._av.FFmpegError, ValueError) as error:
                reason = getattr(error, "strerror", None) or str(error)
                break
            if plane is None:
                break
            if plane.shape[0] != self.channels:
                reason = f"the number of channels changes from {self.channels} to {plane.shape[0]}"
                break
            parts.append(plane)
            have += plane.shape[1]
        joined = np.concatenate(parts, axis=1)
        self._left = joined[:, samples:]
        return np.ascontiguousarray(joined[:, :samples]), reason

    def close(self) -> None:
        """Free the decoder; the file stays open."""
        if self._container is not None:
            self._container.close()

    def _decoded(self) -> Any:
        resampler = self._av.AudioResampler(format="fltp")
        for frame in self._container.decode(audio=0):
            for part in resampler.resample(frame):
                yield part.to_ndarray()
