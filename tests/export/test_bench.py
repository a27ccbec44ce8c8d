"""Benchmarks: the statistics on made-up times, the reports on made-up figures. No test looks at the clock."""

from __future__ import annotations

import json
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voirs_vocoder.export.bench import BenchReport, BenchRow, artifact_benchmark, bench_table, encode_bench
from voirs_vocoder.export.bench import artifact as bench_artifact
from voirs_vocoder.export.bench.artifact import bench_mel, bytes_in_hand
from voirs_vocoder.export.bench.fresh_process import Spoken, python_command, run_fresh
from voirs_vocoder.export.bench.paired import (
    MIN_PAIRS,
    Estimate,
    interleaved_times,
    median_estimate,
    ratio_estimate,
)
from voirs_vocoder.export.cli.console import print_table
from voirs_vocoder.export.errors import ExportError
from voirs_vocoder.runtime import DummyVocoder, get_convention
from voirs_vocoder.runtime.artifact.manifest import (
    FORMAT_VERSION,
    FileEntry,
    GraphEntry,
    GraphFacts,
    Manifest,
    Source,
    encode_manifest,
)
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.mel import range_hint
from voirs_vocoder.runtime.mel.convention import CONVENTIONS
from voirs_vocoder.runtime.providers import get_provider


class FakeMachine:
    """A clock that only moves when a candidate runs, by as much as the candidate costs."""

    def __init__(self):
        self.now = 0.0
        self.calls = []
        self.pauses = 0

    def candidate(self, name, seconds):
        def call():
            self.calls.append(name)
            self.now += seconds(len(self.calls)) if callable(seconds) else seconds

        return call

    def pause(self, seconds):
        self.pauses += 1
        self.now += seconds

    def times(self, candidates, pairs=MIN_PAIRS, seed=0):
        return interleaved_times(candidates, pairs=pairs, seed=seed, clock=lambda: self.now, pause=self.pause)


def test_every_candidate_runs_once_per_round_after_one_untimed_call():
    machine = FakeMachine()
    machine.times({name: machine.candidate(name, 1.0) for name in "abc"}, pairs=20)
    assert machine.calls[:3] == ["a", "b", "c"]
    rounds = [machine.calls[3 + 3 * index : 6 + 3 * index] for index in range(20)]
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds)
    assert machine.pauses == 60


def test_the_order_within_rounds_is_shuffled_and_repeatable():
    orders = []
    for seed in (1, 1, 2):
        machine = FakeMachine()
        machine.times({name: machine.candidate(name, 1.0) for name in "ab"}, pairs=200, seed=seed)
        orders.append(machine.calls[2:])
    assert orders[0] == orders[1] != orders[2]
    first = Counter(orders[0][::2])
    assert 70 <= first["a"] <= 130  # binomial(200, 1/2), more than four standard deviations to each side


def test_only_the_candidates_own_time_is_counted():
    machine = FakeMachine()
    times = machine.times({"a": machine.candidate("a", 2.0), "b": machine.candidate("b", 3.0)})
    np.testing.assert_allclose(times["a"], 2.0)
    np.testing.assert_allclose(times["b"], 3.0)


def test_too_few_pairs_are_refused():
    with pytest.raises(InputError, match="at least 15 pairs, got 14"):
        interleaved_times({"a": lambda: None}, pairs=14)


def test_a_ratio_does_not_see_what_slows_a_whole_round_down():
    rng = np.random.default_rng(0)
    load = rng.uniform(1.0, 50.0, 15)
    estimate = ratio_estimate(3.0 * load, 2.0 * load)
    assert (estimate.median, estimate.low, estimate.high) == pytest.approx((1.5, 1.5, 1.5))
    assert estimate.pairs == 15


def test_one_disturbed_round_does_not_move_the_median():
    values = np.ones(15)
    values[3] = 1000.0
    estimate = median_estimate(values)
    assert estimate.median == estimate.low == estimate.high == 1.0


@given(st.lists(st.floats(1e-6, 1e6), min_size=15, max_size=40), st.integers(0, 2**32 - 1))
def test_the_interval_lies_within_the_values_and_around_the_median(values, seed):
    array = np.array(values)
    estimate = median_estimate(array, seed)
    # Interpolating percentiles may round by a unit in the last place.
    slack = 1 + 1e-12
    assert array.min() <= estimate.low * slack
    assert estimate.high <= array.max() * slack
    assert estimate.low <= estimate.median * slack
    assert estimate.median <= estimate.high * slack
    assert estimate == median_estimate(array, seed)


def test_the_interval_covers_the_true_median_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        estimate = median_estimate(rng.lognormal(0.0, 0.3, 21))  # its true median is 1
        covered += estimate.low <= 1.0 <= estimate.high
    assert 0.90 <= covered / 200 <= 1.0


def test_the_interval_has_the_width_of_the_medians_normal_approximation():
    values = np.random.default_rng(1).normal(0.0, 1.0, 2001)
    estimate = median_estimate(values)
    # Standard error of a median of normal values: sqrt(pi / 2 / n).
    expected = 2 * 1.96 * np.sqrt(np.pi / 2 / 2001)
    assert estimate.high - estimate.low == pytest.approx(expected, rel=0.25)


@pytest.mark.parametrize("convention", sorted(CONVENTIONS))
def test_the_benchmarks_mel_looks_like_its_convention(convention):
    parameters = get_convention(convention)
    mel = bench_mel(parameters, 400)
    assert mel.shape == (parameters.n_mels, 400)
    assert mel.dtype == np.float32
    assert range_hint(mel, parameters) is None
    np.testing.assert_array_equal(mel, bench_mel(parameters, 400))


def test_what_the_caller_holds_is_mel_and_audio():
    assert bytes_in_hand(np.zeros((80, 10), np.float32), 256) == 4 * (800 + 2560)


def test_peak_memory_is_that_of_the_process_and_not_of_its_parent():
    # The parent, which has torch loaded, is far larger than a bare Python.
    small = run_fresh(python_command("print('small')"))
    large = run_fresh(python_command("b = bytearray(100_000_000); print(len(b))"))
    assert (small.output, large.output) == ("small", "100000000")
    assert small.peak_bytes < 50e6
    assert 95e6 < large.peak_bytes - small.peak_bytes < 105e6


def test_a_process_that_fails_is_an_error_with_its_last_line():
    with pytest.raises(ExportError, match="status 3: it broke"):
        run_fresh(python_command("import sys; print('it broke', file=sys.stderr); sys.exit(3)"))


GRAPHS = (("int8", "cpu"), ("fp16", None), ("fp32", None), ("int8", "tensorrt"))


@pytest.fixture
def artifact_root(tmp_path):
    """An artifact whose graphs nobody loads."""
    graphs = tuple(
        GraphEntry(
            role="offline",
            precision=precision,
            target=target,
            file=FileEntry(path=f"graphs/{precision}.{target}.onnx", sha256="0" * 64, size_bytes=1_500_000),
            opset=20,
            inputs=(),
            outputs=(),
            facts=GraphFacts(),
            details={},
        )
        for precision, target in GRAPHS
    )
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        family="hifigan",
        driver="direct",
        variant="v2",
        sample_rate=22050,
        hop_length=256,
        mel=get_convention("hifigan-22k"),
        context_frames=13,
        look_ahead_frames=13,
        look_ahead_samples=3258,
        source=Source(checkpoint_sha256=None, config={}),
        licence=None,
        graphs=graphs,
        tools={},
    )
    (tmp_path / "manifest.json").write_bytes(encode_manifest(manifest))
    return tmp_path


@pytest.fixture
def measured(monkeypatch, artifact_root):
    """`artifact_benchmark` with OpenVINO, no CUDA, and times that follow from the order of the candidates."""
    loaded = []

    def load(root, *, provider, precision, session):
        loaded.append((provider, precision, session.threads))
        return DummyVocoder()

    def times(calls, *, pairs, seed):
        return {name: np.full(pairs, 0.5 * (index + 1)) for index, name in enumerate(calls)}

    def speak(root, provider, precision, threads, mel, *, warm):
        return Spoken(load_s=0.25, peak_bytes=100_000_000 + bytes_in_hand(np.load(mel), 256))

    monkeypatch.setattr(bench_artifact.Vocoder, "load", load)
    monkeypatch.setattr(bench_artifact, "interleaved_times", times)
    monkeypatch.setattr(bench_artifact, "speak_fresh", speak)
    here = tuple(get_provider(name) for name in ("cpu", "openvino"))
    monkeypatch.setattr(bench_artifact, "measurable_providers", lambda in_other_processes: here)
    report = artifact_benchmark(artifact_root, seconds=2.0, pairs=20, threads=3)
    return report, loaded


def test_each_graph_runs_where_it_is_meant_to_and_fp32_on_the_cpu_comes_first(measured):
    report, loaded = measured
    assert [(row.graph, row.provider) for row in report.rows] == [
        ("fp32", "cpu"),
        ("int8.cpu", "cpu"),
        ("fp16", "cpu"),
        ("fp32", "openvino"),
        ("int8.tensorrt", "openvino"),
    ]
    assert loaded == [(row.provider, row.precision, 3) for row in report.rows]


def test_ratios_are_against_fp32_on_the_cpu_and_the_callers_arrays_are_not_counted(measured):
    report, _ = measured
    assert [row.time_ratio.median for row in report.rows] == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert report.audio_s == pytest.approx(2.0, abs=256 / 22050)
    assert report.rows[0].rtf == Estimate(*(0.5 / report.audio_s,) * 3, 20)
    assert {row.peak_bytes for row in report.rows} == {100_000_000}


def test_the_table_has_a_row_per_graph_and_fits_the_page(measured, capsys):
    report, _ = measured
    table = bench_table(report)
    assert table[1] == ["fp32", "cpu", "0.2504", "1.000", "1.000 .. 1.000", "20", "250", "100", "1.50"]
    assert len(table) == 1 + len(report.rows)
    print_table(table)
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 110


def test_the_json_holds_the_whole_report(measured):
    report, _ = measured
    document = json.loads(encode_bench(report))
    assert document["machine"]["cores"] >= 1
    assert document["rows"][1]["time_ratio"] == {"median": 2.0, "low": 2.0, "high": 2.0, "pairs": 20}
    assert set(document["rows"][0]) == set(BenchRow.__struct_fields__)
    assert set(document) == set(BenchReport.__struct_fields__)


def test_less_than_a_frame_is_refused(artifact_root):
    with pytest.raises(InputError, match="at least one mel frame"):
        artifact_benchmark(artifact_root, seconds=0.001)


def test_benchmarks_of_artifacts_need_no_torch_and_no_onnx():
    script = (
        "import sys; sys.modules.update(dict.fromkeys(('torch', 'onnx', 'onnxsim', 'onnxscript')));"
        "import voirs_vocoder.export.bench"
    )
    run_fresh([sys.executable, "-c", script])


def estimate(value):
    return Estimate(value, 0.9 * value, 1.1 * value, 15)
