"""The sections of the GPU tests: each measures one thing of every model that it concerns."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.gpu.artifacts import MODELS
from tests.gpu.measuring import gpu_memory_mb, snr_db, speech_mel, timed
from tests.gpu.report import Figure
from voirs_vocoder.export.precisions import get_precision
from voirs_vocoder.runtime import (
    Artifact,
    SessionConfig,
    StreamingConfig,
    Vocoder,
    VocoderStream,
    VocodingConfig,
    VoirsVocoderError,
)
from voirs_vocoder.runtime.providers import get_provider

__all__ = ["SECTIONS", "Rig"]

_FRAMES = 200
# What a precision may cost against FP32 on the CPU, in dB of SNR.
_LEAST_SNR_DB = {"fp32": 80.0, "fp16": 45.0}
_TF32 = "tf32"
_TF32_MODELS = ("hifigan-v2", "waveglow")
_LENGTHS = 50
_THREADS = 8
_ONE_PASS = ("hifigan-v1", "hifigan-v2", "hifigan-v3")
_MS_GOALS = {("hifigan-v1", 1): 2.0, ("hifigan-v1", 16): 14.0, ("hifigan-v2", 1): 1.4, ("hifigan-v3", 1): 0.6}
_CHUNK_FRAMES = 16
_STREAM_COUNTS = (1, 16, 64, 256)


@dataclass(frozen=True)
class Rig:
    """What the sections share.

    Attributes:
        artifacts: Folder of the artifacts.
        providers: Names of the providers to measure.
        rehearsal: Whether this is a run on a machine without a GPU, with less of everything.
    """

    artifacts: Path
    providers: tuple[str, ...]
    rehearsal: bool

    def models(self, names: tuple[str, ...] = MODELS) -> tuple[str, ...]:
        """The models among `names` whose artifacts are there."""
        return tuple(name for name in names if (self.artifacts / name / "manifest.json").is_file())

    @contextmanager
    def vocoder(
        self, model: str, precision: str, provider: str, session: SessionConfig | None = None
    ) -> Iterator[Vocoder]:
        """A loaded model, closed at the end."""
        vocoder = Vocoder.load(
            self.artifacts / model, provider=provider, precision=precision, session=session
        )
        with vocoder:
            yield vocoder

    def mel(self, model: str, frames: int) -> NDArray[np.float32]:
        """A mel of speech in the convention of a model."""
        return speech_mel(Artifact.open(self.artifacts / model).manifest.mel, frames)


def matrix(rig: Rig) -> Iterator[Figure]:
    """Every family, role, precision and provider against FP32 on the CPU."""
    for model in rig.models():
        config = _config(model)
        frames = 40 if rig.rehearsal or model in ("waveglow-256", "diffwave-base") else _FRAMES
        mel = rig.mel(model, frames)
        with rig.vocoder(model, "fp32", "cpu") as cpu:
            wanted = cpu.vocode(mel, config).samples
        for provider in rig.providers:
            for mode, least_db in _modes(model, provider).items():
                title = f"{model} {mode} on {provider}"
                precision = "fp32" if mode == _TF32 else mode
                session = SessionConfig(batching="together", tf32=mode == _TF32)
                try:
                    with rig.vocoder(model, precision, provider, session) as vocoder:
                        for role, run in _roles(vocoder, mel, config):
                            yield _exactness(f"{title}: {role}", wanted, run, least_db)
                except VoirsVocoderError as error:
                    yield Figure(
                        name=title, value=None, unit="dB", limit=least_db, bound="min", note=str(error)
                    )


def new_lengths(rig: Rig) -> Iterator[Figure]:
    """What a length costs that was never run before, as a multiple of its bucket's time."""
    generator = np.random.default_rng(0)
    for provider in rig.providers:
        for model in rig.models(("hifigan-v1", "hifigan-v2", "waveglow", "diffwave")):
            count = 5 if rig.rehearsal else _LENGTHS
            lengths = generator.choice(np.arange(20, 500), count, replace=False)
            session = SessionConfig(warm=(32, 64, 128, 256, 512), batching="alone")
            try:
                with rig.vocoder(model, "fp16", provider, session) as vocoder:
                    yield _lengths(f"{model} fp16 on {provider}", vocoder, rig.mel(model, 500), lengths)
            except VoirsVocoderError as error:
                yield Figure(name=f"{model} on {provider}", value=None, note=str(error))


def buckets(rig: Rig) -> Iterator[Figure]:
    """Time of whole calls, from a mel in host memory to audio in host memory."""
    for provider in rig.providers:
        for model in rig.models():
            for precision in ("fp32", "fp16"):
                for batch in (1, 16):
                    if batch > 1 and (
                        model in ("waveglow-256", "diffwave-base", "diffwave", "diffwave-unet")
                        or rig.rehearsal
                    ):
                        continue
                    yield from _bucket(rig, model, precision, provider, batch)


def streams(rig: Rig) -> Iterator[Figure]:
    """Live streams, alone and at once: time per chunk, and whether all keep up with real time."""
    for provider in rig.providers:
        for model in rig.models(("hifigan-v1", "hifigan-v2")):
            for precision in ("fp32", "fp16"):
                for count in (1, 4) if rig.rehearsal else _STREAM_COUNTS:
                    if (model, precision) == ("hifigan-v1", "fp32") and count > 1:
                        continue
                    title = f"{model} {precision} on {provider}: {count} streams"
                    try:
                        yield from _streams(rig, title, model, precision, provider, count)
                    except VoirsVocoderError as error:
                        yield Figure(name=title, value=None, unit="ms", note=str(error))


def threads(rig: Rig) -> Iterator[Figure]:
    """Many threads at once, while shapes are still being prepared: the worst of all their results."""
    generator = np.random.default_rng(0)
    for provider in rig.providers:
        for model in rig.models(("hifigan-v2", "diffwave")):
            lengths = generator.integers(20, 60 if rig.rehearsal else 500, 6 if rig.rehearsal else 48)
            mel = rig.mel(model, 500)
            mels = [np.ascontiguousarray(mel[:, :length]) for length in lengths]
            name = f"{model} fp32 on {provider}: {_THREADS} threads, worst of {len(mels)}"
            least_db = _LEAST_SNR_DB["fp32"]
            try:
                with rig.vocoder(model, "fp32", "cpu") as cpu:
                    wanted = [cpu.vocode(values).samples for values in mels]
                with (
                    rig.vocoder(model, "fp32", provider) as vocoder,
                    ThreadPoolExecutor(_THREADS) as pool,
                ):
                    results = list(pool.map(lambda values, gpu=vocoder: gpu.vocode(values).samples, mels))
                worst_db = min(map(snr_db, wanted, results))
                yield Figure(name=name, value=worst_db, unit="dB", limit=least_db, bound="min")
            except VoirsVocoderError as error:
                yield Figure(name=name, value=None, unit="dB", limit=least_db, bound="min", note=str(error))


def long_input(rig: Rig) -> Iterator[Figure]:
    """Thirty minutes of mel in one call, as real-time factor."""
    for provider in rig.providers:
        for model in rig.models(("hifigan-v1", "hifigan-v2", "diffwave")):
            minutes = 0.2 if rig.rehearsal else 30.0 if model != "diffwave" else 2.0
            try:
                with rig.vocoder(model, "fp16", provider) as vocoder:
                    meta = vocoder.metadata
                    frames = int(minutes * 60 * meta.sample_rate / meta.hop_length)
                    mel = np.tile(rig.mel(model, 1000), (1, frames // 1000 + 1))[:, :frames]
                    vocoder.vocode(mel[:, :4000])
                    started = time.perf_counter()
                    vocoder.vocode(np.ascontiguousarray(mel))
                    seconds = time.perf_counter() - started
                    yield Figure(
                        name=f"{model} fp16 on {provider}: RTF of {minutes:g} minutes",
                        value=seconds / (minutes * 60),
                    )
            except VoirsVocoderError as error:
                yield Figure(name=f"{model} fp16 on {provider}", value=None, note=str(error))


def memory(rig: Rig) -> Iterator[Figure]:
    """GPU memory of one loaded and warmed model."""
    if rig.rehearsal:
        return
    for provider in rig.providers:
        for model in rig.models():
            for precision in ("fp32", "fp16"):
                before = gpu_memory_mb()
                name = f"{model} {precision} on {provider}: GPU memory"
                try:
                    with rig.vocoder(model, precision, provider) as vocoder:
                        vocoder.vocode(rig.mel(model, _FRAMES), _config(model))
                        value = gpu_memory_mb() - before
                    yield Figure(name=name, value=value, unit="MB", limit=1024.0)
                except VoirsVocoderError as error:
                    yield Figure(name=name, value=None, unit="MB", limit=1024.0, note=str(error))


SECTIONS: dict[str, Callable[[Rig], Iterator[Figure]]] = {
    "matrix": matrix,
    "buckets": buckets,
    "new lengths": new_lengths,
    "streams": streams,
    "threads": threads,
    "memory": memory,
    "long input": long_input,
}
"""Section name to the function that measures it, in the order of the report."""


def _modes(model: str, provider: str) -> dict[str, float]:
    """What is compared with FP32 on the CPU, and the least SNR in dB of each."""
    gates = get_precision("fp32").tf32_gates
    if gates is None or model not in _TF32_MODELS or not get_provider(provider).has_tf32:
        return _LEAST_SNR_DB
    return {**_LEAST_SNR_DB, _TF32: gates[0].limit}


def _config(model: str) -> VocodingConfig:
    return VocodingConfig(steps=6) if model == "diffwave-base" else VocodingConfig()


def _roles(
    vocoder: Vocoder, mel: NDArray[np.float32], config: VocodingConfig
) -> Iterator[tuple[str, Callable[[], NDArray[np.float32]]]]:
    yield "offline", lambda: vocoder.vocode(mel, config).samples
    shorter = np.ascontiguousarray(mel[:, : mel.shape[1] // 2])
    yield "batch", lambda: vocoder.vocode_batch([mel, shorter], config)[0].samples
    chunks = [mel[:, start : start + _CHUNK_FRAMES] for start in range(0, mel.shape[1], _CHUNK_FRAMES)]
    yield (
        "stream",
        lambda: np.concatenate([piece.samples for piece in vocoder.vocode_stream(chunks, config)], 1),
    )


def _exactness(
    name: str, wanted: NDArray[np.float32], run: Callable[[], NDArray[np.float32]], least_db: float
) -> Figure:
    try:
        value, note = snr_db(wanted, run()), ""
    except VoirsVocoderError as error:
        value, note = None, str(error)
    return Figure(name=name, value=value, unit="dB", limit=least_db, bound="min", note=note)


def _lengths(title: str, vocoder: Vocoder, mel: NDArray[np.float32], lengths: NDArray[np.int64]) -> Figure:
    ratios = []
    for length in lengths:
        values = np.ascontiguousarray(mel[:, :length])
        started = time.perf_counter()
        vocoder.vocode(values)
        first = time.perf_counter() - started
        again = []
        for _ in range(5):
            started = time.perf_counter()
            vocoder.vocode(values)
            again.append(time.perf_counter() - started)
        ratios.append(first / float(np.median(again)))
    low, median, high = np.quantile(ratios, (0.1, 0.5, 0.9))
    return Figure(
        name=f"{title}: first run of a length against its later runs",
        value=float(median),
        low=float(low),
        high=float(high),
        limit=1.1,
        note=f"{len(lengths)} lengths, worst {max(ratios):.2f}",
    )


def _bucket(rig: Rig, model: str, precision: str, provider: str, batch: int) -> Iterator[Figure]:
    title = f"{model} {precision} on {provider}: {batch} x {_FRAMES} frames"
    frames = 40 if rig.rehearsal else _FRAMES
    goal = _MS_GOALS.get((model, batch)) if precision == "fp16" else None
    if (model, precision) == ("diffwave-base", "fp16"):
        goal = 25.0
    try:
        session = SessionConfig(buckets=(frames,), batching="together" if batch > 1 else "auto")
        with rig.vocoder(model, precision, provider, session) as vocoder:
            mel = rig.mel(model, frames)
            config = _config(model)
            if batch == 1:
                yield timed(title, lambda: vocoder.vocode(mel, config), limit=goal)
            else:
                yield timed(title, lambda: vocoder.vocode_batch([mel] * batch, config), limit=goal)
    except VoirsVocoderError as error:
        yield Figure(name=title, value=None, unit="ms", limit=goal, note=str(error))


def _streams(rig: Rig, title: str, model: str, precision: str, provider: str, count: int) -> Iterator[Figure]:
    with rig.vocoder(model, precision, provider, SessionConfig(stream_rows=count)) as vocoder:
        meta = vocoder.metadata
        chunk_ms = 1e3 * _CHUNK_FRAMES * meta.hop_length / meta.sample_rate
        mel = rig.mel(model, 400)
        chunks = [mel[:, start : start + _CHUNK_FRAMES] for start in range(0, 400, _CHUNK_FRAMES)]
        live = [
            vocoder.open_stream(streaming=StreamingConfig(chunk_frames=_CHUNK_FRAMES)) for _ in range(count)
        ]
        durations = []
        with ThreadPoolExecutor(count) as pool:
            for position, chunk in enumerate(chunks):
                started = time.perf_counter()

                def push(
                    stream: VocoderStream, chunk: NDArray[np.float32] = chunk, started: float = started
                ) -> float:
                    stream.push(chunk)
                    return 1e3 * (time.perf_counter() - started)

                times = list(pool.map(push, live))
                if position >= 3:
                    durations.extend(times)
        for stream in live:
            stream.close()
    median, p99 = np.quantile(durations, (0.5, 0.99))
    goal = 2.0 if (model, precision, count) == ("hifigan-v1", "fp16", 1) else None
    yield Figure(name=f"{title}, median of a chunk", value=float(median), unit="ms", limit=goal)
    real_time = chunk_ms if (model, precision) == ("hifigan-v2", "fp16") else None
    yield Figure(
        name=f"{title}, 99th percentile",
        value=float(p99),
        unit="ms",
        limit=real_time,
        note=f"real time is {chunk_ms:.0f} ms",
    )
