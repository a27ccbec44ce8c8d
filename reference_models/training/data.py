"""Recordings for training: held in memory, cut into random segments, the last of them held back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from voirs_vocoder.reference_models.training.mel import TorchMel, mel_padding
from voirs_vocoder.reference_models.training.settings import TrainingSettings
from voirs_vocoder.reference_models.training.task import Batch
from voirs_vocoder.runtime.audio import mono, read_audio, recordings_in, resample
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.mel.convention import MelConvention

__all__ = ["Segments", "Utterance", "load_speech"]

# Segments whose mean power is below, in dB of full scale, are pauses and teach little.
_SILENCE_DB = -50.0
# Of a segment: one step of 16 bits.
_LEAST_PEAK = 1.0 / 32768.0


@dataclass(frozen=True, eq=False)
class Utterance:
    """A recording.

    Attributes:
        name: Name of the recording's file.
        samples: Audio at the model's rate, float32 [samples].
    """

    name: str
    samples: NDArray[np.float32]


def load_speech(
    folder: Path, convention: MelConvention, held_back: int
) -> tuple[list[Utterance], list[Utterance]]:
    """Read a folder of recordings.

    Args:
        folder: Folder whose audio files are read, not those in folders below it.
        convention: Convention of the mels, which decides the sample rate and the shortest usable recording.
        held_back: Number of recordings, the last by name, that are not for training.

    Returns:
        Recordings for training, and those held back.

    Raises:
        InputError: There is no such folder, it has too few recordings, or one of them cannot be read or is too short.
    """
    paths = recordings_in(folder)
    if len(paths) <= held_back:
        raise InputError(
            f"{folder}: training needs more than the {held_back} recordings that are held back, got {len(paths)}; "
            "add recordings or hold back fewer"
        )
    speech = [_utterance(path, convention) for path in paths]
    return speech[:-held_back], speech[-held_back:]


class Segments:
    """Random segments of recordings; step k's depend on the seed and k alone."""

    def __init__(
        self, speech: list[Utterance], convention: MelConvention, settings: TrainingSettings
    ) -> None:
        """Find every place where a segment may start.

        Raises:
            InputError: There is none: every recording is shorter than a segment, or silent.
        """
        self._hop_length = convention.hop_length
        self._padding = mel_padding(convention)
        self._mel = TorchMel(convention)
        self._settings = settings
        self._reach = (settings.segment_frames - 1) * convention.hop_length + convention.n_fft
        starts = [self._starts(utterance.samples) for utterance in speech]
        self._recording = np.repeat(np.arange(len(speech)), [len(own) for own in starts])
        self._start = np.concatenate(starts)
        if not self._start.size:
            raise InputError(
                f"no recording has {settings.segment_frames} frames of speech above {_SILENCE_DB:g} dB; "
                "give longer or louder ones, or a shorter segment"
            )
        # Both ends reflected as the mel's are; a gain scales a reflection like everything else.
        self._padded = [
            np.pad(u.samples, (self._padding, self._padding + convention.n_fft), "reflect") for u in speech
        ]

    def batch(self, step: int) -> Batch:
        """The segments of one step."""
        settings = self._settings
        random = np.random.default_rng((settings.seed, step))
        length = settings.segment_frames * self._hop_length
        around = np.empty((settings.batch, self._reach), np.float32)
        audio = np.empty((settings.batch, 1, length), np.float32)
        for row, place in enumerate(random.integers(self._start.size, size=settings.batch)):
            padded = self._padded[self._recording[place]]
            first = int(self._start[place]) * self._hop_length
            around[row] = padded[first : first + self._reach]
            own = padded[first + self._padding : first + self._padding + length]
            gain = random.uniform(settings.low_gain, settings.high_gain)
            limit = 1.0 / max(float(np.abs(own).max()), _LEAST_PEAK)
            factor = np.float32(min(gain, limit))
            audio[row, 0] = factor * own
            around[row] *= factor
        with torch.no_grad():
            return Batch(torch.from_numpy(audio), self._mel(torch.from_numpy(around)))

    def _starts(self, samples: NDArray[np.float32]) -> NDArray[np.int64]:
        """Frames at which a segment within the recording begins that is no pause."""
        frames, segment = samples.size // self._hop_length, self._settings.segment_frames
        if frames < segment:
            return np.empty(0, np.int64)
        power = np.square(samples[: frames * self._hop_length], dtype=np.float64)
        energy = np.concatenate(([0.0], np.cumsum(power.reshape(frames, -1).sum(axis=1))))
        mean = (energy[segment:] - energy[:-segment]) / (segment * self._hop_length)
        return np.flatnonzero(mean > 10.0 ** (_SILENCE_DB / 10.0)).astype(np.int64)


def _utterance(path: Path, convention: MelConvention) -> Utterance:
    audio = read_audio(path)
    samples = resample(mono(audio.samples), audio.sample_rate, convention.sample_rate)
    least = mel_padding(convention) + convention.n_fft + 1
    if samples.size < least:
        raise InputError(
            f"{path}: a recording must have at least {least} samples at {convention.sample_rate} Hz, got "
            f"{samples.size}; remove it"
        )
    return Utterance(path.name, samples)
