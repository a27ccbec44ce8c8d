"""The mels that calibration runs on: segments of equal length, chosen from a folder by what is in them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.calibration.selection import SegmentPool, frame_measures, segment_scores
from voirs_vocoder.runtime.artifact.manifest import MAX_SEGMENTS, CalibrationSegment, Recording
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
        chosen: Where each segment comes from and what it was chosen for, in the order of `segments`.
    """

    segments: NDArray[np.float32]
    recordings: tuple[Recording, ...]
    chosen: tuple[CalibrationSegment, ...]


def calibration_set_from_folder(
    folder: Path | str,
    convention: MelConvention,
    *,
    max_segments: int = 40,
    segment_frames: int = 200,
    progress: Progress = silent,
) -> CalibrationSet:
    """Cut recordings or mels into segments and keep some, balanced over the classes of `SEGMENT_CLASSES`.

    A file of F frames offers F // segment_frames segments, the first at its beginning and the last at its end, so
    that leading and trailing silence take part. Files shorter than one segment are left out, with a warning, and copies
    of a file count once. The same files give the same segments in any folder. One file is read at a
    time, in windows: memory does not grow with the corpus.

    Args:
        folder: Folder of .wav, .flac, .ogg or .mp3 recordings, .npy mels, or both; folders inside it are not searched.
        convention: Mel convention of the model; recordings are resampled and transformed, mels are checked.
        max_segments: Largest number of segments, in [1, 16384].
        segment_frames: Length of each segment in mel frames, at least 1.
        progress: Receives the current task, the number of its parts that are done, and the number of parts.

    Raises:
        InputError: A size is out of range, there is no such folder, it holds no recordings, all are too short, or one
            cannot be read.
    """
    folder = Path(folder)
    if not 1 <= max_segments <= MAX_SEGMENTS or segment_frames < 1:
        raise InputError(
            f"max_segments must be in [1, {MAX_SEGMENTS}] and segment_frames at least 1, got {max_segments} and "
            f"{segment_frames}"
        )
    paths = recordings_in(folder, (*AUDIO_ENDINGS, _MEL_ENDING))
    least = (
        f"{segment_frames} frames ({segment_frames * convention.hop_length / convention.sample_rate:.2f} s)"
    )
    pool = SegmentPool(max_segments)
    measured: dict[str, Path] = {}
    longest = 0
    for done, path in enumerate(paths):
        progress("measuring recordings", done, len(paths))
        source = _open(path, convention)
        frames = 0 if source is None else source.frames
        longest = max(longest, frames)
        if source is None or frames < segment_frames:
            _LOG.warning("%s: left out of calibration, since it is shorter than %s", path.name, least)
            continue
        recording = file_sha256(path)
        if recording not in measured:
            measured[recording] = path
            starts = _even_starts(frames, segment_frames)
            measures = [
                frame_measures(source.read(start, start + segment_frames), convention) for start in starts
            ]
            pool.offer(recording, starts, segment_scores(measures))
    if not measured:
        raise InputError(
            f"{folder}: calibration needs recordings of at least {least}, the longest has {longest}; give longer ones"
        )
    chosen = sorted(
        (measured[recording], start, recording, name) for (recording, start), name in pool.chosen().items()
    )
    segments: list[NDArray[np.float32]] = []
    recordings: list[Recording] = []
    for (path, recording), group in groupby(chosen, key=lambda each: (each[0], each[2])):
        progress("computing mels", len(segments), len(chosen))
        source = _open(path, convention)
        for _, start, _, _ in group:
            segment = (
                np.empty((0, 0), np.float32) if source is None else source.read(start, start + segment_frames)
            )
            if segment.shape[1] != segment_frames:
                raise InputError(f"{path}: the file changed while it was read; start again")
            segments.append(segment)
        recordings.append(Recording(name=printable(path.name), sha256=recording))
    return CalibrationSet(
        np.stack(segments),
        tuple(recordings),
        tuple(
            CalibrationSegment(recording=recording, start=start, frames=segment_frames, chosen_for=name)
            for _, start, recording, name in chosen
        ),
    )


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
