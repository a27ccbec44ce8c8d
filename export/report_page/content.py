"""What a page shows: everything measured elsewhere, nothing of it computed from models."""

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
        title: Its header.
        meaning: Shown when the header is pointed at.
        numeric: Whether its cells stand to the right.
    """

    title: str
    meaning: str = ""
    numeric: bool = True


@dataclass(frozen=True)
class PageRow:
    """A row of it.

    Attributes:
        cells: One text per column.
        verdict: Of the row; None where nothing judges it.
        reasons: Of a verdict that is not `passed`, a line each.
    """

    cells: tuple[str, ...]
    verdict: Status | None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class PageClip:
    """Something to listen to.

    Attributes:
        label: The same in every utterance.
        samples: Float32 [samples], nominally in [-1, 1].
        figures: Name and text, shown beside it.
    """

    label: str
    samples: NDArray[np.float32]
    figures: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, eq=False)
class PageUtterance:
    """One recording and what was made of it.

    Attributes:
        name: Of the recording.
        sample_rate: In Hz.
        clips: As long as each other.
        reference: Label of the clip that the differences are taken against.
    """

    name: str
    sample_rate: int
    clips: tuple[PageClip, ...]
    reference: str

    def __post_init__(self) -> None:
        """Check what the players rely on."""
        labels = [clip.label for clip in self.clips]
        lengths = {clip.samples.shape for clip in self.clips}
        if len(lengths) != 1 or len(set(labels)) != len(labels) or self.reference not in labels:
            raise InputError(
                f"{self.name}: clips must be equally long, their labels different, the reference among them; got "
                f"{labels} of shapes {sorted(lengths)} and reference {self.reference!r}"
            )


@dataclass(frozen=True, eq=False)
class PageContent:
    """A page.

    Attributes:
        title: What was measured.
        subtitle: On what, against what.
        passed: The verdict; None where no threshold was set.
        verdict: It in a sentence.
        columns: Of the table.
        rows: Of the table.
        notes: What the reader must know of the figures.
        rtf: Label and real-time factor, seconds of compute per second of audio.
        utterances: To look at and listen to.
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
