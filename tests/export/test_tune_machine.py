"""`tune --only machine`: what is tried, what is refused, and what is chosen from made-up and from real figures."""

from __future__ import annotations

import itertools
import json
import shutil

import pytest
from click.testing import CliRunner

from voirs_vocoder.export.cli import main
from voirs_vocoder.export.tuning import trials
from voirs_vocoder.export.tuning.machine import (
    candidate_settings,
    chosen,
    machine_table,
    refusals,
    tune_machine,
)
from voirs_vocoder.runtime import Artifact, InputError, Vocoder
from voirs_vocoder.runtime.machine import Processor, read_processor
from voirs_vocoder.runtime.tuned import MeasuredSetting, Setting, TunedMachine

pytestmark = pytest.mark.filterwarnings("ignore::voirs_vocoder.runtime.vocoder.MelRangeWarning")


def measured(ms, rate, peak, snr=None, *, runs=1, refused="", precision="fp32"):
    return MeasuredSetting(
        setting=Setting(provider="cpu", precision=precision, threads=1, parallel_runs=runs),
        graphs=(),
        backend="test",
        latency_ms=ms,
        throughput=rate,
        peak_bytes=peak,
        snr_db=snr,
        refused=refused,
    )


@pytest.mark.parametrize(
    ("settings", "best"),
    [
        ([measured(10, 5, 100), measured(5, 4, 120, 30)], {"latency": 1, "throughput": 0, "memory": 0}),
        ([measured(10, 5, 100), measured(9.9, 5.05, 99, 30)], {"latency": 0, "throughput": 0, "memory": 0}),
        (
            [measured(10, 5, 100), measured(5, 9, 50, refused="gate")],
            {"latency": 0, "throughput": 0, "memory": 0},
        ),
        ([measured(10, 5, 100), measured(5, 9, 50, runs=2)], {"latency": 0, "throughput": 1, "memory": 0}),
        ([measured(None, None, None)], {}),
    ],
    ids=[
        "each by its own figure",
        "FP32 among equals",
        "never a refused one",
        "one utterance runs alone",
        "nothing",
    ],
)
def test_the_best_setting_of_each_objective(settings, best):
    assert chosen(settings) == best


def test_every_thread_count_and_the_parallel_runs_that_fill_the_processor_are_tried(tiny_artifact):
    settings = candidate_settings(Artifact.open(tiny_artifact), 4)
    first, target = settings[0]
    assert (first, target) == (Setting(provider="cpu", precision="fp32", threads=4), None)
    on_cpu = {
        (s.threads, s.parallel_runs) for s, _ in settings if (s.provider, s.precision) == ("cpu", "fp32")
    }
    assert on_cpu == {(4, 1), (2, 1), (1, 1), (2, 2), (1, 4)}
    int8 = {
        target for setting, target in settings if (setting.provider, setting.precision) == ("cpu", "int8")
    }
    assert int8 == {"cpu"}


@pytest.mark.parametrize("instructions", [(), ("avx512_bf16",)])
def test_floats_in_bf16_are_tried_where_the_processor_computes_in_bf16(
    tiny_artifact, monkeypatch, instructions
):
    processor = Processor("CPU", 4, (), instructions)
    monkeypatch.setattr("voirs_vocoder.runtime.providers.provider.read_processor", lambda: processor)
    settings = candidate_settings(Artifact.open(tiny_artifact), 4)
    tried = {(each.provider, each.precision) for each, _ in settings if each.bf16_floats}
    assert tried == ({("openvino", "int8")} if instructions else set())
    assert all(each.session.bf16_floats == each.bf16_floats for each, _ in settings)


def test_the_table_marks_the_best_and_states_why_others_are_refused():
    machine = TunedMachine(
        processor="CPU",
        usable_threads=2,
        date="2026-01-31",
        recordings=1,
        speech_s=1.0,
        settings=(
            measured(10.04, 5, 100e6),
            measured(5, 9, 50e6, 12.0, precision="int8", refused="too noisy"),
        ),
        best={"latency": 0, "memory": 0},
    )
    header, first, second = machine_table(machine)
    assert len(header) == len(first) == len(second)
    assert first[5:8] == ["10.0", "5.0", "100"]
    assert (first[-1], second[-1]) == ("<- latency, memory", "refused")
    assert refusals(machine) == ["refused: int8 on cpu: too noisy"]


@pytest.fixture
def speech(sample_recordings, tmp_path):
    folder = tmp_path / "speech"
    folder.mkdir()
    shutil.copy(sample_recordings[0], folder)
    return folder


@pytest.mark.slow
def test_tuning_measures_refuses_by_quality_and_is_used(tiny_artifact, speech, tmp_path):
    root = shutil.copytree(tiny_artifact, tmp_path / "artifact")
    report = tmp_path / "report.json"
    call = [
        "tune",
        str(root),
        "--speech",
        str(speech),
        "--only",
        "machine",
        "--budget-s",
        "1",
        "--json",
        str(report),
    ]
    result = CliRunner().invoke(main, call)
    assert result.exit_code == 0, result.output
    best = json.loads(report.read_bytes())["machine"]["best"]
    assert set(best) == {"latency", "throughput", "memory"}
    for objective in best:
        assert f"{objective}" in result.stdout
        with Vocoder.load(root, tuned=objective) as vocoder:
            assert vocoder.metadata.provider in {"cpu", "openvino"}
    assert all(problem is None for _, problem in Artifact.open(root).verify())


@pytest.mark.slow
def test_a_spent_budget_leaves_out_what_has_not_begun(tiny_artifact, speech):
    # Each look at the clock is a second later.
    ticks = itertools.count()
    machine = tune_machine(
        tiny_artifact,
        speech,
        budget_s=1.0,
        clock=lambda: float(next(ticks)),
        processor=Processor("CPU", 1, (), ()),
    )
    first, *others = machine.settings
    assert first.latency_ms is not None
    assert {each.refused for each in others} == {"not measured: the budget was spent before"}
    assert machine.best == {"latency": 0, "throughput": 0, "memory": 0}


@pytest.mark.slow
def test_audio_that_misses_its_gate_is_refused_by_its_figures(tiny_artifact, speech, monkeypatch):
    monkeypatch.setattr(trials, "snr_db", lambda reference, audio: 3.0)
    machine = tune_machine(tiny_artifact, speech, budget_s=0.01, processor=Processor("CPU", 1, (), ()))
    monkeypatch.undo()
    int8 = [each for each in machine.settings if each.setting.precision == "int8" and each.latency_ms is None]
    assert int8
    reasons = {each.refused for each in int8 if "budget" not in each.refused}
    assert all("snr_db must be at least" in reason for reason in reasons)


def test_a_budget_must_be_positive(tiny_artifact, speech):
    with pytest.raises(InputError, match="budget_s must be positive"):
        tune_machine(tiny_artifact, speech, budget_s=0.0)


def test_this_processor_has_a_name_and_threads():
    here = read_processor()
    assert here.name
    assert here.threads >= 1
