"""Recordings against recordings: two files, or the files of two folders with the same names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from voirs_vocoder.export.precisions import Gate
from voirs_vocoder.export.validation.compare.alignment import Aligned, aligned
from voirs_vocoder.export.validation.compare.report import CompareReport, comparison_of
from voirs_vocoder.export.validation.kept_audio import KeptAudio
from voirs_vocoder.export.validation.means import undefined_lines
from voirs_vocoder.export.validation.report import RecordingFigures
from voirs_vocoder.export.validation.speech import LONGEST_S
from voirs_vocoder.runtime.audio import read_mono, recordings_in
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.mel.convention import MelConvention, get_convention
from voirs_vocoder.runtime.metrics import LEAST_SAMPLES, METRICS, measure
from voirs_vocoder.runtime.progress import Progress, silent
from voirs_vocoder.runtime.text import printable

__all__ = ["compare_recordings"]

_CONVENTION = "hifigan-22k"
# Figures that compare mels, whose convention has its own sample rate.
_IN_MELS = ("mel_l1", "mcd_db")


def compare_recordings(
    reference: Path,
    degraded: Path,
    *,
    thresholds: Sequence[Gate] = (),
    align: bool = False,
    kept_audio: KeptAudio | None = None,
    progress: Progress = silent,
) -> CompareReport:
    """Measure every figure between two files, or between all files of two folders that share a name but for the ending.

    Figures in mels are measured at 22,050 Hz only, in the convention `hifigan-22k`.

    Args:
        reference: A recording, or a folder of them.
        degraded: A recording if `reference` is one, or a folder of them.
        thresholds: Limits that the means must keep.
        align: Whether recordings that do not fit are resampled and shifted, as `aligned` describes.
        kept_audio: Keeps the audio for the report page; None keeps nothing.
        progress: Receives the number of pairs that are done.

    Raises:
        InputError: One is a file and the other a folder, no name is shared, a recording is longer than 10 minutes, or a
            pair cannot be compared.
    """
    pairs, notes = _pairs(reference, degraded)
    found = []
    for number, (clean, other) in enumerate(pairs):
        name = printable(clean.name)
        progress(name, number, len(pairs))
        pair = aligned(
            clean.stem, *(read_mono(path, longest_s=LONGEST_S) for path in (clean, other)), align=align
        )
        if pair.reference.size < LEAST_SAMPLES:
            raise InputError(
                f"{clean}: comparing takes at least {LEAST_SAMPLES} samples, got {pair.reference.size}; leave it out"
            )
        notes.extend(pair.notes)
        found.append(RecordingFigures(recording=name, figures=_figures(pair)))
        if kept_audio is not None:
            kept_audio.keep_recording(name, pair.reference, pair.sample_rate)
            kept_audio.keep(name, printable(str(degraded)), pair.degraded)
    notes.extend(undefined_lines({entry.recording: entry.figures for entry in found}))
    comparison = comparison_of(printable(str(reference)), printable(str(degraded)), found, thresholds)
    return CompareReport(
        kind="folders" if reference.is_dir() else "files",
        comparisons=(comparison,),
        notes=tuple(map(printable, notes)),
    )


def _pairs(reference: Path, degraded: Path) -> tuple[list[tuple[Path, Path]], list[str]]:
    if reference.is_dir() != degraded.is_dir():
        raise InputError(
            f"{reference} and {degraded}: both must be files, or both folders; name the file inside the folder"
        )
    if not reference.is_dir():
        return [(reference, degraded)], []
    left, right = _by_stem(reference), _by_stem(degraded)
    shared = sorted(left.keys() & right.keys())
    if not shared:
        raise InputError(
            f"{reference} and {degraded}: no recording has the same name in both; rename them alike"
        )
    lonely = sorted(left.keys() ^ right.keys())
    notes = [f"in one folder only, left out: {', '.join(lonely)}"] if lonely else []
    return [(left[stem], right[stem]) for stem in shared], notes


def _by_stem(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in recordings_in(folder):
        if path.stem in found:
            raise InputError(
                f"{path}: another recording of that name lies beside it, {found[path.stem].name}; "
                "keep one of them"
            )
        found[path.stem] = path
    return found


def _figures(pair: Aligned) -> dict[str, float | None]:
    convention: MelConvention = get_convention(_CONVENTION)
    fits = pair.sample_rate == convention.sample_rate
    names = [name for name in METRICS if fits or name not in _IN_MELS]
    figures = measure(pair.reference, pair.degraded, pair.sample_rate, convention, names)
    if pair.reference.any():
        return figures
    # Ratios to silence are infinite, and distances from it far from those of speech.
    return {name: value if name == "max_abs_error" else math.nan for name, value in figures.items()}
