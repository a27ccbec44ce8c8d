"""Figures as people read them: title, meaning, format."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FIGURE_COLUMNS", "FigureColumn", "figure_text"]


@dataclass(frozen=True)
class FigureColumn:
    """How a figure is shown.

    Attributes:
        title: Of its column.
        meaning: What it says.
        form: Format of its value.
    """

    title: str
    meaning: str
    form: str


FIGURE_COLUMNS: dict[str, FigureColumn] = {
    "rtf": FigureColumn("RTF", "Seconds of compute per second of audio, the median.", ".4f"),
    "snr_db": FigureColumn("SNR dB", "Signal-to-noise ratio against the reference; higher is closer.", ".1f"),
    "max_abs_error": FigureColumn("largest error", "Of any sample, full scale being 1.", ".2g"),
    "pesq_wb": FigureColumn("PESQ", "ITU-T P.862.2, wide band, 1.04 to 4.64; higher is better.", ".3f"),
    "pesq_lost": FigureColumn("lost", "PESQ that the reference has more, against the recording.", "+.3f"),
    "stoi": FigureColumn("STOI", "Short-time objective intelligibility, up to 1.", ".3f"),
    "lsd": FigureColumn("LSD", "Log-spectral distance; 1 is 10 dB, 0 is equal.", ".3f"),
    "multi_resolution_stft": FigureColumn("M-STFT", "Multi-resolution STFT distance; 0 is equal.", ".3f"),
    "mel_l1": FigureColumn("mel L1", "Mean absolute difference of the mels; 0 is equal.", ".3f"),
    "si_sdr_db": FigureColumn("SI-SDR dB", "Scale-invariant signal-to-distortion ratio.", ".1f"),
    "mcd_db": FigureColumn("MCD dB", "Mel-cepstral distortion; 0 is equal.", ".2f"),
    "pitch_error_cents": FigureColumn(
        "F0 cents", "Root mean square error of the pitch; 100 is a semitone.", ".0f"
    ),
    "voicing_f1": FigureColumn("voicing F1", "Agreement on which frames are voiced, up to 1.", ".3f"),
    "dnsmos_ovrl_lost": FigureColumn(
        "DNSMOS lost", "What the reference has more of P.835's overall quality.", "+.3f"
    ),
}
"""By the figure's name in reports."""


def figure_text(name: str, value: float | None) -> str:
    """A value in its format; `-` for None."""
    return "-" if value is None else format(value, FIGURE_COLUMNS[name].form)
