"""Recordings that an artifact is measured on, none of which INT8 was calibrated on."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.artifact.manifest import Manifest, Recording
from voirs_vocoder.runtime.audio import read_mono, recordings_in, resample
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.files import file_sha256
from voirs_vocoder.runtime.mel import MelSpectrogram, mel_spectrogram
from voirs_vocoder.runtime.metrics import LEAST_SAMPLES
from voirs_vocoder.runtime.text import printable

__all__ = ["LONGEST_S", "Speech", "load_speech", "speech_recordings"]

LONGEST_S = 600.0
"""Longest recording that is measured, in seconds: metrics hold a recording as a whole, several times over."""

_MOST_NAMED = 5
_LEAST_PEAK = 2.0**-15  # one step of 16 bits
_LOG = logging.getLogger(__name__)


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
    """The recordings of a folder, sorted by name. One that is silent or too short is left out, with a warning.

    Args:
        folder: Folder of recordings.
        manifest: Manifest of the artifact that is measured on them.

    Raises:
        InputError: There is no such folder, it contains no recordings, INT8 was calibrated on one of them, which would
            flatter the figures, one is longer than 10 minutes or cannot be read, or more than half are silent or too
            short.
    """
    paths = speech_recordings(folder, manifest)
    speech: list[Speech] = []
    left_out: list[str] = []
    for path in paths:
        audio = read_mono(path, longest_s=LONGEST_S)
        samples = resample(audio.samples[0], audio.sample_rate, manifest.sample_rate)
        utterance = None if samples.size < LEAST_SAMPLES else _speech(path, samples, manifest)
        if utterance is None or utterance.samples.size < LEAST_SAMPLES or _silent(utterance.samples):
            left_out.append(path.name)
        else:
            speech.append(utterance)
    least = f"{LEAST_SAMPLES} samples at {manifest.sample_rate} Hz"
    if not speech or len(left_out) > len(speech):
        raise InputError(
            f"{folder}: measuring takes recordings of speech of at least {least}, {len(left_out)} of {len(paths)} are "
            f"shorter or silent ({', '.join(left_out[:_MOST_NAMED])}); give others"
        )
    for name in left_out:
        _LOG.warning("%s: left out, since it is silent or shorter than %s", name, least)
    return speech


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


def _silent(samples: NDArray[np.float32]) -> bool:
    return float(np.abs(samples).max()) < _LEAST_PEAK


def _speech(path: Path, samples: NDArray[np.float32], manifest: Manifest) -> Speech:
    try:
        mel = mel_spectrogram(samples, manifest.sample_rate, manifest.mel)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    length = min(samples.size, mel.values.shape[1] * manifest.hop_length)
    return Speech(Recording(name=printable(path.name), sha256=file_sha256(path)), samples[:length], mel)
