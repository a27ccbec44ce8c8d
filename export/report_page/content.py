"""Content of a page, all of it measured elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.export.validation.gates import Status
from voirs_vocoder.runtime.errors import InputError

__all__ = ["PageClip", "PageColumn", "PageContent", "PageRow", "PageUtterance"]


@dataclass(frozen=True)
class PageColumn:
    """A column of the table of figures.

    Attributes:
        title: Header of the column.
        meaning: Explanation that appears when the pointer rests on the header; empty for none.
        numeric: Whether the cells are aligned to the right.
    """

    title: str
    meaning: str = ""
    numeric: bool = True


@dataclass(frozen=True)
class PageRow:
    """A row of the table of figures.

    Attributes:
        cells: Text of each column.
        verdict: Verdict of the row; None where no gate judges it.
        reasons: Gates that did not pass, a line each.
    """

    cells: tuple[str, ...]
    verdict: Status | None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class PageClip:
    """Audio that the page plays.

    Attributes:
        label: Title of the clip, equal in every utterance.
        samples: Float32 [samples], nominally in [-1, 1].
        figures: Title and text of the figures beside the clip.
    """

    label: str
    samples: NDArray[np.float32]
    figures: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, eq=False)
class PageUtterance:
    """A recording and the audio that was synthesized from it.

    Attributes:
        name: Name of the recording.
        sample_rate: Sample rate in Hz.
        clips: Clips of equal length with different labels, the reference among them.
        reference: Label of the clip that the differences are computed against.
    """

    name: str
    sample_rate: int
    clips: tuple[PageClip, ...]
    reference: str

    def __post_init__(self) -> None:
        """Check lengths and labels, which the players rely on."""
        labels = [clip.label for clip in self.clips]
        lengths = {clip.samples.shape for clip in self.clips}
        if len(lengths) != 1 or len(set(labels)) != len(labels) or self.reference not in labels:
            raise InputError(
                f"{self.name}: clips must be equally long, their labels different, the reference among them; got "
                f"{labels} of shapes {sorted(lengths)} and reference {self.reference!r}"
            )


@dataclass(frozen=True, eq=False)
class PageContent:
    """Content of a page.

    Attributes:
        title: Name of the measured model or files.
        subtitle: Recordings and reference of the measurement.
        passed: The verdict; None where no threshold was set.
        verdict: The verdict in a sentence.
        columns: Columns of the table.
        rows: Rows of the table.
        notes: Explanations of the figures, a line each.
        rtf: Label and real-time factor, seconds of compute per second of audio.
        utterances: Recordings to look at and listen to.
        provenance: Name and value: hashes, versions, machine.
    """

    title: str
    subtitle: str
    passed: bool | None
    verdict: str
    columns: tuple[PageColumn, ...]
    rows: tuple[PageRow, ...]
    notes: tuple[str, ...]
    rtf: tuple[tuple[str, float], ...]
    utterances: tuple[PageUtterance, ...]
    provenance: tuple[tuple[str, str], ...]
