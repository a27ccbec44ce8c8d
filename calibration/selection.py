"""Which segments of a corpus calibrate: balanced over classes of speech, in memory that does not grow with the corpus.

Everything is measured on the mel itself, in decibels of mel magnitude, so conventions compare:

- level of a frame: the energy of all bands together;
- tilt of a frame: the level of the upper half of the bands minus that of the lower half;
- flux of a frame: the mean absolute change of its bands since the frame before.

A frame is active when its level is within 35 dB of the 95th percentile of its recording. An active frame is unvoiced
when its tilt is at least 0 dB, and voiced when its tilt is at most -6 dB and its flux at most 6 dB.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.artifact.manifest import SegmentClass
from voirs_vocoder.runtime.mel.compression import nepers_per_unit
from voirs_vocoder.runtime.mel.convention import MelConvention

__all__ = ["SEGMENT_CLASSES", "FrameMeasures", "Pick", "SegmentPool", "frame_measures", "segment_scores"]

SEGMENT_CLASSES: tuple[SegmentClass, ...] = get_args(SegmentClass)
"""Classes of segments, in the order in which they pick: most silent frames, most voiced ones, most unvoiced ones,
loudest speech, softest speech."""

_DB_PER_NEPER = 20.0 / np.log(10.0)
_ACTIVE_DB = 35.0
_LOUD_QUANTILE = 0.95
_UNVOICED_TILT_DB = 0.0
_VOICED_TILT_DB = -6.0
_VOICED_FLUX_DB = 6.0
# Share of active frames from which a segment is speech, which can be loud or soft.
_LEAST_ACTIVE = 0.5
# Scores are compared to this many digits, below which machines differ.
_DIGITS = 3


@dataclass(frozen=True, eq=False)
class FrameMeasures:
    """Measures of the frames of a segment.

    Attributes:
        level_db: Level of each frame, float32 [frames].
        tilt_db: Tilt of each frame, float32 [frames].
        flux_db: Flux of each frame, float32 [frames]; 0 for the first.
    """

    level_db: NDArray[np.float32]
    tilt_db: NDArray[np.float32]
    flux_db: NDArray[np.float32]


@dataclass(frozen=True, order=True)
class Pick:
    """A segment as a candidate for a class. Better ones compare as less.

    Attributes:
        rank: Number of better segments of the same recording: every recording offers its best before any its second.
        cost: Score in the class, negated and rounded.
        recording: SHA-256 of the recording, in lower-case hex.
        start: First mel frame.
    """

    rank: int
    cost: float
    recording: str
    start: int


def frame_measures(mel: NDArray[np.float32], convention: MelConvention) -> FrameMeasures:
    """The measures of every frame of a mel, [n_mels, frames]; a single band counts as the lower half."""
    nepers = mel.astype(np.float64) * nepers_per_unit(convention)
    middle = max(1, mel.shape[0] // 2)
    lower, upper = _level_nepers(nepers[:middle]), _level_nepers(nepers[middle:])
    flux = np.zeros(mel.shape[1])
    flux[1:] = np.abs(np.diff(nepers, axis=1)).mean(axis=0)
    level, tilt = np.logaddexp(2.0 * lower, 2.0 * upper) / 2.0, upper - lower
    return FrameMeasures(
        *((values * _DB_PER_NEPER).astype(np.float32) for values in (level, tilt, flux)),
    )


def segment_scores(segments: Sequence[FrameMeasures]) -> list[dict[SegmentClass, float]]:
    """For each segment of a recording, how well it represents each class; a class that it cannot represent is absent.

    Silence, voiced and unvoiced are shares of the segment's frames; loud and quiet are the mean level of the active
    frames, in dB, and its negative, of segments half of whose frames are active.

    Args:
        segments: Measures of all segments of one recording.
    """
    reference_db = np.quantile(np.concatenate([each.level_db for each in segments]), _LOUD_QUANTILE)
    found = []
    for each in segments:
        active = each.level_db >= reference_db - _ACTIVE_DB
        voiced = active & (each.tilt_db <= _VOICED_TILT_DB) & (each.flux_db <= _VOICED_FLUX_DB)
        unvoiced = active & (each.tilt_db >= _UNVOICED_TILT_DB)
        scores: dict[SegmentClass, float] = {
            "silence": float(1.0 - active.mean()),
            "voiced": float(voiced.mean()),
            "unvoiced": float(unvoiced.mean()),
        }
        if active.mean() >= _LEAST_ACTIVE:
            scores["loud"] = float(each.level_db[active].mean())
            scores["quiet"] = -scores["loud"]
        found.append(scores)
    return found


class SegmentPool:
    """The best candidates of each class so far.

    The result depends neither on the order in which recordings are offered nor on their names.

    Args:
        size: Largest number of segments to choose, and of candidates to keep per class.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._candidates: dict[SegmentClass, list[Pick]] = {name: [] for name in SEGMENT_CLASSES}

    def offer(
        self, recording: str, starts: Sequence[int], scores: Sequence[Mapping[SegmentClass, float]]
    ) -> None:
        """Offer all segments of one recording.

        Args:
            recording: SHA-256 of the recording.
            starts: First mel frame of each segment.
            scores: Scores of each segment, from `segment_scores`.
        """
        for name, kept in self._candidates.items():
            ordered = sorted(
                (round(-score[name], _DIGITS), start)
                for start, score in zip(starts, scores, strict=True)
                if name in score
            )
            kept.extend(
                Pick(rank, cost, recording, start) for rank, (cost, start) in enumerate(ordered[: self._size])
            )
            kept.sort()
            del kept[self._size :]

    def chosen(self) -> dict[tuple[str, int], SegmentClass]:
        """Recording and first frame of each segment that was chosen, to the class that it was chosen for.

        The classes pick in turns, each its best segment that no other class has picked.
        """
        waiting: dict[SegmentClass, Iterator[Pick]] = {
            name: iter(kept) for name, kept in self._candidates.items()
        }
        chosen: dict[tuple[str, int], SegmentClass] = {}
        while waiting and len(chosen) < self._size:
            for name in tuple(waiting):
                pick = next(
                    (each for each in waiting[name] if (each.recording, each.start) not in chosen), None
                )
                if pick is None:
                    del waiting[name]
                elif len(chosen) < self._size:
                    chosen[pick.recording, pick.start] = name
        return chosen


def _level_nepers(nepers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Level of some bands together, [bands, frames] -> [frames]."""
    level: NDArray[np.float64] = np.logaddexp.reduce(2.0 * nepers, axis=0) / 2.0
    return level
