"""The course of a training as a table and a picture."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.files import whole_file
from voirs_vocoder.runtime.optional import import_optional

__all__ = ["QUALITY", "Curve", "draw_curve"]

QUALITY = ("stoi", "pesq_wb", "lsd")
"""What is measured on the recordings held back."""

_LABELS = {"stoi": "STOI", "pesq_wb": "PESQ-WB", "lsd": "LSD (lower is better)"}
_PANEL_INCHES = (4.3, 3.8)
_DPI = 110


class Curve:
    """A CSV file with a row per report; a row of an evaluation has its figures, the others leave them empty.

    Attributes:
        columns: `step`, `hours`, `learning_rate`, the task's figures, then `QUALITY`.
    """

    def __init__(self, path: Path, figures: Sequence[str], last_step: int) -> None:
        """Open the file.

        Args:
            path: CSV file; it is made if there is none.
            figures: Names of the task's figures.
            last_step: Step of the state that training continues from; later rows are dropped, they will come again.
        """
        self._path = path
        self.columns = ("step", "hours", "learning_rate", *figures, *QUALITY)
        kept = [row for row in read_rows(path) if int(row["step"]) <= last_step] if path.exists() else []
        with whole_file(path) as draft, draft.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, self.columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(kept)

    def add(self, row: Mapping[str, float | int | None]) -> None:
        """Append a row; columns that it lacks, and None, stay empty."""
        written = {
            name: ""
            if (value := row.get(name)) is None
            else (str(value) if name == "step" else f"{value:.5g}")
            for name in self.columns
        }
        with self._path.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, self.columns, lineterminator="\n").writerow(written)


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a curve."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def draw_curve(source: Path, target: Path, title: str) -> None:
    """Draw a curve as PNG: the task's first figure, then quality on the recordings held back, over hours.

    Args:
        source: A CSV file of `Curve`.
        target: PNG file to write.
        title: Title above the picture.

    Raises:
        InputError: matplotlib is not installed.
    """
    agg, figures = (
        import_optional(module, purpose="drawing", extra="eval", error=InputError)
        for module in ("matplotlib.backends.backend_agg", "matplotlib.figure")
    )
    rows = read_rows(source)
    first = list(rows[0])[3]
    panels = [first, *(name for name in QUALITY if any(row[name] for row in rows))]
    width, height = _PANEL_INCHES
    figure = figures.Figure(figsize=(width * len(panels), height), dpi=_DPI, layout="constrained")
    agg.FigureCanvasAgg(figure)
    figure.suptitle(title)
    axes_row = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, name in zip(axes_row, panels, strict=True):
        known = [row for row in rows if row[name]]
        hours, values = [float(row["hours"]) for row in known], [float(row[name]) for row in known]
        axes.plot(hours, values, linewidth=1.2, marker="o" if name in QUALITY else "", markersize=4)
        if name in QUALITY:
            axes.margins(y=0.12)
            axes.annotate(
                f"{values[-1]:.3g}",
                (hours[-1], values[-1]),
                xytext=(-4, 7),
                textcoords="offset points",
                ha="right",
            )
        elif min(values) > 0:
            axes.set_yscale("log")
        axes.set_xlabel("hours of training")
        axes.set_title(_LABELS.get(name, name.replace("_", " ")), fontsize=10)
        axes.grid(alpha=0.3)
    # Without the date and version that matplotlib would add, the same curve gives the same bytes.
    figure.savefig(target, metadata={"Software": None})
