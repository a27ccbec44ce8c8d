"""Baseline of an artifact: quality and ratios of speed, stored once, with which later measurements are compared."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.export.bench.artifact import bench_mel
from voirs_vocoder.export.bench.paired import Estimate, interleaved_times, ratio_estimate
from voirs_vocoder.export.validation.candidates import Candidate, cpu_candidates
from voirs_vocoder.export.validation.means import mean_figures
from voirs_vocoder.export.validation.speech import Speech, load_speech
from voirs_vocoder.runtime import Artifact, Vocoder
from voirs_vocoder.runtime.analysis.levels import level_db, rms_db
from voirs_vocoder.runtime.analysis.spectrum import spectral_centroid_hz
from voirs_vocoder.runtime.artifact.manifest import Recording
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.files import read_bounded
from voirs_vocoder.runtime.metrics import FIGURES, measure
from voirs_vocoder.runtime.metrics.pitch import f0_hz
from voirs_vocoder.runtime.progress import Progress, silent
from voirs_vocoder.runtime.structured import decode_json

__all__ = [
    "Baseline",
    "Change",
    "GraphBaseline",
    "changes",
    "changes_table",
    "decode_baseline",
    "golden_figures",
    "measure_baseline",
    "read_baseline",
]

_FORMAT = 1
_QUALITY = ("pesq_wb", "stoi", "lsd", "mel_l1", "multi_resolution_stft")
_SIGNAL = ("snr_db",)
_MAX_BYTES = 4 << 20
# How far a figure of the audio itself may move in either direction; those of quality have a row of `FIGURES`.
_GOLDEN_TOLERANCES = {"rms_db": 0.5, "spectral_centroid_hz": 60.0, "f0_median_hz": 5.0, "high_band_db": 2.0}
_HIGH_BAND_HZ = 4_000.0
# A ratio is worse when its interval lies beyond that of the baseline by more than this.
_RATIO_TOLERANCE = 1.1
# The difference of FP32 in two libraries; above it, changes mean nothing.
_MOST_SNR_DB = 90.0
_QUIETEST_DB = -120.0


class GraphBaseline(msgspec.Struct, frozen=True, kw_only=True):
    """A graph on a backend.

    Attributes:
        quality: Means over the recordings; `snr_db` against FP32 on the CPU, limited to 90; None where nothing could
            measure.
        golden: Name of the recording to figures of the audio itself, those of `golden_figures`.
        time_ratio: Computing time divided by that of FP32 on the CPU.
    """

    quality: dict[str, float | None]
    golden: dict[str, dict[str, float]]
    time_ratio: Estimate


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """Quality and ratios of speed of an artifact.

    Attributes:
        format: Version of the format of the file.
        model: Family and variant of the model.
        checkpoint_sha256: SHA-256 of the source checkpoint; None where it is unknown.
        recordings: Recordings that were vocoded.
        graphs: Title of a graph on a backend to its figures, such as `int8.cpu on cpu`.
    """

    format: int
    model: str
    checkpoint_sha256: str | None
    recordings: tuple[Recording, ...]
    graphs: dict[str, GraphBaseline]


class Change(msgspec.Struct, frozen=True):
    """A figure of a graph before and now.

    Attributes:
        graph: Title of the graph on its backend.
        recording: Name of the recording; None for a mean over all recordings.
        figure: Name of the figure.
        then: Value in the baseline.
        now: Value that was measured now; NaN where nothing could measure it.
        worse: Whether the change is for the worse and beyond the tolerance.
    """

    graph: str
    recording: str | None
    figure: str
    then: float
    now: float
    worse: bool


def measure_baseline(
    root: Path, speech: Path, *, seconds: float = 2.0, pairs: int = 15, progress: Progress = silent
) -> Baseline:
    """Measure every graph on every backend here.

    Args:
        root: Directory of the artifact, which is not changed.
        speech: Folder of recordings, none of which INT8 was calibrated on.
        seconds: Length of the utterance that is timed, in seconds.
        pairs: Number of rounds of timing.
        progress: Receives the number of graphs that are done.

    Raises:
        InputError: The recordings or the number of pairs cannot be used.
        ArtifactError: The artifact is damaged.
    """
    artifact = Artifact.open(root)
    manifest = artifact.manifest
    utterances = load_speech(speech, manifest)
    candidates = cpu_candidates(artifact)
    references: list[NDArray[np.float32]] = []
    found: dict[str, tuple[dict[str, float | None], dict[str, dict[str, float]]]] = {}
    for number, candidate in enumerate(candidates):
        progress(f"quality of {candidate.title}", number, len(candidates))
        with candidate.open() as vocoder:
            audios = [vocoder.vocode(u.mel).samples[0, : u.samples.size] for u in utterances]
        references = references or audios
        found[candidate.title] = _quality(utterances, audios, references, artifact)
    progress("timing", 0, 0)
    times = _time_ratios(candidates, artifact, seconds, pairs)
    return Baseline(
        format=_FORMAT,
        model=f"{manifest.family} {manifest.variant}",
        checkpoint_sha256=manifest.source.checkpoint_sha256,
        recordings=tuple(utterance.recording for utterance in utterances),
        graphs={
            name: GraphBaseline(quality=quality, golden=golden, time_ratio=times[name])
            for name, (quality, golden) in found.items()
        },
    )


def golden_figures(samples: NDArray[np.float32], sample_rate: int) -> dict[str, float]:
    """Level, brightness and pitch of audio, which a listener notices first.

    Args:
        samples: Float32 [samples], more than 1024.
        sample_rate: Sample rate in Hz.

    Returns:
        `rms_db`, `spectral_centroid_hz`, `f0_median_hz` (0 without a voiced frame), and `high_band_db`, the level above
        4 kHz relative to the whole.

    Raises:
        InputError: There are too few samples.
    """
    periods = f0_hz(samples, sample_rate)
    voiced = periods[np.isfinite(periods)]
    power = np.abs(np.fft.rfft(samples.astype(np.float64))) ** 2
    high = power[np.fft.rfftfreq(samples.size, 1.0 / sample_rate) >= _HIGH_BAND_HZ].sum()
    total = float(power.sum())
    return {
        "rms_db": max(_QUIETEST_DB, rms_db(samples[np.newaxis])),
        "spectral_centroid_hz": spectral_centroid_hz(samples, sample_rate),
        "f0_median_hz": float(np.median(voiced)) if voiced.size else 0.0,
        "high_band_db": max(_QUIETEST_DB, level_db(math.sqrt(float(high) / total)))
        if total
        else _QUIETEST_DB,
    }


def read_baseline(path: Path) -> Baseline:
    """A baseline from its file.

    Raises:
        InputError: The file is missing or too large, or as `decode_baseline`.
    """
    return decode_baseline(read_bounded(path, _MAX_BYTES), str(path))


def decode_baseline(data: bytes, where: str) -> Baseline:
    """A baseline from the content of its file.

    Raises:
        InputError: It is none, of a later format, or has figures that this version does not measure; `where` begins the
            message.
    """
    try:
        baseline = decode_json(data, Baseline)
    except InputError as error:
        raise InputError(
            f"{where}: not a baseline ({error}); make one with voirs-vocoder bench DIR --speech S --save-baseline FILE"
        ) from error
    if baseline.format != _FORMAT:
        raise InputError(f"{where}: baseline format must be {_FORMAT}, got {baseline.format}; make a new one")
    recordings = {recording.name for recording in baseline.recordings}
    for title, graph in baseline.graphs.items():
        golden = {name for figures in graph.golden.values() for name in figures}
        for kind, names, known in (
            ("figure", set(graph.quality), {*_QUALITY, *_SIGNAL}),
            ("figure", golden, set(_GOLDEN_TOLERANCES)),
            ("recording", set(graph.golden), recordings),
        ):
            if unknown := sorted(names - known):
                raise InputError(
                    f"{where}: {title!r} has the unknown {kind} {unknown[0]!r}; make a new baseline"
                )
    return baseline


def changes(then: Baseline, now: Baseline) -> list[Change]:
    """Every figure of a baseline against what was measured now.

    Raises:
        InputError: They are of other models or recordings, or have no graph in common.
    """
    if then.model != now.model or then.recordings != now.recordings:
        raise InputError(
            f"the baseline is of {then.model} on {len(then.recordings)} recordings, this is {now.model} on "
            f"{len(now.recordings)}; measure the same model on the same recordings"
        )
    shared = [name for name in then.graphs if name in now.graphs]
    if not shared:
        raise InputError(
            f"the baseline has {', '.join(then.graphs)}, here run {', '.join(now.graphs)}; export the same precisions"
        )
    return [change for name in shared for change in _changes(name, then.graphs[name], now.graphs[name])]


def changes_table(found: list[Change]) -> list[list[str]]:
    """Changes as rows of text, the first being the header."""
    rows = [
        [c.graph, c.recording or "all", c.figure, f"{c.then:.4g}", f"{c.now:.4g}", "worse" if c.worse else ""]
        for c in found
    ]
    return [["graph", "recording", "figure", "then", "now", ""], *rows]


def _changes(graph: str, then: GraphBaseline, now: GraphBaseline) -> Iterator[Change]:
    for name, before in then.quality.items():
        after = now.quality.get(name)
        if before is None:
            continue
        # A figure that can no longer be measured counts as worse.
        value = math.nan if after is None else after
        yield Change(graph, None, name, before, value, FIGURES[name].is_worse(before, value))
    for recording, figures in then.golden.items():
        for name, before in figures.items():
            value = now.golden.get(recording, {}).get(name, math.nan)
            within = abs(value - before) <= _GOLDEN_TOLERANCES[name]
            # NaN is not within any tolerance.
            yield Change(graph, recording, name, before, value, not within)
    slower = now.time_ratio.low > _RATIO_TOLERANCE * then.time_ratio.high
    yield Change(graph, None, "time / fp32", then.time_ratio.median, now.time_ratio.median, slower)


def _quality(
    utterances: list[Speech],
    audios: list[NDArray[np.float32]],
    references: list[NDArray[np.float32]],
    artifact: Artifact,
) -> tuple[dict[str, float | None], dict[str, dict[str, float]]]:
    manifest = artifact.manifest
    rows, golden = [], {}
    for utterance, audio, reference in zip(utterances, audios, references, strict=True):
        layout = (manifest.sample_rate, manifest.mel)
        signal = measure(reference, audio, *layout, _SIGNAL)
        limited = {
            name: None if value is None else min(value, _MOST_SNR_DB) for name, value in signal.items()
        }
        rows.append({**measure(utterance.samples, audio, *layout, _QUALITY), **limited})
        golden[utterance.recording.name] = golden_figures(audio, manifest.sample_rate)
    return mean_figures(rows), golden


def _time_ratios(
    candidates: list[Candidate], artifact: Artifact, seconds: float, pairs: int
) -> dict[str, Estimate]:
    manifest = artifact.manifest
    frames = max(1, round(seconds * manifest.sample_rate / manifest.hop_length))
    mel = bench_mel(manifest.mel, frames)
    opened: dict[str, Vocoder] = {candidate.title: candidate.open() for candidate in candidates}
    try:
        calls: dict[str, Callable[[], object]] = {
            name: partial(vocoder.vocode, mel) for name, vocoder in opened.items()
        }
        times = interleaved_times(calls, pairs=pairs)
    finally:
        for vocoder in opened.values():
            vocoder.close()
    baseline = next(iter(times.values()))
    return {name: ratio_estimate(values, baseline) for name, values in times.items()}
