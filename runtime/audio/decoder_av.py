"""What FFmpeg reads, through PyAV: AAC in MP4."""

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
"""Of files that libsndfile does not read and FFmpeg does."""


class AvSoundFile:
    """A file that is read from its beginning to its end, as `soundfile.SoundFile` is.

    Attributes:
        samplerate: In Hz.
        channels: How many.
        frames: How many samples per channel its header declares.
        format: Of the file.
    """

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            InputError: PyAV is not installed, or the file holds no audio that FFmpeg reads.
        """
        self._av: Any = import_av(str(path))
        self._path = path
        try:
            # Only what was asked for: FFmpeg would otherwise guess, and follow playlists to other files.
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
        """The next samples, float32 [samples, channels]; fewer than asked for only at the end.

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
