"""The results as a picture: speed against quality, one panel per case."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.benchmark.peers.goals import Results, tuned
from tests.benchmark.peers.results import PeerResult
from tests.benchmark.peers.table import PEERS
from voirs_vocoder.export.tuning.pictures import new_figure, png_of
from voirs_vocoder.runtime.errors import InputError

__all__ = ["peers_picture"]

_COLUMNS = 3
_PANEL_INCHES = (5.2, 4.0)
# SNR of FP32 is that of other orders of summation; drawn as it is, it would leave no room for the rest.
_MOST_DB = 70.0
_LEAST_DB, _TOP_DB = -5.0, 95.0
_FONT_POINTS = 7.0
# About what axes and title leave of a panel, which only the places of labels depend on.
_PANEL_POINTS = (0.86 * 72 * _PANEL_INCHES[0], 0.78 * 72 * _PANEL_INCHES[1])
_GROUPS = {
    "torch": ("PyTorch", "#c1440e", "s"),
    "onnxruntime": ("ONNX Runtime", "#7a7a7a", "o"),
    "sherpa": ("sherpa-onnx", "#8a6fb0", "D"),
    "openvino": ("OpenVINO", "#2b6cb0", "^"),
    "ours": ("ours", "#15803d", "*"),
}


def peers_picture(results: Results, titles: Mapping[str, str]) -> bytes:
    """Draw every case that has results in the mode `offline`: RTF to the right, SNR upwards; the best is up and left.

    Args:
        results: Results by their key.
        titles: Key of a case to its title, in the order of the panels.

    Returns:
        PNG.

    Raises:
        InputError: matplotlib is not installed.
    """
    panels = {case: points for case in titles if (points := _points(results, case))}
    columns = min(_COLUMNS, max(1, len(panels)))
    rows = max(1, math.ceil(len(panels) / columns))
    figure = new_figure(columns * _PANEL_INCHES[0], rows * _PANEL_INCHES[1] + 0.5)
    for number, (case, points) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(rows, columns, number)
        best = tuned(results, case, "offline")
        _draw(axes, titles[case], points, "" if best is None else best.peer)
    handles, labels = _legend(figure)
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=max(1, len(labels)),
        frameon=False,
        title="with a black edge: ours tuned",
        title_fontsize=8,
    )
    return png_of(figure)


def _points(results: Results, case: str) -> list[PeerResult]:
    found = (results.get((case, name, "offline")) for name in PEERS)
    return [each for each in found if each is not None and each.rtf is not None and each.quality is not None]


def _draw(axes: Any, title: str, points: list[PeerResult], best: str) -> None:
    spots = [_Spot.of(point, points) for point in points]
    for spot in spots:
        label, color, marker = _GROUPS[spot.peer.partition("-")[0]]
        axes.plot([spot.low, spot.high], [spot.snr_db, spot.snr_db], color=color, linewidth=1)
        axes.scatter(
            [spot.rtf],
            [spot.snr_db],
            color=color,
            marker=marker,
            s=150 if marker == "*" else 45,
            edgecolors="black" if spot.peer == best else color,
            label=label,
            zorder=3,
        )
    for spot, (right, up) in zip(spots, _label_places(spots), strict=True):
        axes.annotate(
            spot.text,
            (spot.rtf, spot.snr_db),
            xytext=(right, up),
            textcoords="offset points",
            fontsize=_FONT_POINTS,
            color=_GROUPS[spot.peer.partition("-")[0]][1],
            arrowprops={"arrowstyle": "-", "linewidth": 0.4, "color": "#999999"} if abs(up) > 15 else None,
        )
    axes.set_title(title, fontsize=10)
    axes.set_xscale("log")
    axes.set_xlim(*_x_limits(points))
    axes.set_ylim(_LEAST_DB, _TOP_DB)
    axes.set_xlabel("RTF, one utterance (left is faster)", fontsize=8)
    axes.set_ylabel("SNR against FP32, dB", fontsize=8)
    ticks = range(0, int(_MOST_DB) + 1, 10)
    axes.set_yticks(ticks, [*(str(tick) for tick in ticks[:-1]), f"{ticks[-1]}+"])
    for which in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        which(lambda value, _: f"{value:g}")
    axes.grid(visible=True, which="both", alpha=0.25)
    axes.tick_params(which="both", labelsize=7)


@dataclass(frozen=True)
class _Spot:
    """A point of a panel, in the panel's axes and in points of print.

    Attributes:
        peer: Name of the peer.
        text: Label of the point.
        rtf: RTF, and its quartiles in `low` and `high`.
        low: First quartile of the RTF.
        high: Third quartile of the RTF.
        snr_db: SNR in dB, within the limits of the panel.
        x: Distance from the left edge, in points of print.
        y: Distance from the lower edge, in points of print.
    """

    peer: str
    text: str
    rtf: float
    low: float
    high: float
    snr_db: float
    x: float
    y: float

    @classmethod
    def of(cls, point: PeerResult, points: list[PeerResult]) -> _Spot:
        rtf, quality = point.rtf, point.quality
        if rtf is None or quality is None:
            raise InputError(f"a point needs RTF and quality, got neither for {point.peer}; measure it first")
        least, most = _x_limits(points)
        snr_db = min(_MOST_DB, max(_LEAST_DB, quality.snr_db))
        return cls(
            peer=point.peer,
            text=point.peer if point.peer == "sherpa-onnx" else point.peer.partition("-")[2] or point.peer,
            rtf=rtf.median,
            low=rtf.low,
            high=rtf.high,
            snr_db=snr_db,
            x=math.log(rtf.median / least) / math.log(most / least) * _PANEL_POINTS[0],
            y=(snr_db - _LEAST_DB) / (_TOP_DB - _LEAST_DB) * _PANEL_POINTS[1],
        )


def _x_limits(points: list[PeerResult]) -> tuple[float, float]:
    values = [point.rtf.median for point in points if point.rtf is not None]
    return min(values) / 1.25, max(values) * 1.5


def _label_places(spots: list[_Spot]) -> list[tuple[float, float]]:
    """Offsets of the labels from their points, right and up in points of print, so that few of them overlap."""
    taken = [(spot.x - 5, spot.y - 5, spot.x + 5, spot.y + 5) for spot in spots]
    places: list[tuple[float, float]] = []
    for spot in spots:
        width = 0.55 * _FONT_POINTS * len(spot.text)
        choices = [
            (right, up) for up in (4, -10, 14, -20, 24, 34, -30, 44, 54) for right in (6.0, -6.0 - width)
        ]

        def overlaps(place: tuple[float, float], spot: _Spot = spot, width: float = width) -> int:
            left, bottom = spot.x + place[0], spot.y + place[1]
            right, top = left + width, bottom + _FONT_POINTS
            outside = left < 0 or right > _PANEL_POINTS[0] or bottom < 0 or top > _PANEL_POINTS[1]
            crossed = sum(left < r and right > x and bottom < t and top > y for x, y, r, t in taken)
            return crossed + 3 * outside

        place = min(choices, key=overlaps)
        left, bottom = spot.x + place[0], spot.y + place[1]
        taken.append((left, bottom, left + width, bottom + _FONT_POINTS))
        places.append(place)
    return places


def _legend(figure: Any) -> tuple[list[Any], list[str]]:
    entries: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    return list(entries.values()), list(entries)
