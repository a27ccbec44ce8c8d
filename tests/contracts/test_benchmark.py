"""The project's benchmark: its models and recordings, and its reports on made-up figures."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
import torch

from tests.benchmark.measures import write_long_recording
from tests.benchmark.models import VARIANTS, official_config, random_weights
from tests.benchmark.project_report import (
    Finding,
    ProjectReport,
    encode_project,
    finding_table,
    speed_table,
    target_table,
)
from tests.benchmark.targets import Measured, targets
from voirs_vocoder.export.bench.artifact import bench_mel
from voirs_vocoder.export.bench.paired import Estimate
from voirs_vocoder.export.cli.console import print_table
from voirs_vocoder.reference_models.checkpoints.weight_norm import fold_weight_norm
from voirs_vocoder.reference_models.hifigan.config import HifiGanConfig
from voirs_vocoder.reference_models.hifigan.model import HifiGan
from voirs_vocoder.runtime import get_convention, read_audio
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.machine import this_machine


@pytest.mark.parametrize("variant", VARIANTS)
def test_official_sizes_are_recognised_as_the_variant(variant):
    assert HifiGanConfig.from_mapping(official_config(variant)).variant == variant


def test_random_weights_keep_activations_in_range(tiny_hifigan_config):
    config = HifiGanConfig.from_mapping({**tiny_hifigan_config, "num_mels": 80})
    model = HifiGan(config)
    fold_weight_norm(model)
    model.load_state_dict(random_weights(config, seed=0))
    deviations = []
    for layer in model.modules():
        if isinstance(layer, torch.nn.Conv1d | torch.nn.ConvTranspose1d):
            layer.register_forward_hook(lambda layer, inputs, output: deviations.append(float(output.std())))
    with torch.inference_mode():
        audio = model(torch.from_numpy(bench_mel(get_convention("hifigan-22k"), 32))[None])
    np.testing.assert_allclose(deviations, 0.5, rtol=1e-4)
    assert 0.2 < float(audio.std()) < 0.6


def test_random_weights_depend_on_the_seed_alone(tiny_hifigan_config):
    config = HifiGanConfig.from_mapping({**tiny_hifigan_config, "num_mels": 80})
    first, again, other = (random_weights(config, seed) for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["conv_pre.weight"], other["conv_pre.weight"])


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
        name="V1 FP32: our time / stock export in ONNX Runtime", value=1.0, estimate=estimate(1.0), goal=1.02
    ),
    Finding(
        name="V1 INT8: times faster than stock FP32", value=2.1, estimate=estimate(2.1), goal=2.2, bound="min"
    ),
    Finding(name="V1 FP32: our time / PyTorch", value=0.9, estimate=estimate(0.9)),
    Finding(name="V1, 10 s through Vocoder.vocode: peak", value=249.8, unit="MB", goal=256.0),
)


@pytest.fixture
def project_report():
    return ProjectReport(
        machine=this_machine(),
        versions={"torch": "2"},
        threads=2,
        audio_s=2.0,
        rtf={"v1": {"stock": estimate(0.15), "ours": estimate(0.15)}},
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
