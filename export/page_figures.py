"""Figures as a page shows them: names, meanings, formats."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version

from voirs_vocoder.export.gates import GateResult, gate_text
from voirs_vocoder.export.report_page import PageColumn

__all__ = ["FIGURES", "PAGE_RECORDINGS", "figure_texts", "gate_reasons", "this_place"]

PAGE_RECORDINGS = 10
"""So many recordings are heard on a page; more would make it too large to send."""

# Figure -> column and format of its value.
FIGURES: dict[str, tuple[PageColumn, str]] = {
    "snr_db": (PageColumn("SNR dB", "Signal-to-noise ratio against the reference; higher is closer."), ".1f"),
    "max_abs_error": (PageColumn("largest error", "Of any sample, full scale being 1."), ".2g"),
    "pesq_wb": (PageColumn("PESQ", "ITU-T P.862.2, wide band, 1.04 to 4.64; higher is better."), ".3f"),
    "pesq_lost": (PageColumn("PESQ lost", "What the reference has more, against the recording."), "+.3f"),
    "stoi": (PageColumn("STOI", "Short-time objective intelligibility, up to 1."), ".3f"),
    "lsd": (PageColumn("LSD", "Log-spectral distance; 1 is 10 dB, 0 is equal."), ".3f"),
    "multi_resolution_stft": (PageColumn("M-STFT", "Multi-resolution STFT distance; 0 is equal."), ".3f"),
    "mel_l1": (PageColumn("mel L1", "Mean absolute difference of the mels; 0 is equal."), ".3f"),
    "si_sdr_db": (PageColumn("SI-SDR dB", "Scale-invariant signal-to-distortion ratio."), ".1f"),
    "mcd_db": (PageColumn("MCD dB", "Mel-cepstral distortion; 0 is equal."), ".2f"),
    "pitch_error_cents": (
        PageColumn("F0 cents", "Root mean square error of the pitch; 100 is a semitone."),
        ".0f",
    ),
    "voicing_f1": (PageColumn("voicing F1", "Agreement on which frames are voiced, up to 1."), ".3f"),
    "dnsmos_ovrl_lost": (
        PageColumn("DNSMOS lost", "What the reference has more of P.835 overall quality."),
        "+.3f",
    ),
}
_PACKAGES = ("voirs-vocoder", "onnxruntime", "openvino", "torch", "numpy")


def figure_texts(figures: Mapping[str, float | None], names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Title and value of each figure that was measured."""
    for name in names:
        value = figures.get(name)
        if value is not None:
            column, form = FIGURES[name]
            yield column.title, format(value, form)


def gate_reasons(results: Sequence[GateResult]) -> tuple[str, ...]:
    """A line for each gate that did not pass."""
    return tuple(gate_text(result) for result in results if result.status != "passed")


def this_place() -> Iterator[tuple[str, str]]:
    """What the figures were measured with."""
    yield "Machine", f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    found = []
    for package in _PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    yield "Versions", ", ".join(found)
