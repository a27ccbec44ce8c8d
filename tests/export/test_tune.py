"""`tune`: what the knee of a sweep is, what becomes the artifact's default, and what `bench` never changes."""

from __future__ import annotations

import shutil

import pytest
from click.testing import CliRunner

from voirs_vocoder.export.cli import main
from voirs_vocoder.export.tuning.sweep import (
    knee_of,
    record_sweep,
    sweep_artifact,
    sweep_png,
    sweep_table,
)
from voirs_vocoder.runtime import Artifact
from voirs_vocoder.runtime.artifact.sweep import SweepPoint, SweepReport, read_sweep
from voirs_vocoder.runtime.errors import InputError


def point(steps, rtf, pesq, stoi=0.9, sampler="ddim"):
    return SweepPoint(sampler=sampler, steps=steps, rtf=rtf, pesq_wb=pesq, stoi=stoi, lsd=1.0)


@pytest.mark.parametrize(
    ("points", "knee"),
    [
        ([point(2, 0.1, 1.5), point(6, 0.3, 2.0), point(12, 0.6, 2.04)], 1),
        ([point(2, 0.1, 1.5), point(6, 0.3, 1.9), point(12, 0.6, 2.0)], 2),
        ([point(6, 0.3, 2.0), point(4, 0.2, 2.0)], 1),
        ([point(2, 0.1, 1.10, 0.7), point(6, 0.3, 1.13, 0.8), point(12, 0.6, 1.14, 0.805)], 1),
        ([point(2, 0.1, 2.0, 0.8), point(6, 0.3, 1.5, 0.9)], 0),
        ([point(2, 0.1, None, 0.8), point(6, 0.3, None, 0.9), point(12, 0.6, None, 0.905)], 1),
    ],
    ids=[
        "nearly the best",
        "the best",
        "the cheaper of equals",
        "by STOI where PESQ is at its floor",
        "by PESQ where they disagree",
        "by STOI without PESQ",
    ],
)
def test_the_knee_is_the_cheapest_that_is_nearly_as_good_as_the_best(points, knee):
    assert knee_of(points) == knee


def test_a_sweep_without_any_quality_figure_is_refused():
    with pytest.raises(InputError, match="needs pesq or pystoi"):
        knee_of([point(2, 0.1, None, None)])


def test_the_knee_becomes_the_default_with_table_and_plot(tiny_diffwave, tmp_path):
    root = shutil.copytree(tiny_diffwave, tmp_path / "diffwave")
    points = (point(None, 0.2, 1.9, sampler="fast"), point(3, 0.1, 1.88))
    report = SweepReport(
        family="diffwave",
        variant="custom",
        precision="fp32",
        backend="test",
        recordings=1,
        speech_s=1.0,
        points=points,
        knee=1,
    )
    assert [row[-1] for row in sweep_table(report)] == ["", "", "<- default"]
    artifact = record_sweep(root, report)
    assert (artifact.manifest.diffusion.sampler, artifact.manifest.diffusion.steps) == ("ddim", 3)
    assert all(problem is None for _, problem in Artifact.open(root).verify())
    assert read_sweep(artifact) == report
    assert (root / "validation" / "sweep.png").read_bytes() == sweep_png(report)
    assert "Sampling: ddim, 3 steps" in (root / "MODEL_CARD.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_sweep_measures_every_sampler(tiny_diffwave, sample_recordings, tmp_path):
    speech = tmp_path / "speech"
    speech.mkdir()
    shutil.copy(sample_recordings[0], speech)
    report = sweep_artifact(tiny_diffwave, speech, steps=(2, 60))
    tried = {(p.sampler, p.steps) for p in report.points}
    expected = {("fast", None), ("ddpm", 2), ("ddim", 2), ("dpm-solver++", 2), ("adaptive", None)}
    assert tried == expected
    assert all(p.rtf > 0 and p.stoi is not None for p in report.points)


def test_only_a_diffusion_model_is_swept(tiny_artifact, calibration_folder):
    result = CliRunner().invoke(
        main, ["tune", str(tiny_artifact), "--only", "sampler", "--speech", str(calibration_folder)]
    )
    assert (result.exit_code, result.stderr.splitlines()[-1].startswith("error: ")) == (2, True)
    assert "only a diffusion model has samplers to sweep" in result.stderr


@pytest.mark.parametrize(
    ("setting", "reason"),
    [("sampler", "only a diffusion model"), ("look-ahead", "only one-pass models")],
)
def test_a_setting_that_a_model_does_not_have_is_refused_with_the_reason(
    tiny_waveglow, calibration_folder, setting, reason
):
    call = ["tune", str(tiny_waveglow), "--speech", str(calibration_folder), "--only", setting]
    result = CliRunner().invoke(main, call)
    assert result.exit_code == 2
    assert f"nothing to tune ({setting}: {reason}" in result.stderr


@pytest.mark.parametrize(("flag", "setting"), [("--sweep", "sampler"), ("--look-ahead", "look-ahead")])
def test_bench_refuses_the_flags_that_became_tune(tiny_artifact, flag, setting):
    result = CliRunner().invoke(main, ["bench", str(tiny_artifact), flag])
    assert result.exit_code == 2
    assert f"voirs-vocoder tune DIR --speech S --only {setting}" in result.stderr


@pytest.mark.slow
def test_bench_leaves_every_byte_of_the_artifact_as_it_was(tiny_artifact, sample_recordings, tmp_path):
    root = shutil.copytree(tiny_artifact, tmp_path / "artifact")
    speech = tmp_path / "speech"
    speech.mkdir()
    shutil.copy(sample_recordings[0], speech)

    def content():
        return {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    before = content()
    for arguments in (
        ("--seconds", "0.2"),
        ("--speech", str(speech), "--save-baseline", str(tmp_path / "baseline.json")),
    ):
        result = CliRunner().invoke(main, ["bench", str(root), *arguments])
        assert result.exit_code == 0, result.output
    assert content() == before
