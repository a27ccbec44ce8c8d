"""Tuning of the look-ahead: quality and computing time of low-latency streams, from none to the whole look-ahead."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.export.artifact.change import Change, change_artifact
from voirs_vocoder.export.artifact.provenance import command_record
from voirs_vocoder.export.artifact.writer import with_files
from voirs_vocoder.export.tuning.pictures import new_figure, png_of
from voirs_vocoder.export.validation.means import mean_figures
from voirs_vocoder.export.validation.speech import Speech, load_speech
from voirs_vocoder.runtime import Artifact, SessionConfig, StreamingConfig, Vocoder
from voirs_vocoder.runtime.artifact.manifest import Manifest, Precision
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.files import indented_json
from voirs_vocoder.runtime.metrics import measure, snr_db, tolerance_of
from voirs_vocoder.runtime.optional import missing_package
from voirs_vocoder.runtime.progress import Progress, silent

__all__ = [
    "LOOK_AHEAD_PATH",
    "LOOK_AHEAD_PLOT_PATH",
    "LookAheadPoint",
    "LookAheadReport",
    "look_ahead_png",
    "look_ahead_problem",
    "look_ahead_table",
    "measure_look_aheads",
    "record_look_aheads",
]

LOOK_AHEAD_PATH = "validation/look-ahead.json"
"""Path of the report inside an artifact."""
LOOK_AHEAD_PLOT_PATH = "validation/look-ahead.png"
"""Path of the plot inside an artifact."""

_FIGURES = ("pesq_wb", "lsd")
_SIZE_INCHES = (13.0, 4.2)


class LookAheadPoint(msgspec.Struct, frozen=True, kw_only=True):
    """Look-ahead of a stream, measured.

    Attributes:
        look_ahead_frames: Mel frames that the stream awaits; the frames after them are extrapolated.
        latency_ms: Duration of chunk and look-ahead plus `compute_p99_ms`.
        compute_p50_ms: Median computing time per chunk, both runs of the graph included.
        compute_p99_ms: 99th percentile of the computing time per chunk.
        rtf: Seconds of compute per second of audio.
        snr_db: Mean SNR against the offline pass, in dB; None where the samples are equal.
        pesq_wb: Mean PESQ against the recordings; None where it could not be measured.
        lsd: Mean log-spectral distance to the recordings; None where it could not be measured.
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
    """All look-aheads of an artifact, measured.

    Attributes:
        family: Model family of the artifact.
        variant: Variant of the artifact's model.
        precision: Precision of the graph that was measured.
        backend: Library and version that ran the graph.
        chunk_frames: Mel frames per chunk of every stream.
        frame_ms: Duration of a mel frame.
        recordings: Number of recordings.
        speech_s: Total length of the recordings, in seconds.
        offline_pesq_wb: Mean PESQ of the offline pass; None where it could not be measured.
        points: One point per look-ahead, in ascending order; the last one is exact.
        chosen: Index in `points` of the least look-ahead that loses at most the tolerance of PESQ.
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


def look_ahead_problem(manifest: Manifest) -> str | None:
    """Why an artifact has no look-ahead to tune; None if it has one.

    Args:
        manifest: Manifest of the artifact.
    """
    if manifest.driver != "direct":
        return f"only one-pass models have low-latency streams, this is a {manifest.family}"
    if not any(graph.role == "stream" for graph in manifest.graphs):
        return "low-latency streams need a stream graph, the artifact has none; export it again with stream graphs"
    return None


def measure_look_aheads(
    root: Path,
    speech: Path,
    *,
    chunk_frames: int = 1,
    precision: Precision = "fp32",
    threads: int | None = None,
    progress: Progress = silent,
) -> LookAheadReport:
    """Measure streams with every look-ahead on the CPU.

    Args:
        root: Directory of an artifact of a one-pass model with a stream graph; it is not changed.
        speech: Folder of recordings, none of which INT8 was calibrated on.
        chunk_frames: Mel frames per chunk of every stream.
        precision: Precision of the graph to run.
        threads: Worker threads of the session; None uses one per core.
        progress: Receives the number of look-aheads that are done.

    Raises:
        InputError: The model has no low-latency streams, the recordings cannot be used, or PESQ is not installed.
        ArtifactError: The artifact is damaged or has no graph of that precision.
        ProviderError: The graph cannot be run.
    """
    manifest = Artifact.open(root).manifest
    problem = look_ahead_problem(manifest)
    if problem is not None:
        raise InputError(f"{root}: {problem}")
    utterances = load_speech(speech, manifest)
    with Vocoder.load(root, precision=precision, session=SessionConfig(threads=threads)) as vocoder:
        offline = [vocoder.vocode(utterance.mel).samples[0] for utterance in utterances]
        judged = mean_figures(
            [_figures(u, audio, vocoder) for u, audio in zip(utterances, offline, strict=True)]
        )
        if judged["pesq_wb"] is None:
            raise InputError(missing_package("judging low latency", "pesq", "eval"))
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

    Args:
        root: Directory of the artifact.
        report: Measured look-aheads of that artifact.

    Returns:
        The changed artifact.

    Raises:
        ArtifactError: The artifact is damaged or another process is changing it.
        InputError: matplotlib is not installed, or the artifact cannot be written.
    """
    data = indented_json(report)
    files = {LOOK_AHEAD_PATH: data, LOOK_AHEAD_PLOT_PATH: look_ahead_png(report)}
    frames = report.points[report.chosen].look_ahead_frames

    def edit(artifact: Artifact) -> Change:
        graphs = tuple(
            msgspec.structs.replace(
                graph, facts=msgspec.structs.replace(graph.facts, low_latency_frames=frames)
            )
            if graph.role == "stream"
            else graph
            for graph in artifact.manifest.graphs
        )
        return with_files(msgspec.structs.replace(artifact.manifest, graphs=graphs), files), files

    record = command_record(
        "tune", {"only": "look-ahead", "precision": report.precision, "recordings": report.recordings}
    )
    return change_artifact(root, edit, record)


def look_ahead_table(report: LookAheadReport) -> list[list[str]]:
    """The points as rows of text, the first row being the header; the chosen one is marked."""
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


def look_ahead_png(report: LookAheadReport) -> bytes:
    """Draw PESQ lost, SNR and LSD, and latency against look-ahead.

    Args:
        report: Measured look-aheads.

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
    allowed = tolerance_of("pesq_wb")
    quality.axhline(allowed, color="black", linewidth=0.8, linestyle="--", label=f"{allowed:g}")
    quality.set_ylabel("PESQ lost against the offline pass")
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


def _lost(report: LookAheadReport, point: LookAheadPoint) -> str:
    if report.offline_pesq_wb is None or point.pesq_wb is None:
        return "-"
    return f"{report.offline_pesq_wb - point.pesq_wb:.3f}"


def _chosen(points: Sequence[LookAheadPoint], offline_pesq_wb: float) -> int:
    """Index of the first point from which on no point loses more PESQ than its tolerance."""
    allowed = tolerance_of("pesq_wb")
    chosen = len(points) - 1
    for place in reversed(range(len(points))):
        pesq_wb = points[place].pesq_wb
        if pesq_wb is None or offline_pesq_wb - pesq_wb > allowed:
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
