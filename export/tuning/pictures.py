"""Pictures without a window: matplotlib's figures, and the PNG that is made of them."""

from __future__ import annotations

import io
from typing import Any

from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.optional import import_optional

__all__ = ["circle_point", "new_figure", "png_of"]

_DPI = 110


def new_figure(width_inches: float, height_inches: float) -> Any:
    """An empty `matplotlib.figure.Figure`.

    Raises:
        InputError: matplotlib is not installed.
    """
    agg, figures = (
        import_optional(module, purpose="drawing", extra="eval", error=InputError)
        for module in ("matplotlib.backends.backend_agg", "matplotlib.figure")
    )
    figure = figures.Figure(figsize=(width_inches, height_inches), dpi=_DPI, layout="constrained")
    agg.FigureCanvasAgg(figure)
    return figure


def circle_point(axes: Any, x: float, y: float, label: str) -> None:
    """Draw a black circle around the point that was chosen."""
    axes.plot(
        [x],
        [y],
        marker="o",
        markersize=13,
        markerfacecolor="none",
        markeredgecolor="black",
        linestyle="none",
        label=label,
    )


def png_of(figure: Any) -> bytes:
    """A figure as PNG; the same figure gives the same bytes."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()
