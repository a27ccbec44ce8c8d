"""Figures of several recordings as one, where some figures are undefined for some recordings, such as silent ones."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence

from voirs_vocoder.runtime.metrics import FIGURES

__all__ = ["mean_figures", "too_seldom_defined", "undefined_lines"]

_Figures = Mapping[str, float | None]


def mean_figures(rows: Sequence[_Figures]) -> dict[str, float | None]:
    """The mean of each figure over the recordings for which it is defined.

    Args:
        rows: Figures of each recording by name: None where a figure could not be measured, NaN where it is undefined.

    Returns:
        Name to mean; None where the figure could not be measured, or is defined for fewer than half of the recordings.
    """
    means: dict[str, float | None] = {}
    for name in rows[0]:
        values = _values(rows, name)
        defined = [value for value in values if not math.isnan(value)]
        enough = len(values) == len(rows) and defined and 2 * len(defined) >= len(rows)
        means[name] = statistics.fmean(defined) if enough else None
    return means


def too_seldom_defined(rows: Sequence[_Figures]) -> frozenset[str]:
    """Names of the figures that could be measured, but are undefined for more than half of the recordings.

    Args:
        rows: Figures of each recording by name: None where a figure could not be measured, NaN where it is undefined.
    """
    means = mean_figures(rows)
    return frozenset(
        name for name, mean in means.items() if mean is None and len(_values(rows, name)) == len(rows)
    )


def undefined_lines(recordings: Mapping[str, _Figures]) -> Iterator[str]:
    """A line for each recording that has undefined figures, which the means leave out.

    Args:
        recordings: Name of a recording to its figures.
    """
    for recording, figures in recordings.items():
        names = [FIGURES[name].title for name in FIGURES if math.isnan(figures.get(name) or 0.0)]
        if names:
            yield f"{recording}: {', '.join(names)} undefined, as for silence or too little speech; not in the means"


def _values(rows: Sequence[_Figures], name: str) -> list[float]:
    return [value for row in rows if (value := row[name]) is not None]
