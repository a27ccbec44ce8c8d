"""Speed, pitch and energy of an utterance.

Speed and pitch are changed in the mel: its frames are interpolated along time before the vocoder, which then
synthesizes speech of that rhythm by itself; for another pitch, its audio is resampled, and the formants move along.
DNSMOS rates that above stretching the audio afterwards (`python -m tests.benchmark.prosody` measures it).
Energy is a gain on the audio, which is exact; a louder mel would lie outside the vocoder's training data.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.audio.buffer import AudioBuffer
from voirs_vocoder.runtime.audio.resample import BlockResampler, resampled_length
from voirs_vocoder.runtime.config import VocodingConfig
from voirs_vocoder.runtime.mel import MelSource
from voirs_vocoder.runtime.mel.convention import MelConvention

__all__ = ["Prosody", "ProsodyStream"]

_SEMITONES_PER_OCTAVE = 12.0
_DB_PER_DECADE = 20.0


@dataclass(frozen=True)
class Prosody:
    """How an utterance departs from its mel.

    Attributes:
        made_rate_hz: Sample rate in Hz that the vocoder's audio is resampled from; its pitch changes by the factor
            `made_rate_hz / sample_rate`.
        sample_rate: Sample rate of the final audio in Hz.
        frame_step: Frames of the mel for each frame of the vocoder's input.
        gain: Factor on the samples.
    """

    made_rate_hz: int
    sample_rate: int
    frame_step: float
    gain: np.float32

    @classmethod
    def of(cls, config: VocodingConfig, sample_rate: int) -> Prosody:
        """Derive the prosody from the settings of an utterance and the sample rate of the audio in Hz."""
        made_rate_hz = round(sample_rate * 2.0 ** (config.pitch_semitones / _SEMITONES_PER_OCTAVE))
        return cls(
            made_rate_hz=made_rate_hz,
            sample_rate=sample_rate,
            frame_step=config.speed * sample_rate / made_rate_hz,
            gain=np.float32(10.0 ** (config.energy_db / _DB_PER_DECADE)),
        )

    def frames(self, frames: int) -> int:
        """Number of frames of the vocoder's input for a mel of `frames` frames."""
        return max(1, round(frames / self.frame_step))

    def samples(self, frames: int, hop_length: int) -> int:
        """Number of samples of the final audio for a mel of `frames` frames."""
        return resampled_length(self.frames(frames) * hop_length, self.made_rate_hz, self.sample_rate)

    def mel(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turn a whole mel into the vocoder's input: [n_mels, frames] -> [n_mels, other frames]."""
        if self.frame_step == 1.0:
            return values
        return _interpolated(values, 0, self.places(0, self.frames(values.shape[1])), values.shape[1])

    def source(self, source: MelSource) -> MelSource:
        """Turn a mel that is read piece by piece into the vocoder's input."""
        return source if self.frame_step == 1.0 else _StretchedSource(source, self)

    def audio(self, blocks: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        """Turn the vocoder's audio into the final audio: consecutive blocks [samples] of any length."""
        resampler = BlockResampler(self.made_rate_hz, self.sample_rate)
        for block in blocks:
            yield self.louder(resampler.push(block))
        rest = resampler.finish()
        if rest.size:
            yield self.louder(rest)

    def louder(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Apply the gain to samples of any shape."""
        return samples if self.gain == 1.0 else samples * self.gain

    def buffer(self, audio: AudioBuffer) -> AudioBuffer:
        """Turn the vocoder's audio of a whole utterance, mono, into the final audio."""
        samples = np.concatenate(list(self.audio([audio.samples[0]])))
        return AudioBuffer(samples[np.newaxis], audio.sample_rate)

    def places(self, start: int, stop: int) -> NDArray[np.float64]:
        """Positions in the mel, in frames from its first, of frames of the vocoder's input: float64 [stop - start]."""
        # Frames are intervals whose middles stand for them.
        return (np.arange(start, stop, dtype=np.float64) + 0.5) * self.frame_step - 0.5


class ProsodyStream:
    """The prosody of a live utterance."""

    def __init__(self, prosody: Prosody, n_mels: int) -> None:
        """Start at the beginning of an utterance.

        Args:
            prosody: Change of the utterance.
            n_mels: Number of mel bands.
        """
        self._prosody = prosody
        self._kept = np.empty((n_mels, 0), np.float32)
        self._first = 0  # place of the first frame that is kept
        self._made = 0
        self._resampler = BlockResampler(prosody.made_rate_hz, prosody.sample_rate)

    def push(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take mel frames [n_mels, frames] and return the vocoder's input frames that no later frame can change."""
        if self._prosody.frame_step == 1.0:
            return values
        self._kept = np.concatenate((self._kept, values), axis=1)
        end = self._first + self._kept.shape[1]
        known = int(np.floor((end - 0.5) / self._prosody.frame_step + 0.5))
        ready = self._made + int(np.count_nonzero(self._prosody.places(self._made, known + 1) <= end - 1))
        return self._frames(ready, end)

    def finish(self) -> NDArray[np.float32]:
        """End the utterance and return the rest of the vocoder's input frames."""
        end = self._first + self._kept.shape[1]
        if self._prosody.frame_step == 1.0 or end == 0:
            return self._kept[:, :0]
        return self._frames(self._prosody.frames(end), end)

    def audio(self, samples: NDArray[np.float32], *, last: bool) -> NDArray[np.float32]:
        """Turn the vocoder's next audio [samples] into final audio; `last` ends the utterance."""
        shaped = self._resampler.push(samples)
        if last:
            shaped = np.concatenate((shaped, self._resampler.finish()))
        return self._prosody.louder(shaped)

    def _frames(self, ready: int, end: int) -> NDArray[np.float32]:
        places = self._prosody.places(self._made, ready)
        made = _interpolated(self._kept, self._first, places, end)
        self._made = ready
        # The next place may fall between the last frame that is used and the one after it.
        needed = int(np.floor(self._prosody.places(ready, ready + 1)[0]))
        unused = min(max(0, needed - self._first), max(0, self._kept.shape[1] - 1))
        self._kept = self._kept[:, unused:].copy()
        self._first += unused
        return made


class _StretchedSource:
    """A `MelSource` whose frames are interpolated as they are read."""

    def __init__(self, source: MelSource, prosody: Prosody) -> None:
        self._source = source
        self._prosody = prosody

    @property
    def frames(self) -> int:
        return self._prosody.frames(self._source.frames)

    @property
    def convention(self) -> MelConvention:
        return self._source.convention

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        places = self._prosody.places(start, min(stop, self.frames))
        total = self._source.frames
        first = int(np.clip(np.floor(places[0]), 0, total - 1)) if places.size else 0
        last = int(np.clip(np.floor(places[-1]) + 2, first + 1, total)) if places.size else first
        return _interpolated(self._source.read(first, last), first, places, total)


def _interpolated(
    values: NDArray[np.float32], first: int, places: NDArray[np.float64], total: int
) -> NDArray[np.float32]:
    """Interpolate linearly between frames; beyond the ends, repeat the outermost frame.

    Args:
        values: Mel frames from `first` on, [n_mels, frames], as far as they are needed.
        first: Position of the first frame of `values` in the mel.
        places: Positions to interpolate at, float64 [frames], ascending.
        total: Number of frames of the whole mel.
    """
    places = np.clip(places, 0, total - 1)
    left = np.floor(places).astype(np.int64)
    right = np.minimum(left + 1, total - 1)
    weight = (places - left).astype(np.float32)
    low, high = values[:, left - first], values[:, np.minimum(right - first, values.shape[1] - 1)]
    made: NDArray[np.float32] = low + (high - low) * weight
    return made
