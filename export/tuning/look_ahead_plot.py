"""The picture of what less look-ahead costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voirs_vocoder.export.tuning.pictures import new_figure, png_of

if TYPE_CHECKING:
    from voirs_vocoder.export.tuning.look_ahead import LookAheadReport

__all__ = ["look_ahead_png"]

_SIZE_INCHES = (13.0, 4.2)
_LOSS = 0.05


def look_ahead_png(report: LookAheadReport) -> bytes:
    """Draw PESQ lost, SNR and LSD, and latency against look-ahead.

    Args:
        report: What was measured.

    Returns:
        A PNG; the same report gives the same bytes.

    Raises:
        InputError: matplotlib is not installed.
    """
    figure = new_figure(*_SIZE_INCHES)
    figure.suptitle(
        f"{report.family} {report.variant}, {report.precision}, chunks of {report.chunk_frames}: "
        f"{report.recordings} recordings, {report.speech_s:.0f} s of speech, {report.backend}"
    )
    frames = [point.look_ahead_frames for point in report.points]
    chosen = report.points[report.chosen]
    offline = report.offline_pesq_wb or 0.0
    quality, likeness, latency = figure.subplots(1, 3)
    quality.plot(frames, [offline - (p.pesq_wb or 0.0) for p in report.points], marker="o", label="PESQ lost")
    quality.axhline(_LOSS, color="black", linewidth=0.8, linestyle="--", label="0.05")
    quality.set_ylabel("PESQ-WB lost against the offline pass")
    likeness.plot(
        [p.look_ahead_frames for p in report.points if p.snr_db is not None],
        [p.snr_db for p in report.points if p.snr_db is not None],
        marker="o",
        color="tab:green",
    )
    likeness.set_ylabel("SNR against the offline pass, dB")
    spectral = likeness.twinx()
    spectral.plot(frames, [p.lsd for p in report.points], marker="s", markersize=3, color="tab:red")
    spectral.set_ylabel("LSD against the recording", color="tab:red")
    compute = [point.compute_p99_ms for point in report.points]
    waiting = [(report.chunk_frames + count) * report.frame_ms for count in frames]
    latency.bar(frames, waiting, color="lightgray", label="chunk and look-ahead")
    latency.bar(frames, compute, bottom=waiting, color="tab:orange", label="computing (p99)")
    latency.set_ylabel("latency, ms")
    latency.legend(fontsize=8)
    for axes in (quality, likeness, latency):
        axes.axvline(chosen.look_ahead_frames, color="tab:blue", linewidth=0.8, linestyle=":")
        axes.set_xlabel("look-ahead, frames")
        axes.grid(visible=True, alpha=0.25)
    quality.legend(fontsize=8)
    return png_of(figure)
