"""Recordings for training: held in memory, cut into random segments, the last of them held back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from voirs_vocoder.reference_models.training.mel import TorchMel
from voirs_vocoder.reference_models.training.settings import TrainingSettings
from voirs_vocoder.reference_models.training.task import Batch, on_device
from voirs_vocoder.runtime.audio import read_mono, recordings_in, resample
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.mel.convention import MelConvention
from voirs_vocoder.runtime.mel.transform import mel_padding

__all__ = ["Segments", "Utterance", "load_speech"]

# Segments whose mean power is below, in dB of full scale, are pauses and teach little.
_SILENCE_DB = -50.0
# Of a segment: one step of 16 bits.
_LEAST_PEAK = 1.0 / 32768.0
_CPU = torch.device("cpu")


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
        self,
        speech: list[Utterance],
        convention: MelConvention,
        settings: TrainingSettings,
        device: torch.device = _CPU,
    ) -> None:
        """Find every place where a segment may start.

        Args:
            speech: Recordings for training.
            convention: Convention of the mels.
            settings: Length and number of the segments of a step, their gains, and the seed.
            device: Device that holds the recordings, cuts the segments and computes their mels.

        Raises:
            InputError: There is none: every recording is shorter than a segment, or silent.
        """
        self._hop_length = convention.hop_length
        self._padding = mel_padding(convention)
        self._mel = TorchMel(convention).to(device)
        self._device = device
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
        # Both ends padded as the mel's are; a gain scales a reflection like everything else.
        mode: Literal["reflect", "constant"] = "reflect" if convention.padding == "reflect" else "constant"
        padded = [np.pad(u.samples, (self._padding, self._padding + convention.n_fft), mode) for u in speech]
        self._offset = np.cumsum([0, *(own.size for own in padded[:-1])])
        self._speech = torch.from_numpy(np.concatenate(padded)).to(device)
        self._positions = torch.arange(self._reach, device=device)

    def batch(self, step: int) -> Batch:
        """The segments of one step."""
        settings = self._settings
        random = np.random.default_rng((settings.seed, step))
        length = settings.segment_frames * self._hop_length
        places = random.integers(self._start.size, size=settings.batch)
        gains = random.uniform(settings.low_gain, settings.high_gain, size=settings.batch)
        first = self._offset[self._recording[places]] + self._start[places] * self._hop_length
        with torch.no_grad():
            starts = on_device(torch.from_numpy(first), self._device)
            around = self._speech[starts[:, None] + self._positions]
            own = around[:, self._padding : self._padding + length]
            limits = 1.0 / own.abs().amax(dim=1).double().clamp(min=_LEAST_PEAK)
            factors = torch.minimum(on_device(torch.from_numpy(gains), self._device), limits).float()[:, None]
            return Batch((factors * own)[:, None], self._mel(factors * around))

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
    audio = read_mono(path)
    samples = resample(audio.samples[0], audio.sample_rate, convention.sample_rate)
    least = mel_padding(convention) + convention.n_fft + 1
    if samples.size < least:
        raise InputError(
            f"{path}: a recording must have at least {least} samples at {convention.sample_rate} Hz, got "
            f"{samples.size}; remove it"
        )
    return Utterance(path.name, samples)
