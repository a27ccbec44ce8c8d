"""What the project's benchmark measures of streams: their cost against the offline pass, and how many fit."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.benchmark.project_report import Finding
from voirs_vocoder.export.bench.artifact import bench_mel
from voirs_vocoder.export.bench.fresh_process import python_command, run_fresh
from voirs_vocoder.export.bench.paired import interleaved_times, ratio_estimate
from voirs_vocoder.runtime import Artifact, SessionConfig, StreamingConfig, Vocoder, VocoderStream
from voirs_vocoder.runtime.providers.onnxruntime import OrtSession

__all__ = ["stream_findings"]

_MB = 1e6
_FRAMES = 192
_CHUNK_FRAMES = 16
_SMALL_CHUNK_FRAMES = 8
_MAX_COST = {"v1": 1.08, "v2": 1.40, "v3": 1.15}
_MIN_DISCARD_GAIN = 3.3
_OPEN_STREAMS = 1000
_MAX_OPEN_MB = 1500.0
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


def stream_findings(artifacts: Mapping[str, Artifact], folder: Path, pairs: int) -> list[Finding]:
    """Measure streams on one core.

    Args:
        artifacts: By variant.
        folder: For what a fresh process reads.
        pairs: Rounds of V1; the others take three times as many.

    Raises:
        ExportError: A fresh process failed.
    """
    findings = []
    for variant, artifact in artifacts.items():
        findings.extend(_costs(variant, artifact, pairs if variant == "v1" else 3 * pairs))
        findings.append(_streams_per_core(variant, artifact))
    findings.append(_open_streams(artifacts["v2"], folder))
    return findings


def _costs(variant: str, artifact: Artifact, pairs: int) -> list[Finding]:
    """CPU time of a stream against that of the offline pass, and of overlap that is discarded against the stream."""
    manifest = artifact.manifest
    mel = bench_mel(manifest.mel, _FRAMES)
    entry = artifact.graph("offline", "fp32")
    config = SessionConfig(threads=1)
    session = OrtSession(artifact.read(entry.file), entry, "cpu", config)
    context = manifest.context_frames + manifest.look_ahead_frames
    streaming = StreamingConfig(chunk_frames=None)
    with (
        Vocoder.load(artifact.root, session=config) as vocoder,
        vocoder.open_stream(streaming=streaming) as stream,
    ):
        calls = {"offline": partial(session.run, {"mel": mel[np.newaxis]})} | {
            f"stream {size}": partial(_stream, stream, mel, size)
            for size in (_CHUNK_FRAMES, _SMALL_CHUNK_FRAMES)
        }
        window = mel[np.newaxis, :, : _SMALL_CHUNK_FRAMES + context].copy()
        calls["discard"] = partial(_discard, session, window, _FRAMES // _SMALL_CHUNK_FRAMES)
        times = interleaved_times(calls, pairs=pairs, clock=time.process_time)
    name = variant.upper()
    findings = []
    for size in (_CHUNK_FRAMES, _SMALL_CHUNK_FRAMES):
        cost = ratio_estimate(times[f"stream {size}"], times["offline"])
        goal = _MAX_COST[variant] if size == _CHUNK_FRAMES else None
        title = f"{name} stream, {size} frames: CPU time / offline pass"
        findings.append(Finding(name=title, value=cost.median, estimate=cost, goal=goal))
    gain = ratio_estimate(times["discard"], times[f"stream {_SMALL_CHUNK_FRAMES}"])
    title = f"{name} stream, {_SMALL_CHUNK_FRAMES} frames: times faster than discarded overlap"
    least = _MIN_DISCARD_GAIN if variant == "v1" else None
    findings.append(Finding(name=title, value=gain.median, estimate=gain, goal=least, bound="min"))
    return findings


def _stream(stream: VocoderStream, mel: NDArray[np.float32], chunk_frames: int) -> None:
    """The chunks of an utterance, without its end, whose look-ahead would count as work."""
    stream.reset()
    for start in range(0, mel.shape[1], chunk_frames):
        stream.push(mel[:, start : start + chunk_frames])


def _discard(session: OrtSession, window: NDArray[np.float32], runs: int) -> None:
    for _ in range(runs):
        session.run({"mel": window})


def _streams_per_core(variant: str, artifact: Artifact) -> Finding:
    """How many streams one core serves: the 99th percentile of a round of all of them is below a chunk's duration."""
    manifest = artifact.manifest
    chunk_s = _CHUNK_FRAMES * manifest.hop_length / manifest.sample_rate
    chunk = bench_mel(manifest.mel, _CHUNK_FRAMES)
    with Vocoder.load(artifact.root, session=SessionConfig(threads=1)) as vocoder:
        count = max(1, int(chunk_s / np.median(_rounds(vocoder, chunk, 1))))
        while count and np.percentile(_rounds(vocoder, chunk, count), 99) > chunk_s:
            count -= max(1, count // 10)
    return Finding(
        name=f"{variant.upper()}: streams per core in real time, {_CHUNK_FRAMES} frames, p99",
        value=float(count),
    )


def _rounds(vocoder: Vocoder, chunk: NDArray[np.float32], count: int) -> NDArray[np.float64]:
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


def _open_streams(artifact: Artifact, folder: Path) -> Finding:
    path = folder / "chunk.npy"
    np.save(path, bench_mel(artifact.manifest.mel, _CHUNK_FRAMES))
    run = run_fresh(python_command(_OPEN_MANY, artifact.root, _OPEN_STREAMS, path))
    return Finding(
        name=f"V2: {_OPEN_STREAMS:,} open streams: peak memory",
        value=run.peak_bytes / _MB,
        unit="MB",
        goal=_MAX_OPEN_MB,
    )
