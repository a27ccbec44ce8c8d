"""What is measured of each setting that vocodes an artifact: quality, time, throughput and memory."""

from __future__ import annotations

import contextlib
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.export.bench.fresh_process import python_command, run_fresh
from voirs_vocoder.export.validation.gates import gate_text, gates_of, judged
from voirs_vocoder.export.validation.means import mean_figures
from voirs_vocoder.export.validation.speech import Speech
from voirs_vocoder.runtime import Artifact, Vocoder
from voirs_vocoder.runtime.artifact.manifest import Precision, Target, graph_name
from voirs_vocoder.runtime.errors import ProviderError
from voirs_vocoder.runtime.metrics import max_abs_error, measure, snr_db
from voirs_vocoder.runtime.progress import Progress
from voirs_vocoder.runtime.tuned import MeasuredSetting, Setting

__all__ = ["Trial", "Trials"]

# Utterances that are timed are cut to this length, and a batch has so many of them per thread.
_TIMED_S = 3.0
_UTTERANCES_PER_THREAD = 2
_SCREENING_RUNS = 2
# Settings that were this much slower at first are not timed again.
_CLOSE = 1.3
_MOST_FINALISTS = 6
_LEAST_ROUNDS = 3
# Shares of the budget after which what has not begun is left out.
_QUALITY_SHARE, _SCREENING_SHARE = 0.5, 0.8

_VOCODE_ALONE = """
import sys
import msgspec, numpy
from voirs_vocoder.runtime import Vocoder
from voirs_vocoder.runtime.tuned import Setting
root, text, mel = sys.argv[1:]
setting = msgspec.json.decode(text, type=Setting)
values = numpy.load(mel)
session = setting.session
with Vocoder.load(root, provider=setting.provider, precision=setting.precision, session=session) as vocoder:
    vocoder.vocode_batch([values] * setting.parallel_runs)
"""


_Audio = tuple[str, Precision, Target | None, bool]


@dataclass(eq=False)
class Trial:
    """A setting and what was measured of it so far."""

    setting: Setting
    target: Target | None
    graphs: tuple[str, ...]
    backend: str = ""
    snr_db: float | None = None
    pesq_lost: float | None = None
    peak_bytes: int | None = None
    refused: str = ""
    latencies_s: list[float] = field(default_factory=list)
    batches_s: list[float] = field(default_factory=list)

    @property
    def computes(self) -> _Audio:
        """What decides the audio."""
        setting = self.setting
        return setting.provider, setting.precision, self.target, setting.bf16_floats

    @property
    def graph_title(self) -> str:
        """What messages call the graphs."""
        return self.setting.titled(graph_name(self.setting.precision, self.target))


class Trials:
    """Measures trials within a budget of time.

    Args:
        artifact: Opened artifact with an FP32 graph that `cpu` runs.
        utterances: Recordings with their mels, at least one.
        usable_threads: Number of logical processors.
        budget_s: Seconds to spend.
        progress: Receives what is being done, and the share of the budget that is spent.
        clock: Returns monotonic time in seconds.
    """

    def __init__(
        self,
        artifact: Artifact,
        utterances: Sequence[Speech],
        usable_threads: int,
        budget_s: float,
        progress: Progress,
        clock: Callable[[], float],
    ) -> None:
        manifest = artifact.manifest
        self._artifact, self._utterances = artifact, utterances
        self._budget_s, self._progress, self._clock = budget_s, progress, clock
        self._started_s = clock()
        most_frames = max(1, round(_TIMED_S * manifest.sample_rate / manifest.hop_length))
        timed = [utterance.mel.values[:, :most_frames].copy() for utterance in utterances]
        by_length = sorted(timed, key=lambda mel: mel.shape[1])
        self._one = by_length[len(by_length) // 2]
        count = _UTTERANCES_PER_THREAD * usable_threads
        self._batch = [timed[place % len(timed)] for place in range(count)]
        frames = sum(mel.shape[1] for mel in self._batch)
        self._batch_s = frames * manifest.hop_length / manifest.sample_rate

    def judge_quality(self, trials: Sequence[Trial]) -> None:
        """Compare the audio of each provider and precision with that of FP32 on `cpu`."""
        wanted: list[NDArray[np.float32]] = []
        pesq: list[float | None] = []
        by_kind: dict[_Audio, list[Trial]] = {}
        for trial in trials:
            by_kind.setdefault(trial.computes, []).append(trial)
        for (provider, precision, target, _), kin in by_kind.items():
            if wanted and self._spent(_QUALITY_SHARE):
                _refuse(kin, "not measured: the budget was spent before")
                continue
            self._report(f"{kin[0].graph_title} on {provider}: quality")
            try:
                with self._open(kin[0].setting) as vocoder:
                    audios = [vocoder.vocode(each.mel).samples[0] for each in self._utterances]
                    _note_backend(kin, vocoder)
            except ProviderError as error:
                if not wanted:
                    raise
                _refuse(kin, str(error))
                continue
            own = [
                self._pesq(utterance, audio)
                for utterance, audio in zip(self._utterances, audios, strict=True)
            ]
            if not wanted:
                wanted, pesq = audios, own
                continue
            rows: list[dict[str, float | None]] = [
                {
                    "snr_db": snr_db(reference, audio),
                    "max_abs_error": max_abs_error(reference, audio),
                    "pesq_lost": None if before is None or after is None else before - after,
                }
                for reference, audio, before, after in zip(wanted, audios, pesq, own, strict=True)
            ]
            figures = mean_figures(rows)
            figures["max_abs_error"] = max(row["max_abs_error"] or 0.0 for row in rows)
            gates = gates_of(self._artifact.manifest, precision, target)
            failed = [gate_text(result) for result in judged(gates, figures) if result.status == "failed"]
            for trial in kin:
                trial.snr_db, trial.pesq_lost = figures["snr_db"], figures["pesq_lost"]
                if trial.snr_db == math.inf:
                    trial.snr_db = None
            _refuse(kin, "; ".join(failed))

    def screen(self, trials: Sequence[Trial]) -> None:
        """Time each setting by itself, and measure its memory in a fresh process."""
        with tempfile.TemporaryDirectory() as folder:
            mel_path = Path(folder) / "mel.npy"
            np.save(mel_path, self._one)
            for number, trial in enumerate(trials):
                if trial.refused:
                    continue
                if number and self._spent(_SCREENING_SHARE):
                    trial.refused = "not measured: the budget was spent before"
                    continue
                self._report(_title(trial))
                with self._open(trial.setting) as vocoder:
                    _note_backend([trial], vocoder)
                    self._once(vocoder)
                    for _ in range(_SCREENING_RUNS):
                        self._time(trial, vocoder)
                text = msgspec.json.encode(trial.setting).decode()
                command = python_command(_VOCODE_ALONE, self._artifact.root, text, mel_path)
                trial.peak_bytes = run_fresh(command).peak_bytes

    def time_finalists(self, trials: Sequence[Trial]) -> None:
        """Let the fastest settings take turns until the budget is spent."""
        ready = [trial for trial in trials if not trial.refused and trial.latencies_s]
        finalists = _finalists(ready)
        if not finalists:
            return
        with contextlib.ExitStack() as stack:
            vocoders = [stack.enter_context(self._open(trial.setting)) for trial in finalists]
            for trial, vocoder in zip(finalists, vocoders, strict=True):
                trial.latencies_s.clear()
                trial.batches_s.clear()
                self._once(vocoder)
            order = np.random.default_rng(0)
            done = 0
            while done < _LEAST_ROUNDS or not self._spent(1.0):
                self._report(f"{len(finalists)} settings take turns")
                for place in order.permutation(len(finalists)):
                    self._time(finalists[place], vocoders[place])
                done += 1

    def measured(self, trial: Trial) -> MeasuredSetting:
        """What was measured of a setting."""
        latencies_ms = [1e3 * seconds for seconds in trial.latencies_s]
        rates = [self._batch_s / seconds for seconds in trial.batches_s]
        return MeasuredSetting(
            setting=trial.setting,
            graphs=trial.graphs,
            backend=trial.backend,
            latency_ms=_median(latencies_ms),
            latency_spread_ms=_quartiles(latencies_ms),
            throughput=_median(rates),
            throughput_spread=_quartiles(rates),
            peak_bytes=trial.peak_bytes,
            snr_db=trial.snr_db,
            pesq_lost=trial.pesq_lost,
            refused=trial.refused,
        )

    def _open(self, setting: Setting) -> Vocoder:
        return Vocoder.load(
            self._artifact.root,
            provider=setting.provider,
            precision=setting.precision,
            session=setting.session,
        )

    def _once(self, vocoder: Vocoder) -> None:
        """Prepare every shape, which the first run of each allocates and compiles."""
        vocoder.vocode(self._one)
        vocoder.vocode_batch(self._batch)

    def _time(self, trial: Trial, vocoder: Vocoder) -> None:
        calls: tuple[tuple[list[float], Callable[[], object]], ...] = (
            (trial.latencies_s, partial(vocoder.vocode, self._one)),
            (trial.batches_s, partial(vocoder.vocode_batch, self._batch)),
        )
        for times, call in calls:
            started_s = time.perf_counter()
            call()
            times.append(time.perf_counter() - started_s)

    def _pesq(self, utterance: Speech, audio: NDArray[np.float32]) -> float | None:
        manifest = self._artifact.manifest
        own = audio[: utterance.samples.size]
        return measure(utterance.samples, own, manifest.sample_rate, manifest.mel, ("pesq_wb",))["pesq_wb"]

    def _spent(self, share: float) -> bool:
        return self._clock() - self._started_s >= share * self._budget_s

    def _report(self, message: str) -> None:
        spent_s = min(self._clock() - self._started_s, self._budget_s)
        self._progress(message, round(spent_s), round(self._budget_s))


def _finalists(trials: Sequence[Trial]) -> list[Trial]:
    """Those that may be the fastest at one utterance or at a batch, the most promising first."""
    if not trials:
        return []
    latency = {id(each): min(each.latencies_s) for each in trials if each.setting.parallel_runs == 1}
    batch = {id(each): min(each.batches_s) for each in trials}
    nearness: Mapping[int, float] = {
        id(each): min(
            latency.get(id(each), math.inf) / min(latency.values(), default=math.inf),
            batch[id(each)] / min(batch.values()),
        )
        for each in trials
    }
    ordered = sorted(trials, key=lambda each: nearness[id(each)])
    return [each for each in ordered if nearness[id(each)] <= _CLOSE][:_MOST_FINALISTS]


def _refuse(trials: Sequence[Trial], reason: str) -> None:
    for trial in trials:
        trial.refused = reason


def _note_backend(trials: Sequence[Trial], vocoder: Vocoder) -> None:
    for trial in trials:
        trial.backend = vocoder.metadata.backend


def _title(trial: Trial) -> str:
    setting = trial.setting
    words = f"{trial.graph_title} on {setting.provider}, {setting.threads} threads"
    return f"{words} x {setting.parallel_runs}" if setting.parallel_runs > 1 else words


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def _quartiles(values: Sequence[float]) -> tuple[float, float] | None:
    if not values:
        return None
    low, high = np.percentile(values, (25.0, 75.0))
    return float(low), float(high)
