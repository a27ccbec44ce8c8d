"""The regression guard: the same is no worse, worse is found, and the shipped voice still sounds as it did."""

import json
import shutil

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from artifacts.shipped import SAMPLES, SHIPPED
from voirs_vocoder.export.bench.baseline import (
    Baseline,
    GraphBaseline,
    changes,
    decode_baseline,
    golden_figures,
    measure_baseline,
)
from voirs_vocoder.export.bench.paired import Estimate
from voirs_vocoder.export.cli import main
from voirs_vocoder.export.pipeline import ExportRequest, export_artifact
from voirs_vocoder.runtime import InputError
from voirs_vocoder.runtime.artifact.manifest import Recording

QUALITY = {
    "pesq_wb": 2.0,
    "stoi": 0.9,
    "lsd": 1.0,
    "mel_l1": 0.3,
    "multi_resolution_stft": 1.0,
    "snr_db": 30.0,
}
GOLDEN = {"rms_db": -25.0, "spectral_centroid_hz": 2000.0, "f0_median_hz": 150.0, "high_band_db": -15.0}


def baseline(quality=QUALITY, golden=GOLDEN, ratio=0.5, **fields):
    graph = GraphBaseline(
        quality=quality, golden={"a.wav": golden}, time_ratio=Estimate(ratio, ratio - 0.02, ratio + 0.02, 15)
    )
    values = {
        "format": 1,
        "model": "toy",
        "checkpoint_sha256": None,
        "recordings": (Recording(name="a.wav", sha256="0"),),
        "graphs": {"fp32 on cpu": graph},
    }
    return Baseline(**{**values, **fields})


def worse(now):
    return [change.figure for change in changes(baseline(), now) if change.worse]


def test_the_same_is_no_worse_and_better_is_no_worse():
    assert worse(baseline()) == []
    assert worse(baseline({**QUALITY, "pesq_wb": 3.0, "lsd": 0.5}, ratio=0.2)) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("pesq_wb", 1.94), ("stoi", 0.88), ("lsd", 1.06), ("mel_l1", 0.33), ("snr_db", 27.0), ("pesq_wb", None)],
)
def test_quality_that_falls_is_found(name, value):
    assert worse(baseline({**QUALITY, name: value})) == [name]


@pytest.mark.parametrize(
    ("name", "by"), [("rms_db", 1.0), ("rms_db", -1.0), ("f0_median_hz", 8.0), ("high_band_db", -3.0)]
)
def test_a_voice_that_changes_is_found_either_way(name, by):
    assert worse(baseline(golden={**GOLDEN, name: GOLDEN[name] + by})) == [name]


def test_a_ratio_is_worse_only_beyond_its_interval():
    assert worse(baseline(ratio=0.55)) == []
    assert worse(baseline(ratio=0.65)) == ["time / fp32"]


def test_baselines_of_something_else_are_refused(tmp_path):
    with pytest.raises(InputError, match="same model"):
        changes(baseline(), baseline(model="other"))
    with pytest.raises(InputError, match="same precisions"):
        changes(baseline(), baseline(graphs={}))
    for data in (b"{}", b"[", b"x" * 10, msgspec.json.encode(baseline(format=2))):
        with pytest.raises(InputError, match=r"^x"):
            decode_baseline(data, "x.json")


def test_golden_figures_hear_level_brightness_and_pitch():
    time = np.arange(22_050) / 22_050
    voice = sum(np.sin(2 * np.pi * 150 * k * time) / k for k in range(1, 40)).astype(np.float32) * 0.1
    found = golden_figures(voice, 22_050)
    assert found["f0_median_hz"] == pytest.approx(150, abs=1)
    assert golden_figures(voice / 2, 22_050)["rms_db"] == pytest.approx(found["rms_db"] - 6.02, abs=0.01)
    duller = np.convolve(voice, np.ones(5) / 5, "same").astype(np.float32)
    assert golden_figures(duller, 22_050)["high_band_db"] < found["high_band_db"] - 3


@pytest.mark.slow
def test_the_command_passes_on_the_same_artifact_and_fails_on_a_worse_one(
    tiny_artifact, tmp_path, sample_recordings
):
    speech, path = tmp_path / "speech", tmp_path / "baseline.json"
    speech.mkdir()
    shutil.copy(sample_recordings[0], speech)

    def run(*arguments):
        return CliRunner().invoke(main, ["bench", str(tiny_artifact), "--speech", str(speech), *arguments])

    assert run("--save-baseline", str(path)).exit_code == 0
    # On so small a model ratios of time say nothing; they have a test of their own above.
    stored = json.loads(path.read_text(encoding="utf-8"))
    for graph in stored["graphs"].values():
        graph["time_ratio"]["high"] = 100.0
    path.write_text(json.dumps(stored), encoding="utf-8")
    same = run("--against", str(path))
    assert same.exit_code == 0, same.output
    stored["graphs"]["fp32 on cpu"]["quality"]["lsd"] -= 0.5
    path.write_text(json.dumps(stored), encoding="utf-8")
    failed = run("--against", str(path))
    assert failed.exit_code == 1
    assert "1 of them worse" in failed.output
    assert run("--against", str(path), "--save-baseline", str(path)).exit_code == 2
    assert CliRunner().invoke(main, ["bench", str(tiny_artifact), "--against", str(path)]).exit_code == 2


@pytest.mark.slow
@pytest.mark.parametrize("shipped", SHIPPED, ids=lambda shipped: shipped.family)
def test_a_shipped_voice_sounds_as_it_did(shipped, tmp_path):
    """Golden audio in figures: PESQ, STOI, LSD, level, pitch and brightness of the shipped checkpoint."""
    stored = decode_baseline(shipped.weights.with_name("baseline.json").read_bytes(), "baseline.json")
    root = tmp_path / shipped.artifact
    export_artifact(ExportRequest(shipped.family, shipped.weights, None, root, stream=False))
    now = measure_baseline(root, SAMPLES)
    kept = {name: graph for name, graph in now.graphs.items() if name in stored.graphs}
    found = [
        change
        for change in changes(stored, msgspec.structs.replace(now, graphs=kept))
        if "time" not in change.figure
    ]
    assert len(found) >= 18
    assert [change for change in found if change.worse] == []
