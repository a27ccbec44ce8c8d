"""Mels of any length by position, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.audio import audio_blocks, audio_info, mono, resampled_blocks, resampled_length
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.mel.convention import MelConvention
from voirs_vocoder.runtime.mel.transform import frame_count, mel_blocks
from voirs_vocoder.runtime.mel.values import check_mel

__all__ = ["ArrayMelSource", "AudioMelSource", "MelSource"]


class MelSource(Protocol):
    """Mel frames by position."""

    @property
    def frames(self) -> int:
        """How many frames there are."""
        ...

    @property
    def convention(self) -> MelConvention:
        """What the values mean."""
        ...

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Frames start to stop, float32 [n_mels, count]; fewer than asked for only at the end.

        Raises:
            InputError: The input turns out to be unusable.
        """
        ...


class ArrayMelSource:
    """Windows of an array.

    Attributes:
        values: Float32 [n_mels, frames].
        frames: How many there are.
        convention: What the values mean.

    Raises:
        InputError: The values break a rule of `check_mel`.
    """

    def __init__(self, values: NDArray[np.float32], convention: MelConvention) -> None:
        self.values = check_mel(values, convention)
        self.frames = self.values.shape[1]
        self.convention = convention

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Frames start to stop, a view [n_mels, count]; fewer than asked for only at the end."""
        return self.values[:, start:stop]


class AudioMelSource:
    """Windows of a recording's mel, computed while it is read: equal to `mel_spectrogram` of the whole.

    The recording is decoded once beforehand, since headers may lie about its length and a damaged end should be known
    before anything is made of the beginning. Reading forwards, with windows that overlap, computes every frame once;
    reading from before the last window's start begins again.

    Attributes:
        frames: How many there are.
        convention: What is computed.

    Raises:
        InputError: As `read_audio`, or the recording is too short.
    """

    def __init__(self, path: Path | str, convention: MelConvention) -> None:
        self._path = Path(path)
        self.convention = convention
        info = audio_info(self._path)
        self.frames = frame_count(
            resampled_length(info.samples, info.sample_rate, convention.sample_rate), convention
        )
        self._sample_rate = info.sample_rate
        self._recent = np.empty((convention.n_mels, 0), np.float32)
        self._first = 0
        self._blocks = self._mel_blocks()

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Frames start to stop, float32 [n_mels, count]; fewer than asked for only at the end.

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
        mono_blocks = map(mono, audio_blocks(self._path))
        at_rate = resampled_blocks(mono_blocks, self._sample_rate, self.convention.sample_rate)
        return mel_blocks(at_rate, self.convention)

    def _forget_before(self, start: int) -> None:
        count = min(max(0, start - self._first), self._recent.shape[1])
        self._recent = self._recent[:, count:]
        self._first += count
