"""What the benchmark measures of streams: their cost against the offline pass, and how many run at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.benchmark.cases import BenchCase
from tests.benchmark.goals import Finding
from tests.benchmark.models import BenchModel
from tests.benchmark.speed import estimated, rounds, session_of
from voirs_vocoder.export.bench.artifact import bench_mel
from voirs_vocoder.export.bench.fresh_process import python_command, run_fresh
from voirs_vocoder.export.bench.paired import Times, interleaved_times, ratio_estimate
from voirs_vocoder.runtime import SessionConfig, StreamingConfig, Vocoder, VocoderStream
from voirs_vocoder.runtime.providers.onnxruntime import OrtSession

__all__ = ["open_streams", "stream_costs", "stream_times", "streams_per_core"]

_MB = 1e6
_FRAMES = 192
_CHUNK_FRAMES = 16
_SMALL_CHUNK_FRAMES = 8
_SIZES = (_CHUNK_FRAMES, _SMALL_CHUNK_FRAMES)
_OPEN_STREAMS = 1000
_ROUNDS = 40
_WARM_UP_ROUNDS = 3

_OPEN_MANY = """
import sys
import numpy
from voirs_vocoder.runtime import SessionConfig, Vocoder
root, count, mel = sys.argv[1:]
chunk = numpy.load(mel)
vocoder = Vocoder.load(root, session=SessionConfig(threads=1))
streams = [vocoder.open_stream() for _ in range(int(count))]
for _ in range(2):
    for stream in streams:
        stream.push(chunk)
print(sum(stream.statistics.samples for stream in streams))
"""


def stream_costs(model: BenchModel, pairs: int) -> list[Finding]:
    """CPU time of a stream against that of the offline pass, and of overlap that is discarded against the stream.

    Args:
        model: A model with the graphs `offline` and `stream`.
        pairs: Rounds of a case of scale 1.
    """
    case, manifest = model.case, model.artifact.manifest
    context = manifest.context_frames + manifest.look_ahead_frames
    times = _times(model, pairs, 1, time.process_time, discarded_frames=context)
    findings = _against_offline(case, times, "", ": CPU time")
    gain = ratio_estimate(times["discard"], times[f"stream {_SMALL_CHUNK_FRAMES}"])
    name = f"{case.title} stream, {_SMALL_CHUNK_FRAMES} frames: times faster than discarded overlap"
    findings.append(estimated(case, "stream_gain_8", name, gain))
    return findings


def stream_times(model: BenchModel, pairs: int, threads: int) -> list[Finding]:
    """Time of a stream against that of the offline pass, both on all threads.

    Args:
        model: A model with the graphs `offline` and `stream`.
        pairs: Rounds of a case of scale 1.
        threads: Number of threads.
    """
    times = _times(model, pairs, threads, time.perf_counter)
    return _against_offline(model.case, times, "_threads", f", {threads} threads: time")


def streams_per_core(model: BenchModel) -> Finding:
    """Number of streams that one core serves.

    The 99th percentile of the time for a chunk of each of them is below a chunk's duration.

    Args:
        model: A model with the graph `stream`.
    """
    manifest = model.artifact.manifest
    chunk_s = _CHUNK_FRAMES * manifest.hop_length / manifest.sample_rate
    chunk = bench_mel(manifest.mel, _CHUNK_FRAMES)
    with Vocoder.load(model.artifact.root, session=SessionConfig(threads=1)) as vocoder:
        count = max(1, int(chunk_s / np.median(_round_times_s(vocoder, chunk, 1))))
        while count and np.percentile(_round_times_s(vocoder, chunk, count), 99) > chunk_s:
            count -= max(1, count // 10)
    return Finding(
        name=f"{model.case.title}: streams per core in real time, {_CHUNK_FRAMES} frames, p99",
        value=float(count),
        goal=model.case.figures["streams_per_core"],
        case=model.case.key,
        figure="streams_per_core",
    )


def open_streams(model: BenchModel, folder: Path) -> Finding:
    """Peak memory of a fresh process with a thousand open streams over one model.

    Args:
        model: A model with the graph `stream`.
        folder: Folder for the mel.
    """
    path = folder / "chunk.npy"
    np.save(path, bench_mel(model.artifact.manifest.mel, _CHUNK_FRAMES))
    run = run_fresh(python_command(_OPEN_MANY, model.artifact.root, _OPEN_STREAMS, path))
    return Finding(
        name=f"{model.case.title}: {_OPEN_STREAMS:,} open streams: peak memory",
        value=run.peak_bytes / _MB,
        unit="MB",
        goal=model.case.figures["open_streams_mb"],
        case=model.case.key,
        figure="open_streams_mb",
    )


def _against_offline(case: BenchCase, times: Times, suffix: str, what: str) -> list[Finding]:
    """The times of streams as multiples of that of the offline pass; `suffix` ends the figures, `what` the names."""
    return [
        estimated(
            case,
            f"stream_{size}{suffix}",
            f"{case.title} stream, {size} frames{what} / offline pass",
            ratio_estimate(times[f"stream {size}"], times["offline"]),
        )
        for size in _SIZES
    ]


def _times(
    model: BenchModel,
    pairs: int,
    threads: int,
    clock: Callable[[], float],
    *,
    discarded_frames: int | None = None,
) -> Times:
    """Times of the offline pass, of streams and, with a number of frames to discard, of overlapping windows."""
    artifact = model.artifact
    mel = bench_mel(artifact.manifest.mel, _FRAMES)
    session, _ = session_of(artifact, "offline", "fp32", threads=threads)
    with (
        Vocoder.load(artifact.root, session=SessionConfig(threads=threads)) as vocoder,
        vocoder.open_stream(streaming=StreamingConfig(chunk_frames=None)) as stream,
    ):
        calls: dict[str, Callable[[], object]] = {"offline": partial(session.run, {"mel": mel[np.newaxis]})}
        for size in _SIZES:
            calls[f"stream {size}"] = partial(_stream, stream, mel, size)
        if discarded_frames is not None:
            window = mel[np.newaxis, :, : _SMALL_CHUNK_FRAMES + discarded_frames].copy()
            calls["discard"] = partial(_discard, session, window, _FRAMES // _SMALL_CHUNK_FRAMES)
        return interleaved_times(calls, pairs=rounds(model.case, pairs), clock=clock)


def _stream(stream: VocoderStream, mel: NDArray[np.float32], chunk_frames: int) -> None:
    """Push the chunks of an utterance without flushing, since the look-ahead at its end would count as work."""
    stream.reset()
    for start in range(0, mel.shape[1], chunk_frames):
        stream.push(mel[:, start : start + chunk_frames])


def _discard(session: OrtSession, window: NDArray[np.float32], runs: int) -> None:
    for _ in range(runs):
        session.run({"mel": window})


def _round_times_s(vocoder: Vocoder, chunk: NDArray[np.float32], count: int) -> NDArray[np.float64]:
    """Seconds that a chunk of each of `count` streams takes, round by round."""
    streams = [vocoder.open_stream() for _ in range(count)]
    times_s = []
    for _ in range(_WARM_UP_ROUNDS + _ROUNDS):
        started_s = time.perf_counter()
        for stream in streams:
            stream.push(chunk)
        times_s.append(time.perf_counter() - started_s)
    for stream in streams:
        stream.close()
    return np.array(times_s[_WARM_UP_ROUNDS:])
