"""Decoding by FFmpeg, through PyAV: AAC in MP4."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.audio.ffmpeg import import_av
from voirs_vocoder.runtime.errors import InputError

__all__ = ["AV_ENDINGS", "AvSoundFile"]

AV_ENDINGS = (".m4a",)
"""Endings of the files that FFmpeg decodes, which libsndfile cannot."""


class AvSoundFile:
    """An audio file that is read from its beginning to its end, with the part of `soundfile.SoundFile` that this needs.

    Attributes:
        samplerate: Sample rate in Hz.
        channels: Number of channels.
        frames: Number of samples per channel that the header declares; always 0.
        format: Name of the format; always `M4A`.
    """

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            InputError: PyAV is not installed, or the file holds no audio that FFmpeg reads.
        """
        self._av: Any = import_av(str(path))
        self._path = path
        try:
            # One fixed format: FFmpeg would otherwise guess, and follow playlists to other files.
            self._container = self._av.open(str(path), format="mp4")
            stream = self._container.streams.audio[0]
            self.samplerate = int(stream.rate)
            self.channels = int(stream.codec_context.channels)
        except (self._av.FFmpegError, IndexError, TypeError, ValueError) as error:
            raise InputError(
                f"{path}: not audio that FFmpeg reads as MP4 ({error}); replace the file"
            ) from error
        self.format = "M4A"
        # An MP4 declares a length in time, not in samples.
        self.frames = 0
        self._planes = self._decoded()
        self._left = np.empty((self.channels, 0), np.float32)

    def read(self, frames: int, dtype: str, always_2d: bool) -> NDArray[np.float32]:
        """Decode the next samples, float32 [samples, channels]; fewer than `frames` only at the end.

        Raises:
            InputError: The file is damaged.
        """
        del dtype, always_2d
        parts = [self._left]
        have = self._left.shape[1]
        while have < frames:
            try:
                plane = next(self._planes, None)
            except self._av.FFmpegError as error:
                raise InputError(f"{self._path}: damaged ({error}); replace the file") from error
            if plane is None:
                break
            parts.append(plane)
            have += plane.shape[1]
        joined = np.concatenate(parts, axis=1)
        self._left = joined[:, frames:]
        return joined[:, :frames].T

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _decoded(self) -> Any:
        resampler = self._av.AudioResampler(format="fltp")
        for frame in self._container.decode(audio=0):
            for part in resampler.resample(frame):
                yield part.to_ndarray()
