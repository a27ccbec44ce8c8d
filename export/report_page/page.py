"""Rendering of a page: one HTML file that needs no network; equal content gives equal bytes."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from voirs_vocoder.export.report_page import pictures
from voirs_vocoder.export.report_page.content import PageColumn, PageContent, PageRow, PageUtterance
from voirs_vocoder.runtime.progress import Progress, silent

__all__ = ["render_page"]

_SCRIPTS = ("player.js", "charts.js", "abx.js", "page.js")
_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"
_MARKS = {"passed": "✓", "failed": "✕", "not run": "?"}


def render_page(content: PageContent, *, progress: Progress = silent) -> bytes:
    """Render a page.

    Args:
        content: Content of the page.
        progress: Receives the number of recordings that are drawn.

    Returns:
        HTML in UTF-8.

    Raises:
        InputError: matplotlib is not installed.
    """
    resources = files(__package__)
    style = (resources / "page.css").read_text(encoding="utf-8")
    scripts = "\n".join((resources / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    # In a script element nothing but its end tag means anything.
    data = json.dumps(_data(content, progress), separators=(",", ":")).replace("<", "\\u003c")
    body = "\n".join(_body(content))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{_text(content.title)}</title>
<style>
{style}</style>
</head>
<body>
{body}
<script type="application/json" id="data">{data}</script>
<script>
{scripts}</script>
</body>
</html>
""".encode()


def _body(content: PageContent) -> Iterator[str]:
    state = {True: "passed", False: "failed", None: "neutral"}[content.passed]
    word = {True: "Passed", False: "Failed", None: "Measured"}[content.passed]
    yield f'<header class="verdict {state}"><p class="badge">{word}</p>'
    yield f"<h1>{_text(content.title)}</h1>"
    yield f'<p class="sentence">{_text(content.verdict)}</p>'
    yield f'<p class="subtitle">{_text(content.subtitle)}</p></header>'
    yield "<main>"
    yield '<section aria-labelledby="figures"><h2 id="figures">Figures</h2>'
    yield from _table(content.columns, content.rows)
    if content.notes:
        yield '<ul class="notes">' + "".join(f"<li>{_text(note)}</li>" for note in content.notes) + "</ul>"
    yield "</section>"
    if content.rtf:
        yield '<section aria-labelledby="speed"><h2 id="speed">Speed</h2>'
        yield "<p>Seconds of compute per second of audio (RTF); shorter is faster.</p>"
        yield from _bars(content.rtf)
        yield "</section>"
    if content.utterances:
        yield '<section aria-labelledby="listen"><h2 id="listen">Look and listen</h2><div id="stage"></div></section>'
        yield '<section aria-labelledby="blind"><h2 id="blind">Blind test</h2><div id="abx"></div></section>'
    yield '<section aria-labelledby="origin"><h2 id="origin">Provenance</h2><dl class="provenance">'
    for name, value in content.provenance:
        yield f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>"
    yield "</dl></section></main>"
    yield "<noscript><p>Players, pictures and the blind test need JavaScript.</p></noscript>"


def _table(columns: tuple[PageColumn, ...], rows: tuple[PageRow, ...]) -> Iterator[str]:
    yield '<div class="scroll" tabindex="0" role="region" aria-label="Table of figures"><table><thead><tr>'
    for column in columns:
        meaning = f' title="{_text(column.meaning)}"' if column.meaning else ""
        yield f'<th scope="col"{_align(column)}{meaning}>{_text(column.title)}</th>'
    judged = any(row.verdict for row in rows)
    yield ('<th scope="col">verdict</th>' if judged else "") + "</tr></thead><tbody>"
    for row in rows:
        cells = "".join(
            f"<td{_align(column)}>{_text(cell)}</td>" for column, cell in zip(columns, row.cells, strict=True)
        )
        reasons = "".join(f'<span class="reason">{_text(reason)}</span>' for reason in row.reasons)
        verdict = "<td></td>"
        if row.verdict:
            verdict = (
                f'<td class="{row.verdict.replace(" ", "-")}"><span aria-hidden="true">{_MARKS[row.verdict]}</span> '
                f"{_text(row.verdict)}{reasons}</td>"
            )
        yield f"<tr>{cells}{verdict if judged else ''}</tr>"
    yield "</tbody></table></div>"


def _bars(rtf: tuple[tuple[str, float], ...]) -> Iterator[str]:
    slowest = max(value for _, value in rtf)
    yield '<div class="bars">'
    for label, value in rtf:
        share = 100.0 * value / slowest if slowest > 0 else 0.0
        bar = f'<span class="bar" style="width:{share:.1f}%"></span>'
        yield (
            f'<span>{_text(label)}</span><span class="track">{bar}</span><span class="number">{value:.4f}</span>'
        )
    yield "</div>"


def _data(content: PageContent, progress: Progress) -> dict[str, Any]:
    utterances = []
    for number, utterance in enumerate(content.utterances):
        progress(f"drawing {utterance.name}", number, len(content.utterances))
        utterances.append(_utterance(utterance))
    return {
        "title": content.title,
        "utterances": utterances,
        "scales": {
            "spectrogram": {
                "limits": pictures.SPECTROGRAM_DB,
                "colours": pictures.palette_hex("spectrogram"),
            },
            "difference": {"limits": pictures.DIFFERENCE_DB, "colours": pictures.palette_hex("difference")},
        }
        if utterances
        else {},
    }


def _utterance(utterance: PageUtterance) -> dict[str, Any]:
    reference = next(clip.samples for clip in utterance.clips if clip.label == utterance.reference)
    reference_db = pictures.decibels(reference)
    clips = []
    for clip in utterance.clips:
        level_db = pictures.decibels(clip.samples)
        entry: dict[str, Any] = {
            "label": clip.label,
            "figures": clip.figures,
            "audio": _base64(_flac(clip.samples, utterance.sample_rate)),
            "spectrogram": _base64(pictures.spectrogram_png(level_db)),
        }
        if clip.samples is not reference:
            start, length = pictures.worst_moment(reference, clip.samples, utterance.sample_rate)
            largest, counts = pictures.error_histogram(reference, clip.samples)
            entry |= {
                "difference": _base64(pictures.difference_png(level_db, reference_db)),
                "worst": {
                    "start": start,
                    "reference": _rounded(reference[start : start + length]),
                    "samples": _rounded(clip.samples[start : start + length]),
                },
                "histogram": {"largest": largest, "counts": counts},
            }
        clips.append(entry)
    return {
        "name": utterance.name,
        "rate": utterance.sample_rate,
        "length": int(reference.size),
        "reference": utterance.reference,
        "clips": clips,
    }


def _flac(samples: NDArray[np.float32], sample_rate: int) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, np.clip(samples, -1.0, 1.0), sample_rate, format="FLAC", subtype="PCM_16")
    return stream.getvalue()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _rounded(samples: NDArray[np.float32]) -> list[float]:
    return [round(float(value), 5) for value in samples]


def _align(column: PageColumn) -> str:
    return ' class="number"' if column.numeric else ""


def _text(text: str) -> str:
    return html.escape(text, quote=True)
