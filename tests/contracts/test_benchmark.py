"""The project's benchmark: its models and recordings, and its reports on made-up figures."""

from __future__ import annotations

import json
from datetime import date

import msgspec
import numpy as np
import pytest
import soundfile
import torch

from tests.benchmark import runner
from tests.benchmark.cases import CASES, BenchCase
from tests.benchmark.goals import Finding, at_least, at_most
from tests.benchmark.measured import JSON_PATH, PAGE_PATH, MeasuredFigures, measured_page, with_benchmark
from tests.benchmark.processes import write_long_recording
from tests.benchmark.report import (
    ProjectReport,
    encode_project,
    finding_table,
    speed_table,
    target_table,
)
from tests.benchmark.runner import MEASUREMENTS
from tests.benchmark.speed import RATIOS
from tests.benchmark.targets import Measured, targets
from tests.benchmark.weights import dormant_filled, rescaled_layers
from voirs_vocoder.calibration.config import Int8Config
from voirs_vocoder.export.bench.artifact import bench_mel
from voirs_vocoder.export.bench.paired import MIN_PAIRS, Estimate
from voirs_vocoder.export.cli.console import print_table
from voirs_vocoder.reference_models.bigvgan.config import BigVganConfig
from voirs_vocoder.reference_models.bigvgan.model import BigVgan
from voirs_vocoder.reference_models.checkpoints.weight_norm import fold_weight_norm
from voirs_vocoder.reference_models.hifigan.config import HifiGanConfig
from voirs_vocoder.reference_models.hifigan.model import HifiGan
from voirs_vocoder.reference_models.vocos.config import VocosConfig
from voirs_vocoder.reference_models.vocos.model import Vocos
from voirs_vocoder.runtime import get_convention, read_audio
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.machine import this_machine


@pytest.mark.parametrize("variant", ["v1", "v2", "v3"])
def test_official_sizes_are_recognized_as_the_variant(variant):
    assert HifiGanConfig.from_mapping(CASES[variant].config).variant == variant


@pytest.mark.parametrize("case", CASES.values(), ids=lambda case: case.key)
def test_every_figure_of_a_case_is_measured_by_somebody(case):
    singles = {figure for measurement in MEASUREMENTS for figure in measurement.figures}
    assert case.figures.keys() <= singles | RATIOS.keys()
    assert (case.random_weights is None) != (case.shipped is None)
    contenders = {name for figure in case.figures if figure in RATIOS for name in figure.split("/")}
    assert ("int8" in contenders) == (case.int8 is not None)


def tiny_hifigan(tiny_hifigan_config):
    return HifiGan(HifiGanConfig.from_mapping({**tiny_hifigan_config, "num_mels": 80}))


def test_random_weights_keep_activations_in_range(tiny_hifigan_config):
    model = tiny_hifigan(tiny_hifigan_config)
    fold_weight_norm(model)
    model.load_state_dict(rescaled_layers(tiny_hifigan(tiny_hifigan_config)))
    deviations = []
    for layer in model.modules():
        if isinstance(layer, torch.nn.Conv1d | torch.nn.ConvTranspose1d):
            layer.register_forward_hook(lambda layer, inputs, output: deviations.append(float(output.std())))
    with torch.inference_mode():
        audio = model(torch.from_numpy(bench_mel(get_convention("hifigan-22k"), 32))[None])
    np.testing.assert_allclose(deviations, 0.5, rtol=1e-4)
    assert 0.2 < float(audio.std()) < 0.6


def test_random_weights_depend_on_the_seed_alone(tiny_hifigan_config):
    first, again, other = (rescaled_layers(tiny_hifigan(tiny_hifigan_config), seed) for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["conv_pre.weight"], other["conv_pre.weight"])


def test_weights_that_start_as_zero_are_filled_and_the_others_left():
    class Network(torch.nn.Module):
        def __init__(self, zero):
            super().__init__()
            self.layers = torch.nn.ModuleList([torch.nn.Conv1d(2, 2, 3), torch.nn.Conv1d(2, 2, 3)])
            if zero:
                torch.nn.init.zeros_(self.layers[1].weight)

    filled, plain = dormant_filled(Network, True), dormant_filled(Network, False)
    assert filled["layers.1.weight"].any()
    assert torch.equal(filled["layers.0.weight"], plain["layers.0.weight"])


def test_a_long_recording_repeats_the_samples_to_the_sample(tmp_path):
    for name, value in (("a", 0.25), ("b", -0.5)):
        soundfile.write(tmp_path / f"{name}.flac", np.full(1000, value), 8000)
    write_long_recording(tmp_path, tmp_path / "long.wav", 0.4)
    audio = read_audio(tmp_path / "long.wav")
    assert audio.sample_rate == 8000
    expected = np.concatenate([np.full(1000, 0.25), np.full(1000, -0.5)] * 2)[:3200]
    np.testing.assert_allclose(audio.samples[0], expected, atol=1e-4)


def test_a_long_recording_needs_recordings(tmp_path):
    with pytest.raises(InputError, match=r"holds no \.flac recordings"):
        write_long_recording(tmp_path, tmp_path / "long.wav", 1.0)


def estimate(value):
    return Estimate(value, 0.9 * value, 1.1 * value, 15)


def measured_v1(**changes):
    values = {
        "v1_rtf": {"fp32": estimate(0.15), "int8": estimate(0.06)},
        "v1_core_rtf": {"fp32": estimate(0.3), "int8": estimate(0.1)},
        "threads": 2,
        "gpu_rtf": None,
        "look_ahead_ms": 147.8,
        "lsd": 0.8,
        "v1_peak_bytes": 250_000_000,
        "v1_file_bytes": {"fp32": 55_800_000, "int8": 16_200_000},
    }
    return Measured(**{**values, **changes})


def verdicts(measured):
    return [target.verdict for target in targets(measured)]


def test_every_target_of_the_user_has_a_verdict_and_a_reason():
    assert verdicts(measured_v1()) == [
        "not met",
        "not measurable here",
        "not met",
        "met",
        "met",
        "met",
        "met",
        "not measurable here",
    ]
    assert all(target.reason for target in targets(measured_v1()))


@pytest.mark.parametrize(
    ("row", "reached", "missed"),
    [
        (0, {"v1_rtf": {"int8": estimate(0.02)}}, {"v1_rtf": {"int8": estimate(0.021)}}),
        (1, {"gpu_rtf": estimate(0.005)}, {"gpu_rtf": estimate(0.006)}),
        (2, {"look_ahead_ms": 50.0}, {"look_ahead_ms": 51.0}),
        (3, {"lsd": 1.0}, {"lsd": 1.01}),
        (4, {"v1_peak_bytes": 256_000_000}, {"v1_peak_bytes": 257_000_000}),
        (5, {"v1_file_bytes": {"int8": 25_000_000}}, {"v1_file_bytes": {"int8": 26_000_000}}),
        (6, {"v1_core_rtf": {"int8": estimate(0.25)}}, {"v1_core_rtf": {"int8": estimate(0.26)}}),
    ],
)
def test_a_target_is_met_up_to_its_limit_and_not_beyond(row, reached, missed):
    assert verdicts(measured_v1(**reached))[row] == "met"
    assert verdicts(measured_v1(**missed))[row] == "not met"


FINDINGS = (
    Finding(
        name="V1 FP32: our time / stock export in ONNX Runtime",
        value=1.0,
        estimate=estimate(1.0),
        goal=at_most(1.02),
    ),
    Finding(
        name="V1 INT8: times faster than stock FP32", value=2.1, estimate=estimate(2.1), goal=at_least(2.2)
    ),
    Finding(name="V1 FP32: our time / PyTorch", value=0.9, estimate=estimate(0.9)),
    Finding(name="V1, 10 s through Vocoder.vocode: peak", value=249.8, unit="MB", goal=at_most(256.0)),
)


@pytest.fixture
def project_report():
    return ProjectReport(
        date="2026-01-31",
        machine=this_machine(),
        versions={"torch": "2"},
        threads=2,
        rtf={"V1": {"stock": estimate(0.15), "ours": estimate(0.15)}},
        findings=FINDINGS,
        targets=targets(measured_v1()),
    )


def test_findings_without_a_goal_have_no_verdict(project_report):
    assert [finding.met for finding in FINDINGS] == [True, False, None, True]
    document = json.loads(encode_project(project_report))
    assert [finding["met"] for finding in document["findings"]] == [True, False, None, True]
    assert document["findings"][0]["estimate"]["pairs"] == 15


def test_the_tables_say_how_often_and_how_surely_each_figure_was_measured(project_report):
    rows = finding_table(project_report)
    assert rows[1][1:] == ["1.000", "0.900 .. 1.100", "15", "<= 1.02", "met"]
    assert rows[2][1:] == ["2.100", "1.890 .. 2.310", "15", ">= 2.2", "not met"]
    assert rows[3][4:] == ["", ""]
    assert rows[4][1:] == ["249.8 MB", "", "", "<= 256", "met"]
    assert speed_table(project_report)[1] == ["V1", "stock", "0.1500", "0.1350 .. 0.1650", "15"]


def test_the_tables_fit_the_page(project_report, capsys):
    for rows in (speed_table(project_report), finding_table(project_report), target_table(project_report)):
        print_table(rows)
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 110


def committed():
    return msgspec.json.decode(JSON_PATH.read_bytes(), type=MeasuredFigures)


def test_the_page_of_measured_figures_is_what_the_generator_makes_of_the_committed_figures():
    assert PAGE_PATH.read_text(encoding="utf-8") == measured_page(committed()), "run `make measured`"


def test_every_recorded_table_is_dated_and_complete():
    tables = committed().tables
    assert len({table.id for table in tables}) == len(tables)
    for table in tables:
        date.fromisoformat(table.date)
        assert table.rows
        assert {len(row) for row in table.rows} == {len(table.columns)}, table.id


def test_a_report_of_the_benchmark_replaces_the_tables_recorded_in_its_place(project_report):
    decoded = msgspec.json.decode(encode_project(project_report), type=ProjectReport)
    assert decoded == project_report
    renewed = with_benchmark(committed(), decoded)
    page = measured_page(renewed)
    for name in (*(finding.name for finding in FINDINGS), "RTF 0.02, V1 on CPU", "2026-01-31"):
        assert name in page
    ids = [table.id for table in renewed.tables]
    assert not {"findings", "rtf", "targets"} & set(ids)
    assert {"fidelity-hifigan", "look-ahead", "sweep-diffwave"} <= set(ids)


@pytest.mark.parametrize("key", ["vocos", "bigvgan"])
def test_what_users_post_computes_what_our_module_computes(key):
    changes = (
        {"dim": 16, "intermediate_dim": 32, "num_layers": 2}
        if key == "vocos"
        else {
            "upsample_initial_channel": 16,
            "resblock_kernel_sizes": [3],
            "resblock_dilation_sizes": [[1, 3]],
        }
    )
    case = CASES[key]
    config = {**case.config, **changes}
    model = {"vocos": Vocos, "bigvgan": BigVgan}[key](
        {"vocos": VocosConfig, "bigvgan": BigVganConfig}[key].from_mapping(config)
    )
    model.eval().load_state_dict(case.random_weights(config), strict=False)
    fold_weight_norm(model)
    mel = torch.from_numpy(bench_mel(model.description.mel, 12))[None]
    posted = case.posted(model)
    with torch.inference_mode():
        ours = model(mel)[0, 0].numpy()
        made = posted.network(mel)
    outputs = [each.numpy() for each in (made if isinstance(made, tuple) else (made,))]
    assert len(outputs) == len(posted.outputs)
    audio = outputs[0][0, 0] if posted.finish is None else posted.finish.audio(*outputs)[0]
    assert np.abs(ours).max() > 1e-3
    np.testing.assert_allclose(audio[: ours.size], ours, rtol=0, atol=1e-5 * np.abs(ours).max() + 1e-6)


@pytest.mark.slow
def test_one_runner_measures_what_the_table_asks_of_each_family(
    data_dir, tiny_hifigan_config, monkeypatch, tmp_path
):
    direct = BenchCase(
        key="direct",
        title="Tiny",
        family="hifigan",
        config={**tiny_hifigan_config, "num_mels": 80},
        random_weights=lambda config: rescaled_layers(HifiGan(HifiGanConfig.from_mapping(config))),
        int8=Int8Config(),
        frames=20,
        rounds=1,
        figures={
            **dict.fromkeys(RATIOS.keys() - {"ours/posted"}),
            **dict.fromkeys(
                (
                    "first_second",
                    "peak_mb",
                    "peak_beyond_weights_mb",
                    "stream_16",
                    "stream_16_threads",
                    "stream_8",
                    "stream_8_threads",
                    "stream_gain_8",
                )
            ),
            "int8_file_mb": at_most(25.0),
            "lsd": None,
        },
    )
    diffusion = BenchCase(
        key="diffusion",
        title="Tiny steps",
        family="diffwave",
        config={},
        shipped=data_dir / "diffwave" / "tiny" / "weights.pt",
        role="step",
        frames=20,
        rounds=1 / 3,
        figures={"ours/stock": None, "ours/pytorch": at_most(1e6), "loop": None},
    )
    cases = {case.key: case for case in (direct, diffusion)}
    monkeypatch.setattr(runner, "CASES", {**cases, "not chosen": None})
    settings = runner.BenchSettings(tmp_path, MIN_PAIRS, 1, cases=tuple(cases), quick=True)
    report = runner.run_benchmark(settings, lambda message, done, total: None)
    for case in cases.values():
        measured = {finding.figure for finding in report.findings if finding.case == case.key}
        assert case.figures.keys() == measured - {""}
    goals = {finding.figure: finding.met for finding in report.findings if finding.goal}
    assert goals == {"int8_file_mb": True, "ours/pytorch": True}
    assert report.rtf["Tiny"].keys() == {
        *("stock", "pytorch", "openvino", "ours", "vocode", "bare", "int8", "int8_openvino")
    }
    assert report.rtf["Tiny steps"].keys() == {"stock", "pytorch", "ours"}
    assert [target.target for target in report.targets] == [
        "RTF 0.15, Tiny steps on CPU",
        "RTF 0.08, Tiny steps on GPU",
    ]
