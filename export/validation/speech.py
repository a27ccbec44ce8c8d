"""Recordings that an artifact is measured on, none of which INT8 was calibrated on."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.artifact.manifest import Manifest, Recording
from voirs_vocoder.runtime.audio import read_mono, recordings_in, resample
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.files import file_sha256
from voirs_vocoder.runtime.mel import MelSpectrogram, mel_spectrogram

__all__ = ["Speech", "load_speech", "mean_figures", "speech_recordings"]


@dataclass(frozen=True, eq=False)
class Speech:
    """A recording and its mel.

    Attributes:
        recording: Name and hash of the recording.
        samples: Float32 [samples] at the artifact's sample rate, no longer than the mel.
        mel: Mel in the artifact's convention.
    """

    recording: Recording
    samples: NDArray[np.float32]
    mel: MelSpectrogram


def load_speech(folder: Path, manifest: Manifest) -> list[Speech]:
    """The recordings of a folder, sorted by name.

    Raises:
        InputError: There is no such folder, it contains no recordings, or INT8 was calibrated on one of them, which
            would flatter the figures.
    """
    return [_speech(path, manifest) for path in speech_recordings(folder, manifest)]


def mean_figures(rows: Sequence[dict[str, float | None]]) -> dict[str, float | None]:
    """The mean of each figure over the recordings; None where any is None."""
    means: dict[str, float | None] = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        known = [value for value in values if value is not None]
        means[name] = statistics.fmean(known) if len(known) == len(values) else None
    return means


def speech_recordings(folder: Path, manifest: Manifest) -> list[Path]:
    """Paths of the recordings in a folder, sorted by name.

    Raises:
        InputError: There is no such folder, it contains no recordings, or INT8 was calibrated on one of them.
    """
    paths = recordings_in(folder)
    calibrated = (
        {entry.sha256 for entry in manifest.calibration.recordings} if manifest.calibration else set()
    )
    for path in paths:
        if file_sha256(path) in calibrated:
            raise InputError(f"{path}: INT8 was calibrated on this recording; validate on others")
    return paths


def _speech(path: Path, manifest: Manifest) -> Speech:
    audio = read_mono(path)
    samples = resample(audio.samples[0], audio.sample_rate, manifest.sample_rate)
    mel = mel_spectrogram(samples, manifest.sample_rate, manifest.mel)
    length = min(samples.size, mel.values.shape[1] * manifest.hop_length)
    return Speech(Recording(name=path.name, sha256=file_sha256(path)), samples[:length], mel)
