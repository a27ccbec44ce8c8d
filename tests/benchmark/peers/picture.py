"""The results as a picture: speed against quality, one panel per case."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tests.benchmark.peers.goals import Results, tuned
from tests.benchmark.peers.results import PeerResult
from tests.benchmark.peers.table import PEERS
from voirs_vocoder.export.tuning.pictures import new_figure, png_of

__all__ = ["peers_picture"]

_COLUMNS = 3
_PANEL_INCHES = (5.2, 4.0)
# SNR of FP32 is that of other orders of summation; drawn as it is, it would leave no room for the rest.
_MOST_DB = 70.0
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
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return png_of(figure)


def _points(results: Results, case: str) -> list[PeerResult]:
    found = (results.get((case, name, "offline")) for name in PEERS)
    return [each for each in found if each is not None and each.rtf is not None and each.quality is not None]


def _draw(axes: Any, title: str, points: list[PeerResult], best: str) -> None:
    placed: list[tuple[float, float]] = []
    for point in points:
        if point.rtf is None or point.quality is None:
            continue
        x, y = point.rtf.median, min(_MOST_DB, point.quality.snr_db)
        label, color, marker = _GROUPS[point.peer.partition("-")[0]]
        size = 150 if marker == "*" else 45
        axes.errorbar(x, y, xerr=[[x - point.rtf.low], [point.rtf.high - x]], color=color, linewidth=1)
        edge = "black" if point.peer == best else color
        axes.scatter([x], [y], color=color, marker=marker, s=size, edgecolors=edge, label=label, zorder=3)
        axes.annotate(
            point.peer.partition("-")[2] or point.peer,
            (x, y),
            xytext=(5, _free_offset(placed, x, y)),
            textcoords="offset points",
            fontsize=7,
            color=color,
        )
        placed.append((x, y))
    axes.set_title(title, fontsize=10)
    axes.set_xscale("log")
    axes.set_xlabel("RTF, one utterance (left is faster)", fontsize=8)
    axes.set_ylabel("SNR against FP32, dB", fontsize=8)
    axes.set_ylim(top=_MOST_DB + 8)
    axes.grid(visible=True, which="both", alpha=0.25)
    axes.tick_params(labelsize=7)


def _free_offset(placed: list[tuple[float, float]], x: float, y: float) -> int:
    """Height of a label above its point, in points: higher for each label that is already near."""
    near = sum(1 for px, py in placed if abs(math.log(px / x)) < 0.25 and abs(py - y) < 6.0)
    return 5 + 9 * near


def _legend(figure: Any) -> tuple[list[Any], list[str]]:
    entries: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    return list(entries.values()), list(entries)
