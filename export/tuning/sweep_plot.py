"""The picture of a sweep: quality against cost, a line per sampler."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voirs_vocoder.export.tuning.pictures import new_figure, png_of

if TYPE_CHECKING:
    from voirs_vocoder.export.tuning.sweep import SweepPoint, SweepReport

__all__ = ["sweep_png"]

_PANELS = (("pesq_wb", "PESQ-WB"), ("stoi", "STOI"), ("lsd", "LSD (lower is better)"))
_SIZE_INCHES = (13.0, 4.4)


def sweep_png(report: SweepReport) -> bytes:
    """Draw a sweep.

    Args:
        report: What was measured.

    Returns:
        A PNG; the same report gives the same bytes.

    Raises:
        InputError: matplotlib is not installed.
    """
    figure = new_figure(*_SIZE_INCHES)
    from matplotlib.ticker import LogLocator, NullFormatter

    figure.suptitle(
        f"{report.family} {report.variant}, {report.precision}: {report.recordings} recordings, "
        f"{report.speech_s:.0f} s of speech, {report.backend}"
    )
    knee = report.points[report.knee]
    for axes, (figure_name, label) in zip(figure.subplots(1, len(_PANELS)), _PANELS, strict=True):
        for sampler in dict.fromkeys(point.sampler for point in report.points):
            points = [
                p for p in report.points if p.sampler == sampler and getattr(p, figure_name) is not None
            ]
            line = axes.plot(
                [point.rtf for point in points],
                [getattr(point, figure_name) for point in points],
                marker="o",
                markersize=4,
                linewidth=1.2,
                label=sampler,
            )
            for point in points:
                axes.annotate(
                    _steps(point),
                    (point.rtf, getattr(point, figure_name)),
                    xytext=(3, 4),
                    textcoords="offset points",
                    fontsize=7,
                    color=line[0].get_color(),
                )
        if getattr(knee, figure_name) is not None:
            axes.plot(
                [knee.rtf],
                [getattr(knee, figure_name)],
                marker="o",
                markersize=13,
                markerfacecolor="none",
                markeredgecolor="black",
                linestyle="none",
                label=f"knee: {knee.sampler} {_steps(knee)}".strip(),
            )
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("real-time factor")
        axes.set_ylabel(label)
        axes.grid(visible=True, which="both", alpha=0.25)
    figure.axes[0].legend(fontsize=8)
    return png_of(figure)


def _steps(point: SweepPoint) -> str:
    return "" if point.steps is None else str(point.steps)
