"""Tuning of a machine: which provider, precision and threads vocode an artifact best on a processor, by measuring."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from voirs_vocoder.export.artifact.change import Change, change_artifact
from voirs_vocoder.export.artifact.provenance import command_record
from voirs_vocoder.export.artifact.writer import with_files
from voirs_vocoder.export.tuning.trials import Trial, Trials
from voirs_vocoder.export.validation.speech import Speech, load_speech
from voirs_vocoder.runtime import Artifact
from voirs_vocoder.runtime.artifact.manifest import BATCH_ROLES, Precision, Target
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.files import indented_json
from voirs_vocoder.runtime.machine import Processor, read_processor
from voirs_vocoder.runtime.metrics import figure_text
from voirs_vocoder.runtime.progress import Progress, silent
from voirs_vocoder.runtime.providers import INT8, Provider, measurable_providers
from voirs_vocoder.runtime.tuned import (
    TUNED_PATH,
    MeasuredSetting,
    Objective,
    Setting,
    TunedMachine,
    read_tuned,
    tuned_graphs,
)

__all__ = ["candidate_settings", "chosen", "machine_table", "record_machine", "refusals", "tune_machine"]

# PESQ takes longer than vocoding; this many recordings, spread over the folder, are enough to compare precisions.
_MOST_RECORDINGS = 8
# Less is noise: among settings so close, the one that is nearest to FP32 is chosen.
_EQUAL = 1.02


def candidate_settings(artifact: Artifact, usable_threads: int) -> list[tuple[Setting, Target | None]]:
    """The settings to try, those with the defaults of `Vocoder.load` first.

    Args:
        artifact: Opened artifact.
        usable_threads: Number of logical processors.

    Returns:
        Settings, with the target of their graphs; None for a precision whose graphs run everywhere.
    """
    kinds = sorted(
        dict.fromkeys((graph.precision, graph.target) for graph in artifact.manifest.graphs),
        key=lambda kind: kind[0] != "fp32",
    )
    in_buckets = any(graph.role in BATCH_ROLES.values() for graph in artifact.manifest.graphs)
    found = []
    for provider in measurable_providers(in_other_processes=True):
        if provider.on_gpu:
            continue
        shapes = (False, True) if provider.prepares_shapes and in_buckets else (False,)
        for precision, target in kinds:
            if provider.computes(precision, target):
                rounds = precision == INT8 and provider.rounds_floats_to_bf16
                for bf16_floats in (False, True) if rounds else (False,):
                    settings = _settings(provider, precision, usable_threads, shapes, bf16_floats=bf16_floats)
                    found += [(setting, target) for setting in settings]
    return sorted(found, key=lambda each: (each[0].provider != "cpu", each[0].precision != "fp32"))


def tune_machine(
    root: Path,
    speech: Path,
    *,
    budget_s: float = 300.0,
    progress: Progress = silent,
    clock: Callable[[], float] = time.monotonic,
    processor: Processor | None = None,
) -> TunedMachine:
    """Measure every setting on this machine's CPU, within the gates of quality and a budget of time.

    Each pair of provider and precision vocodes up to eight recordings, and is refused where its audio misses the gates
    of the precision against the FP32 graph on `cpu`. Every other setting vocodes one utterance, and a batch of two per
    thread, each of at most three seconds; the fastest then take turns until the budget is spent. Memory is that of a
    fresh process.

    Args:
        root: Directory of the artifact, which is not changed.
        speech: Folder of recordings, none of which INT8 was calibrated on.
        budget_s: Seconds to spend; each step that has begun is finished, and the first setting is always measured.
        progress: Receives what is being done, and the share of the budget that is spent.
        clock: Returns monotonic time in seconds.
        processor: The processor whose threads are used and named; None takes that of this machine.

    Raises:
        InputError: The recordings cannot be used, or the budget is not positive.
        ArtifactError: The artifact is damaged.
        ProviderError: The FP32 graph cannot be run.
    """
    if not budget_s > 0.0:
        raise InputError(f"budget_s must be positive, got {budget_s:g}; give a number of seconds")
    here = processor or read_processor()
    artifact = Artifact.open(root)
    utterances = _spread(load_speech(speech, artifact.manifest), _MOST_RECORDINGS)
    trials = [
        Trial(setting, target, tuned_graphs(artifact, setting.precision, setting.provider))
        for setting, target in candidate_settings(artifact, here.threads)
    ]
    run = Trials(artifact, utterances, here.threads, budget_s, progress, clock)
    run.judge_quality(trials)
    run.screen(trials)
    run.time_finalists(trials)
    settings = tuple(run.measured(trial) for trial in trials)
    return TunedMachine(
        processor=here.name,
        usable_threads=here.threads,
        date=datetime.now(UTC).date().isoformat(),
        recordings=len(utterances),
        speech_s=sum(each.samples.size for each in utterances) / artifact.manifest.sample_rate,
        settings=settings,
        best=chosen(settings),
    )


def chosen(settings: Sequence[MeasuredSetting]) -> dict[Objective, int]:
    """The best setting for each objective, by its index.

    Latency and memory are those of one utterance at a time. Among settings within 2% of the best, the one with the
    highest SNR is chosen; an objective that no setting was measured for is left out.

    Args:
        settings: Measured settings.
    """
    places = [place for place, each in enumerate(settings) if not each.refused]
    alone = [place for place in places if settings[place].setting.parallel_runs == 1]
    costs: dict[Objective, dict[int, float]] = {
        "latency": {p: ms for p in alone if (ms := settings[p].latency_ms) is not None},
        "throughput": {p: 1.0 / rate for p in places if (rate := settings[p].throughput) is not None},
        "memory": {p: float(peak) for p in alone if (peak := settings[p].peak_bytes) is not None},
    }
    best: dict[Objective, int] = {}
    for objective, cost in costs.items():
        if cost:
            least = min(cost.values())
            equal = [place for place, value in cost.items() if value <= _EQUAL * least]
            best[objective] = max(equal, key=lambda place: _faithfulness(settings[place]))
    return best


def record_machine(root: Path, machine: TunedMachine) -> Artifact:
    """Write the measurements into the artifact, beside those of other kinds of machines.

    Args:
        root: Directory of the artifact.
        machine: What was measured of that artifact.

    Returns:
        The changed artifact.

    Raises:
        ArtifactError: The artifact is damaged or another process is changing it.
        InputError: The artifact cannot be written.
    """

    def edit(artifact: Artifact) -> Change:
        files = {TUNED_PATH: indented_json(read_tuned(artifact).with_machine(machine))}
        return with_files(artifact.manifest, files), files

    record = command_record("tune", {"only": "machine", "recordings": machine.recordings})
    return change_artifact(root, edit, record)


def machine_table(machine: TunedMachine) -> list[list[str]]:
    """The settings as rows of text, the first row being the header; the best ones are marked.

    Args:
        machine: What was measured.
    """
    header = [
        "provider",
        "graph",
        "threads",
        "parallel",
        "shapes",
        "ms",
        "audio s/s",
        "MB",
        "SNR dB",
        "PESQ lost",
        "",
    ]
    in_buckets = {each.setting.provider for each in machine.settings if each.setting.in_own_shape}
    rows = []
    for place, each in enumerate(machine.settings):
        marks = [objective for objective, best in machine.best.items() if best == place]
        setting = each.setting
        rows.append(
            [
                setting.provider,
                setting.titled(setting.precision),
                str(setting.threads),
                str(setting.parallel_runs),
                "own" if setting.in_own_shape else "buckets" if setting.provider in in_buckets else "any",
                _text(each.latency_ms, ".1f"),
                _text(each.throughput, ".1f"),
                _text(None if each.peak_bytes is None else each.peak_bytes / 1e6, ".0f"),
                figure_text("snr_db", each.snr_db),
                _text(each.pesq_lost, "+.3f"),
                f"<- {', '.join(marks)}" if marks else "refused" if each.refused else "",
            ]
        )
    return [header, *rows]


def refusals(machine: TunedMachine) -> list[str]:
    """A line for each reason why settings were refused, with their graphs and providers.

    Args:
        machine: What was measured.
    """
    reasons: dict[str, dict[str, None]] = {}
    for each in machine.settings:
        setting = each.setting
        if each.refused:
            graphs = f"{setting.titled(setting.precision)} on {setting.provider}"
            reasons.setdefault(each.refused, {})[graphs] = None
    return [f"refused: {', '.join(graphs)}: {reason}" for reason, graphs in reasons.items()]


def _settings(
    provider: Provider,
    precision: Precision,
    usable_threads: int,
    shapes: Sequence[bool],
    *,
    bf16_floats: bool,
) -> list[Setting]:
    counts = sorted({1, max(1, usable_threads // 2), usable_threads}, reverse=True)
    plans = [(threads, 1) for threads in counts]
    if provider.runs_in_parallel:
        plans += [(threads, usable_threads // threads) for threads in counts if usable_threads >= 2 * threads]
    return [
        Setting(
            provider=provider.name,
            precision=precision,
            threads=threads,
            parallel_runs=runs,
            in_own_shape=in_own_shape,
            bf16_floats=bf16_floats,
        )
        for threads, runs in plans
        for in_own_shape in shapes
    ]


def _spread(utterances: Sequence[Speech], most: int) -> list[Speech]:
    if len(utterances) <= most:
        return list(utterances)
    return [utterances[place] for place in np.linspace(0, len(utterances) - 1, most).astype(int)]


def _faithfulness(measured: MeasuredSetting) -> float:
    return math.inf if measured.snr_db is None else measured.snr_db


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
