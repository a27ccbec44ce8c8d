"""The results as tables: one per case with a row per peer, and what did not run with its reason."""

from __future__ import annotations

from collections.abc import Mapping

from tests.benchmark.peers.contract import MODES, Arithmetic, Mode
from tests.benchmark.peers.goals import Results, peak_share, tuned
from tests.benchmark.peers.results import PeerResult, Quartiles
from tests.benchmark.peers.table import PEERS

__all__ = ["HOW", "case_table", "peak_text", "peer_lines", "reasons"]

_MB = 1e6
_FULL_DB = 100.0

HOW = (
    "Each peer runs in a process of its own, one after the other within each round, in another order every round; "
    "times are medians with the quartiles of the rounds, after an untimed run where one takes under half a second. RTF "
    "is seconds of compute per second of audio. `faster` is "
    "the time of the stock export in ONNX Runtime in the same rounds divided by the peer's. Streams run 8 frames at a "
    "time: ours through the stream graph, peers through windows with the context that the model needs, so that the "
    "audio is the same. `first` is the time from importing the library in a fresh process to the first audio, "
    "loading and compiling included; memory is the peak of that process. `peak` is the arithmetic done per "
    "second as a share of that of a product of two 2048 x 2048 matrices on the same machine in the same precision. SNR "
    "is against PyTorch in FP32; PESQ and LSD are against recordings, as differences from FP32, for trained weights "
    "only. `ours tuned` is, per mode, the fastest of ours among those within the gates of their precision."
)
"""How the figures were measured, as Markdown."""

_HEADER = (
    "peer",
    "RTF, one utterance",
    "faster",
    "stream: RTF",
    "faster",
    "batch of 8: RTF",
    "faster",
    "first, s: utterance / stream",
    "memory, MB",
    "disk, MB",
    "peak",
    "SNR, dB",
    "PESQ lost",
    "LSD gained",
)


def case_table(results: Results, case: str, peaks: Mapping[Arithmetic, float]) -> list[list[str]]:
    """Every peer that ran a case in any mode, and `ours tuned`, as rows of text, the first being the header.

    Args:
        results: Results by their key.
        case: Key of the case.
        peaks: Arithmetic to the machine's peak in billions of operations per second.
    """
    rows = [list(_HEADER)]
    for name in PEERS:
        modes = {mode: results.get((case, name, mode)) for mode in MODES}
        if any(result is not None and result.rtf is not None for result in modes.values()):
            rows.append(_row(name, modes, peaks))
    best = {mode: tuned(results, case, mode) for mode in MODES}
    if any(best.values()):
        rows.append(_row("**ours tuned**", best, peaks))
    return rows


def reasons(results: Results, case: str) -> list[str]:
    """A line for each reason why peers did not run a case, or for their error.

    Args:
        results: Results by their key.
        case: Key of the case.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for name in PEERS:
        for mode, title in MODES.items():
            result = results.get((case, name, mode))
            if result is not None and result.status != "measured":
                found.setdefault((name, f"{result.status}: {result.reason}"), []).append(title)
    together: dict[tuple[str, str], list[str]] = {}
    for (name, reason), titles in found.items():
        modes = "" if len(titles) == len(MODES) else f" ({', '.join(titles)})"
        together.setdefault((modes, reason), []).append(f"`{name}`")
    return [f"{', '.join(names)}{modes} {reason}" for (modes, reason), names in together.items()]


def peer_lines() -> list[str]:
    """A line for each peer: its name, what runs it and how it was made."""
    return [f"`{peer.name}`: {peer.how}" for peer in PEERS.values()]


def peak_text(peaks: Mapping[Arithmetic, float]) -> str:
    """The machine's peak in words.

    Args:
        peaks: Arithmetic to billions of operations per second.
    """
    return ", ".join(f"{name.upper()} {value:.0f} GFLOP/s" for name, value in peaks.items())


def _row(name: str, modes: Mapping[Mode, PeerResult | None], peaks: Mapping[Arithmetic, float]) -> list[str]:
    offline = modes["offline"]
    cells = [name]
    for mode in MODES:
        result = modes[mode]
        cells += ["", ""] if result is None else [_spread(result.rtf, ".4f"), _times(result.stock_ratio)]
    if offline is None or offline.rtf is None:
        return [*cells, *([""] * (len(_HEADER) - len(cells)))]
    quality = offline.quality
    return [
        *cells,
        _first(offline, modes["stream"]),
        _number(offline.peak_bytes, ".0f", _MB),
        _number(offline.size_bytes, ".1f", _MB),
        _number(peak_share(offline, peaks), ".0%"),
        "" if quality is None else _decibels(quality.snr_db),
        "" if quality is None else _number(quality.pesq_lost, "+.3f"),
        "" if quality is None else _number(quality.lsd_gained, "+.3f"),
    ]


def _spread(values: Quartiles | None, form: str) -> str:
    if values is None:
        return ""
    return f"{values.median:{form}} ({values.low:{form}} to {values.high:{form}})"


def _times(values: Quartiles | None) -> str:
    return "" if values is None else f"{values.median:.2f}x"


def _first(offline: PeerResult, stream: PeerResult | None) -> str:
    first_s = _number(offline.first_audio_s, ".2f")
    chunk_s = "" if stream is None else _number(stream.first_audio_s, ".2f")
    return f"{first_s} / {chunk_s}" if chunk_s else first_s


def _number(value: float | None, form: str, unit: float = 1.0) -> str:
    return "" if value is None else f"{value / unit:{form}}"


def _decibels(value: float) -> str:
    return f"> {_FULL_DB:.0f}" if value > _FULL_DB else f"{value:.1f}"
