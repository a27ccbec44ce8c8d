"""What less look-ahead costs: quality and computing of low-latency streams, from none to the whole look-ahead."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.export.artifact.writer import locked_artifact, replace_manifest, with_files
from voirs_vocoder.export.tuning.look_ahead_plot import look_ahead_png
from voirs_vocoder.export.validation.speech import Speech, load_speech, mean_figures
from voirs_vocoder.runtime import Artifact, SessionConfig, StreamingConfig, Vocoder
from voirs_vocoder.runtime.artifact.manifest import Precision
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.metrics import measure, snr_db
from voirs_vocoder.runtime.progress import Progress, silent

__all__ = [
    "LookAheadPoint",
    "LookAheadReport",
    "look_ahead_table",
    "measure_look_aheads",
    "record_look_aheads",
]

_FIGURES = ("pesq_wb", "lsd")
_REPORT_PATH = "validation/look-ahead.json"
_PLOT_PATH = "validation/look-ahead.png"
_ALLOWED_PESQ_LOSS = 0.05


class LookAheadPoint(msgspec.Struct, frozen=True, kw_only=True):
    """A look-ahead.

    Attributes:
        look_ahead_frames: Real frames that are awaited; the rest is extrapolated.
        latency_ms: Chunk, look-ahead and the 99th percentile of computing.
        compute_p50_ms: Median time per chunk, both runs included.
        compute_p99_ms: 99th percentile.
        rtf: Seconds of compute per second of audio.
        snr_db: Against the offline pass, mean over the recordings; None where they are equal.
        pesq_wb: Against the recordings, mean; None where it could not be measured, as for the other.
        lsd: Likewise.
    """

    look_ahead_frames: int
    latency_ms: float
    compute_p50_ms: float
    compute_p99_ms: float
    rtf: float
    snr_db: float | None
    pesq_wb: float | None
    lsd: float | None


class LookAheadReport(msgspec.Struct, frozen=True, kw_only=True):
    """All look-aheads of an artifact.

    Attributes:
        family: Of the artifact.
        variant: Of the artifact.
        precision: Of the graph.
        backend: What ran it.
        chunk_frames: Of every stream.
        frame_ms: Duration of a mel frame.
        recordings: How many.
        speech_s: Their length together.
        offline_pesq_wb: Of the offline pass; None where it could not be measured.
        points: By look-ahead, the last one exact.
        chosen: Place of the least look-ahead that loses at most 0.05 PESQ.
    """

    family: str
    variant: str
    precision: Precision
    backend: str
    chunk_frames: int
    frame_ms: float
    recordings: int
    speech_s: float
    offline_pesq_wb: float | None
    points: tuple[LookAheadPoint, ...]
    chosen: int


def measure_look_aheads(
    root: Path,
    speech: Path,
    *,
    chunk_frames: int = 1,
    precision: Precision = "fp32",
    threads: int | None = None,
    progress: Progress = silent,
) -> LookAheadReport:
    """Measure every look-ahead, on the CPU.

    Args:
        root: An artifact with a stream graph, of a one-pass model.
        speech: Folder of recordings, none of which was calibrated on.
        chunk_frames: Of every stream.
        precision: Of the graph.
        threads: Of the session; None takes one per core.
        progress: Told how far it is.

    Raises:
        InputError: The artifact is of another kind, or the recordings are at fault, or PESQ is not installed.
        ArtifactError, ProviderError: As `Vocoder.load`.
    """
    manifest = Artifact.open(root).manifest
    if manifest.driver != "direct":
        raise InputError(
            f"{root}: only one-pass models have low-latency streams, this is a {manifest.family}"
        )
    utterances = load_speech(speech, manifest)
    with Vocoder.load(root, precision=precision, session=SessionConfig(threads=threads)) as vocoder:
        offline = [vocoder.vocode(utterance.mel).samples[0] for utterance in utterances]
        judged = mean_figures(
            [_figures(u, audio, vocoder) for u, audio in zip(utterances, offline, strict=True)]
        )
        if judged["pesq_wb"] is None:
            raise InputError("low latency is judged by PESQ; pip install 'voirs-vocoder[eval]'")
        points = []
        for look_ahead_frames in range(manifest.look_ahead_frames + 1):
            progress(f"look-ahead {look_ahead_frames}", look_ahead_frames, manifest.look_ahead_frames + 1)
            points.append(_point(vocoder, utterances, offline, chunk_frames, look_ahead_frames))
        backend = vocoder.metadata.backend
    progress("measured", 1, 1)
    return LookAheadReport(
        family=manifest.family,
        variant=manifest.variant,
        precision=precision,
        backend=backend,
        chunk_frames=chunk_frames,
        frame_ms=1e3 * manifest.hop_length / manifest.sample_rate,
        recordings=len(utterances),
        speech_s=sum(u.samples.size for u in utterances) / manifest.sample_rate,
        offline_pesq_wb=judged["pesq_wb"],
        points=tuple(points),
        chosen=_chosen(points, judged["pesq_wb"]),
    )


def record_look_aheads(root: Path, report: LookAheadReport) -> Artifact:
    """Write table and plot into the artifact, and make the chosen look-ahead its default for low latency.

    Raises:
        ArtifactError: The artifact is damaged or another process is changing it.
        InputError: matplotlib is not installed, or it cannot be written.
    """
    data = msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"
    files = {_REPORT_PATH: data, _PLOT_PATH: look_ahead_png(report)}
    frames = report.points[report.chosen].look_ahead_frames
    with locked_artifact(root) as artifact:
        graphs = tuple(
            msgspec.structs.replace(graph, details={**graph.details, "low_latency_frames": frames})
            if graph.role == "stream"
            else graph
            for graph in artifact.manifest.graphs
        )
        changed = with_files(msgspec.structs.replace(artifact.manifest, graphs=graphs), files)
        return replace_manifest(artifact, changed, files)


def look_ahead_table(report: LookAheadReport) -> list[list[str]]:
    """The points as rows of text, the first being the header; the chosen one is marked."""
    rows = [["look-ahead", "latency ms", "p50 ms", "p99 ms", "RTF", "SNR dB", "PESQ lost", "LSD", ""]]
    for place, point in enumerate(report.points):
        rows.append(
            [
                str(point.look_ahead_frames),
                f"{point.latency_ms:.0f}",
                f"{point.compute_p50_ms:.1f}",
                f"{point.compute_p99_ms:.1f}",
                f"{point.rtf:.3f}",
                "equal" if point.snr_db is None else f"{point.snr_db:.1f}",
                _lost(report, point),
                "-" if point.lsd is None else f"{point.lsd:.3f}",
                "<- default" if place == report.chosen else "",
            ]
        )
    return rows


def _lost(report: LookAheadReport, point: LookAheadPoint) -> str:
    if report.offline_pesq_wb is None or point.pesq_wb is None:
        return "-"
    return f"{report.offline_pesq_wb - point.pesq_wb:.3f}"


def _chosen(points: Sequence[LookAheadPoint], offline_pesq_wb: float) -> int:
    """The first from which on nothing loses more than is allowed."""
    chosen = len(points) - 1
    for place in reversed(range(len(points))):
        pesq_wb = points[place].pesq_wb
        if pesq_wb is None or offline_pesq_wb - pesq_wb > _ALLOWED_PESQ_LOSS:
            break
        chosen = place
    return chosen


def _point(
    vocoder: Vocoder,
    utterances: Sequence[Speech],
    offline: Sequence[NDArray[np.float32]],
    chunk_frames: int,
    look_ahead_frames: int,
) -> LookAheadPoint:
    metadata = vocoder.metadata
    frame_ms = 1e3 * metadata.hop_length / metadata.sample_rate
    streaming = StreamingConfig(chunk_frames=chunk_frames, look_ahead_frames=look_ahead_frames)
    figures, ratios, times_ms = [], [], []
    for utterance, wanted in zip(utterances, offline, strict=True):
        mel = utterance.mel.values
        with vocoder.open_stream(streaming=streaming) as stream:
            pieces = [
                stream.push(mel[:, start : start + chunk_frames]).samples[0]
                for start in range(0, mel.shape[1], chunk_frames)
            ]
            pieces.append(stream.flush().samples[0])
            times_ms.append((stream.statistics.compute_p50_ms, stream.statistics.compute_p99_ms))
        audio = np.concatenate(pieces)
        figures.append(_figures(utterance, audio, vocoder))
        ratios.append(snr_db(wanted, audio))
    p50_ms, p99_ms = (float(np.median([times[index] or 0.0 for times in times_ms])) for index in range(2))
    mean_ratio = float(np.mean(ratios))
    judged = mean_figures(figures)
    return LookAheadPoint(
        look_ahead_frames=look_ahead_frames,
        latency_ms=(chunk_frames + look_ahead_frames) * frame_ms + p99_ms,
        compute_p50_ms=p50_ms,
        compute_p99_ms=p99_ms,
        rtf=p50_ms / (chunk_frames * frame_ms),
        snr_db=mean_ratio if np.isfinite(mean_ratio) else None,
        pesq_wb=judged["pesq_wb"],
        lsd=judged["lsd"],
    )


def _figures(utterance: Speech, audio: NDArray[np.float32], vocoder: Vocoder) -> dict[str, float | None]:
    metadata = vocoder.metadata
    return measure(
        utterance.samples,
        audio[: utterance.samples.size],
        metadata.sample_rate,
        metadata.convention,
        _FIGURES,
    )
