"""Mels of any length, read in windows, so that memory stays bounded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.audio import audio_info, mono_blocks, resampled_blocks, resampled_length
from voirs_vocoder.runtime.errors import InputError, TooShortError
from voirs_vocoder.runtime.mel.convention import MelConvention
from voirs_vocoder.runtime.mel.transform import frame_count, mel_blocks
from voirs_vocoder.runtime.mel.values import check_mel

__all__ = ["ArrayMelSource", "AudioMelSource", "MelSource"]


class MelSource(Protocol):
    """Mel frames that are read in windows."""

    @property
    def frames(self) -> int:
        """Number of frames."""
        ...

    @property
    def convention(self) -> MelConvention:
        """Convention of the values."""
        ...

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Read the frames from `start` up to and without `stop`, float32 [n_mels, count]; fewer only at the end.

        Raises:
            InputError: The values are not finite, or the file has changed or cannot be read.
        """
        ...


class ArrayMelSource:
    """Windows of an array.

    Attributes:
        values: The mel, float32 [n_mels, frames].
        frames: Number of frames.
        convention: Convention of the values.

    Raises:
        InputError: The values break a rule of `check_mel`.
    """

    def __init__(self, values: NDArray[np.float32], convention: MelConvention) -> None:
        self.values = check_mel(values, convention)
        self.frames = self.values.shape[1]
        self.convention = convention

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """View of the frames from `start` up to and without `stop`, [n_mels, count]; fewer only at the end."""
        return self.values[:, start:stop]


class AudioMelSource:
    """Windows of a recording's mel, computed while it is read: equal to `mel_spectrogram` of the whole recording.

    The recording is decoded once beforehand, since its header may state a wrong length, and damage at its end should be
    known before the beginning is used. Windows in order, which may overlap, compute every frame once; a window that
    begins before the previous one restarts the decoding.

    Args:
        path: An audio file.
        convention: Convention of the mel.
        channel: Number of the only channel to take, 1 being the first; None takes the value of `audio.reading`, by
            default a mix of all.
        allow_truncated: True uses a recording that was cut off as far as it goes, with a `RecordingWarning`; False
            refuses it; None takes the value of `audio.reading`, by default False.

    Attributes:
        frames: Number of frames.
        convention: Convention of the mel.

    Raises:
        InputError: The file is missing, not audio, damaged or cut off, there is no such channel, or it cannot
            be used otherwise.
        TooShortError: The recording is too short for a frame.
    """

    def __init__(
        self,
        path: Path | str,
        convention: MelConvention,
        *,
        channel: int | None = None,
        allow_truncated: bool | None = None,
    ) -> None:
        self._path = Path(path)
        self.convention = convention
        self._channel = channel
        self._allow_truncated = allow_truncated
        info = audio_info(self._path, allow_truncated=allow_truncated)
        samples = resampled_length(info.samples, info.sample_rate, convention.sample_rate)
        try:
            self.frames = frame_count(samples, convention)
        except TooShortError as error:
            raise TooShortError(f"{path}: {error}") from error
        self._sample_rate = info.sample_rate
        self._recent = np.empty((convention.n_mels, 0), np.float32)
        self._first = 0
        self._blocks = self._mel_blocks()

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Read the frames from `start` up to and without `stop`, float32 [n_mels, count]; fewer only at the end.

        Raises:
            InputError: The file has changed since it was opened.
        """
        start, stop = min(start, self.frames), min(stop, self.frames)
        if start < self._first:
            self._recent = self._recent[:, :0]
            self._first = 0
            self._blocks = self._mel_blocks()
        self._forget_before(start)
        while self._first + self._recent.shape[1] < stop:
            block = next(self._blocks, None)
            if block is None:
                raise InputError(f"{self._path}: the file changed while it was read; start again")
            self._recent = np.concatenate((self._recent, block), axis=1)
            self._forget_before(start)
        return self._recent[:, start - self._first : max(0, stop - self._first)].copy()

    def _mel_blocks(self) -> Iterator[NDArray[np.float32]]:
        blocks = mono_blocks(self._path, channel=self._channel, allow_truncated=self._allow_truncated)
        at_rate = resampled_blocks(blocks, self._sample_rate, self.convention.sample_rate)
        return mel_blocks(at_rate, self.convention)

    def _forget_before(self, start: int) -> None:
        count = min(max(0, start - self._first), self._recent.shape[1])
        self._recent = self._recent[:, count:]
        self._first += count
