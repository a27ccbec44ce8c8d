"""The mels that calibration runs on: segments of equal length, chosen from a folder in a repeatable way."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.artifact.manifest import Recording
from voirs_vocoder.runtime.audio import AUDIO_ENDINGS, recordings_in
from voirs_vocoder.runtime.errors import InputError, TooShortError
from voirs_vocoder.runtime.files import file_sha256
from voirs_vocoder.runtime.mel import AudioMelSource, MelSource, NpyMelSource
from voirs_vocoder.runtime.mel.convention import MelConvention
from voirs_vocoder.runtime.progress import Progress, silent
from voirs_vocoder.runtime.text import printable

__all__ = ["CalibrationSet", "calibration_set_from_folder"]

_MEL_ENDING = ".npy"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class CalibrationSet:
    """Mels to calibrate on.

    Attributes:
        segments: Float32 [n, n_mels, segment_frames], in the convention of the model.
        recordings: Files that the segments come from, sorted by name.
    """

    segments: NDArray[np.float32]
    recordings: tuple[Recording, ...]


def calibration_set_from_folder(
    folder: Path | str,
    convention: MelConvention,
    *,
    max_segments: int = 40,
    segment_frames: int = 200,
    progress: Progress = silent,
) -> CalibrationSet:
    """Cut recordings or mels into segments and keep some, spread evenly over files and positions.

    A file of F frames offers F // segment_frames segments, the first at its beginning and the last at its end, so
    that leading and trailing silence take part. Files shorter than one segment are left out, with a warning. The same
    files give the same segments.

    Args:
        folder: Folder of .wav, .flac, .ogg or .mp3 recordings, .npy mels, or both; folders inside it are not searched.
        convention: Mel convention of the model; recordings are resampled and transformed, mels are checked.
        max_segments: Largest number of segments, at least 1.
        segment_frames: Length of each segment in mel frames, at least 1.
        progress: Receives the current task, the number of its parts that are done, and the number of parts.

    Raises:
        InputError: A size is below 1, there is no such folder, it holds no recordings, all are too short, or one
            cannot be read.
    """
    folder = Path(folder)
    if min(max_segments, segment_frames) < 1:
        raise InputError(
            f"max_segments and segment_frames must be at least 1, got {max_segments} and {segment_frames}"
        )
    paths = recordings_in(folder, (*AUDIO_ENDINGS, _MEL_ENDING))
    sources: dict[Path, MelSource] = {}
    short: dict[Path, int] = {}
    for done, path in enumerate(paths):
        progress("measuring recordings", done, len(paths))
        source = _open(path, convention)
        if source is not None and source.frames >= segment_frames:
            sources[path] = source
        else:
            short[path] = 0 if source is None else source.frames
    slots = [
        (path, start)
        for path, source in sources.items()
        for start in _even_starts(source.frames, segment_frames)
    ]
    least = (
        f"{segment_frames} frames ({segment_frames * convention.hop_length / convention.sample_rate:.2f} s)"
    )
    if not slots:
        raise InputError(
            f"{folder}: calibration needs recordings of at least {least}, the longest has "
            f"{max(short.values())}; give longer ones"
        )
    for path in short:
        _LOG.warning("%s: left out of calibration, since it is shorter than %s", path.name, least)
    kept = (
        [slots[i * len(slots) // max_segments] for i in range(max_segments)]
        if len(slots) > max_segments
        else slots
    )
    segments: list[NDArray[np.float32]] = []
    recordings: list[Recording] = []
    for path, group in groupby(kept, key=lambda slot: slot[0]):
        progress("computing mels", len(segments), len(kept))
        recordings.append(Recording(name=printable(path.name), sha256=file_sha256(path)))
        segments.extend(sources[path].read(start, start + segment_frames) for _, start in group)
    return CalibrationSet(np.stack(segments), tuple(recordings))


def _open(path: Path, convention: MelConvention) -> MelSource | None:
    """The mel of a file; None of a recording that is too short for a frame."""
    if path.suffix.lower() == _MEL_ENDING:
        return NpyMelSource(path, convention)
    try:
        return AudioMelSource(path, convention)
    except TooShortError:
        return None


def _even_starts(frames: int, segment_frames: int) -> list[int]:
    count = frames // segment_frames
    spare = frames - segment_frames
    return [spare * i // (count - 1) if count > 1 else spare // 2 for i in range(count)]
