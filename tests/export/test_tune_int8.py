"""`tune --only int8`: sensitivities predict mixes, budgets are kept, and the chosen graphs can be made again."""

from __future__ import annotations

import json
import shutil

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from voirs_vocoder.calibration.config import Int8Config
from voirs_vocoder.export.cli import main
from voirs_vocoder.export.precisions import MakeOptions
from voirs_vocoder.export.quantize import quantize_artifact
from voirs_vocoder.export.tuning.int8 import Budget, int8_problem, record_int8, tune_int8
from voirs_vocoder.export.tuning.int8_report import (
    SENSITIVITY_PATH,
    Layer,
    MixedPoint,
    SensitivityReport,
    mixed_table,
    read_sensitivity,
    sensitivity_png,
)
from voirs_vocoder.runtime import Artifact, AudioBuffer, Vocoder, write_audio
from voirs_vocoder.runtime.artifact.manifest import Recording
from voirs_vocoder.runtime.audio import read_mono
from voirs_vocoder.runtime.errors import ArtifactError, InputError
from voirs_vocoder.runtime.files import indented_json
from voirs_vocoder.runtime.structured import decode_json


def point(float_layers, snr_db, time_ratio, pesq_lost=0.02):
    return MixedPoint(
        float_layers=float_layers,
        predicted_snr_db=snr_db,
        snr_db=snr_db,
        multi_resolution_stft=0.1,
        pesq_lost=pesq_lost,
        lsd=None,
        rtf=time_ratio / 10,
        time_ratio=time_ratio,
        time_ratio_low=0.9 * time_ratio,
        time_ratio_high=1.1 * time_ratio,
    )


def layer(name, precision="int8"):
    return Layer(
        role="offline",
        name=name,
        convolutions=(name,),
        snr_db=40.0,
        multi_resolution_stft=0.1,
        saved_s=0.001,
        precision=precision,
    )


@pytest.fixture
def report():
    return SensitivityReport(
        family="hifigan",
        variant="v2",
        backend="test",
        processor="a processor",
        threads=1,
        recordings=(Recording(name="a.wav", sha256="0" * 64),),
        speech_s=1.0,
        time_model="profile",
        pesq_wb=2.0,
        lsd=None,
        layers=(layer("first", "fp32"), layer("second"), layer("third")),
        points=(point(0, 25.0, 0.4), point(1, 30.0, 0.45), point(2, 34.0, 0.8)),
        named={"fast": 0, "balanced": 1, "faithful": 2},
        chosen=1,
        chosen_for="balanced",
    )


@pytest.mark.parametrize(
    ("budget", "text", "kept"),
    [
        (Budget("snr_db", 30.0), "snr_db >= 30", [False, True, True]),
        (Budget("time_ratio", 0.45), "time_ratio <= 0.45", [True, True, False]),
        (Budget("pesq_lost", 0.01), "pesq_lost <= 0.01", [False, False, False]),
    ],
)
def test_a_budget_is_kept_by_what_is_on_the_right_side_of_its_limit(report, budget, text, kept):
    assert str(budget) == text
    assert [budget.kept_by(each) for each in report.points] == kept


def test_a_figure_that_could_not_be_measured_keeps_no_budget():
    assert not Budget("pesq_lost", 1.0).kept_by(point(0, 30.0, 0.5, pesq_lost=None))


def test_the_table_marks_named_points_and_the_chosen_one(report):
    assert [row[-1] for row in mixed_table(report)[1:]] == ["fast", "balanced <- INT8", "faithful"]


def test_the_convolutions_of_a_point_are_those_of_its_first_layers(report):
    assert report.float_convolutions(0) == {"offline": ()}
    assert report.float_convolutions(2) == {"offline": ("first", "second")}


def test_a_report_survives_json_and_draws_the_same_picture_again(report):
    assert decode_json(indented_json(report), SensitivityReport) == report
    assert sensitivity_png(report) == sensitivity_png(report)


@pytest.mark.parametrize(
    "damage",
    [
        {"chosen": 3},
        {"named": {"fast": 9}},
        {"named": {"slow": 0}},
        {"layers": [], "chosen": 0},
        {"threads": 0},
    ],
)
def test_a_report_that_is_not_consistent_is_refused(report, damage):
    data = json.dumps({**json.loads(indented_json(report)), **damage}).encode()
    with pytest.raises(InputError):
        decode_json(data, SensitivityReport)


@pytest.fixture(scope="module")
def speech(sample_recordings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("speech")
    for path in sample_recordings[:2]:
        audio = read_mono(path)
        middle = audio.samples.shape[1] // 2
        write_audio(
            folder / f"{path.stem}.wav",
            AudioBuffer(audio.samples[:, middle : middle + 22050], audio.sample_rate),
        )
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("family", ["tiny_artifact", "tiny_waveglow", "tiny_diffwave"])
def test_every_family_gets_a_mix_that_can_be_made_again(
    family, request, speech, calibration_folder, tmp_path
):
    root = shutil.copytree(request.getfixturevalue(family), tmp_path / "tuned")
    tuned = tune_int8(root, speech, calibration_folder, goal="balanced", threads=1)
    report = tuned.report
    artifact = record_int8(root, tuned)
    assert all(problem is None for _, problem in artifact.verify())
    assert read_sensitivity(artifact) == report
    assert list(report.named) == ["fast", "balanced", "faithful"]
    assert all(np.isfinite(each.saved_s) and each.snr_db > 0 for each in report.layers)
    # Noise of single layers adds up to that of the mix, so it predicts it.
    for each in report.points:
        assert each.predicted_snr_db == pytest.approx(each.snr_db, abs=4.0)
    names = report.float_convolutions(report.chosen)
    for graph in artifact.manifest.graphs:
        if graph.precision == "int8" and graph.role in names:
            assert tuple(str(graph.details["float_by_choice"]).split()) == names[graph.role]
    again = shutil.copytree(request.getfixturevalue(family), tmp_path / "again")
    options = MakeOptions(
        targets=tuple({g.target: g.target for g in artifact.manifest.graphs if g.precision == "int8"}),
        int8=Int8Config(),
        float_convolutions=names,
    )
    made = quantize_artifact(again, calibration_folder, options=options, force=True)
    assert made.manifest.graphs == artifact.manifest.graphs
    with Vocoder.load(root, precision="int8", provider="cpu") as vocoder:
        bands = vocoder.metadata.convention.n_mels
        assert np.isfinite(vocoder.vocode(np.full((bands, 12), -5.0, np.float32)).samples).all()


@pytest.mark.slow
def test_the_command_keeps_its_budget_and_writes_the_report(
    tiny_artifact, speech, calibration_folder, tmp_path
):
    root = shutil.copytree(tiny_artifact, tmp_path / "artifact")
    options = ["--only", "int8", "--speech", speech, "--calibration", calibration_folder, "--threads", 1]
    result = CliRunner().invoke(
        main,
        [str(each) for each in ("tune", root, *options, "--snr-db", 26, "--json", tmp_path / "out.json")],
    )
    assert result.exit_code == 0, result.output
    report = read_sensitivity(Artifact.open(root))
    assert report is not None
    assert report.points[report.chosen].snr_db >= 26
    assert report.chosen_for == "snr_db >= 26"
    # Fewer FP32 layers would have missed it.
    assert all(each.snr_db < 26 for each in report.points[: report.chosen])
    assert decode_json((tmp_path / "out.json").read_bytes(), dict[str, SensitivityReport]) == {"int8": report}
    assert "(snr_db >= 26)" in result.stdout
    (root / SENSITIVITY_PATH).write_bytes(b"{}")
    with pytest.raises(ArtifactError):
        read_sensitivity(Artifact.open(root))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--only", "int8"), "--only int8 needs --calibration DIR"),
        (("--snr-db", "30"), "--snr-db is for --only int8; leave it out, or choose another setting"),
        (("--point", "fast"), "--point is for --only int8"),
        (("--only", "look-ahead", "--budget-s", "60"), "--budget-s is for --only machine"),
        (("--only", "machine", "--threads", "1"), "--threads is for --only sampler|look-ahead|int8"),
        (("--only", "machine", "--precision", "int8"), "--precision is for --only sampler|look-ahead|gpu"),
        (
            ("--only", "int8", "--calibration", ".", "--precision", "int8"),
            "--precision is for --only sampler|look-ahead|gpu",
        ),
        (
            ("--only", "int8", "--calibration", ".", "--snr-db", "30", "--time-ratio", "0.5"),
            "--only int8 takes one goal, got --snr-db and --time-ratio; leave out all but one",
        ),
    ],
)
def test_goals_that_do_not_fit_are_refused(refused, tiny_artifact, calibration_folder, given, message):
    assert message in refused("tune", tiny_artifact, "--speech", calibration_folder, *given)


@pytest.mark.slow
def test_a_budget_that_no_mix_keeps_is_refused_with_what_is_possible(
    tiny_artifact, speech, calibration_folder
):
    with pytest.raises(InputError, match=r"a mix must have time_ratio <= 0\.001, the most faithful"):
        tune_int8(tiny_artifact, speech, calibration_folder, goal=Budget("time_ratio", 0.001), threads=1)


def test_a_model_without_layers_to_choose_is_refused(tiny_artifact):
    manifest = Artifact.open(tiny_artifact).manifest
    graphs = tuple(msgspec.structs.replace(graph, keep_float={}) for graph in manifest.graphs)
    assert int8_problem(manifest) is None
    problem = int8_problem(msgspec.structs.replace(manifest, graphs=graphs))
    assert problem is not None
    assert "this hifigan has none" in problem
