"""Validation of the mel convention: a wrong one fails gates of its own, the right one and untrained weights do not."""

from __future__ import annotations

import dataclasses
import json

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from artifacts.shipped import SHIPPED
from voirs_vocoder.export.cli import main
from voirs_vocoder.export.pipeline import ExportRequest, export_artifact
from voirs_vocoder.export.validation.convention import alternatives, check_convention, convention_lines
from voirs_vocoder.export.validation.resynthesis import match_of
from voirs_vocoder.export.validation.speech import Speech
from voirs_vocoder.export.validation.validate import validate_artifact
from voirs_vocoder.reference_models import get_family
from voirs_vocoder.reference_models.family import manifest_of
from voirs_vocoder.reference_models.training.torch_vocoder import torch_vocoder
from voirs_vocoder.runtime.artifact.manifest import Recording
from voirs_vocoder.runtime.audio import read_audio
from voirs_vocoder.runtime.mel import mel_spectrogram
from voirs_vocoder.runtime.mel.convention import get_convention
from voirs_vocoder.runtime.progress import silent

WRONG = {
    "log10": {"compression": "log10"},
    "centered": {"framing": "centered"},
    "htk": {"mel_scale": "htk"},
    "slow-norm": {"mel_norm": "none"},
    "slow-power": {"spectrum": "power"},
    "slow-floor": {"floor": 1e-3},
    "slow-f-max-7600": {"f_max_hz": 7600.0},
    "slow-f-max-nyquist": {"f_max_hz": 11025.0},
    "slow-f-min-80": {"f_min_hz": 80.0},
    "slow-unit": {"compression": "db-unit"},
    "slow-symmetric": {"compression": "log10", "scale": 1.6, "offset": 2.4, "limits": (-4.0, 4.0)},
    "slow-energy": {"window_energy_normalized": True},
}
# What speech of a microphone cannot tell apart, nor the audio that comes of it.
EQUAL = {
    "zero": {"padding": "zero"},
    "symmetric-window": {"window_symmetric": True},
    "epsilon": {"magnitude_epsilon": 0.0},
    "floor-1e-10": {"floor": 1e-10},
    "added-floor": {"floor_mode": "add"},
}


@pytest.fixture(scope="module")
def trained():
    shipped = SHIPPED[0]
    family = get_family(shipped.family)
    module = family.load(shipped.weights, None)
    manifest = manifest_of(shipped.family, module, family.graphs(module))
    with torch_vocoder(shipped.family, module) as vocoder:
        yield vocoder, manifest


@pytest.fixture(scope="module")
def check(trained, sample_recordings):
    """Check the trained model's weights in a mel convention that is its own but for some changes."""
    vocoder, manifest = trained
    audio = read_audio(sample_recordings[0])

    def run(changes):
        mel = msgspec.structs.replace(manifest.mel, id="changed", **changes)
        values = mel_spectrogram(audio.samples, audio.sample_rate, mel)
        speech = [Speech(Recording(name="a", sha256=""), audio.samples[0], values)]
        return check_convention(vocoder, msgspec.structs.replace(manifest, mel=mel), speech, silent)

    return run


def test_the_convention_of_the_weights_passes(check):
    report = check({})
    assert report.status == "passed"
    assert report.figures["correlation"] > 0.95
    assert report.figures["mel_l1_nepers"] < 0.6
    assert report.figures["lag_ms"] < 1.25
    assert report.figures["mel_l1_gain_nepers"] < 0.0
    assert list(convention_lines(report)) == []


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(changes, id=name, marks=[pytest.mark.slow] if name.startswith("slow") else [])
        for name, changes in WRONG.items()
    ],
)
def test_a_wrong_convention_fails_and_the_right_one_is_named(check, changes):
    report = check(changes)
    assert report.status == "failed"
    assert report.better is not None
    assert report.figures["mel_l1_gain_nepers"] > 0.06
    *reasons, advice = convention_lines(report)
    assert reasons
    assert all(line.startswith("failed: mel convention changed: ") for line in reasons)
    assert "changed is not that of the weights: hifigan-22k fits better" in advice


@pytest.mark.slow
@pytest.mark.parametrize("changes", EQUAL.values(), ids=list(EQUAL))
def test_what_no_recording_can_tell_apart_passes(check, changes):
    assert check(changes).status == "passed"


def test_a_lag_alone_names_the_other_framing(check, monkeypatch):
    monkeypatch.setattr("voirs_vocoder.export.validation.convention._best_other", lambda *arguments: None)
    report = check({"framing": "centered", "floor": 1e-6})
    assert [result.gate.figure for result in report.gates if result.status == "failed"] == ["lag_ms"]
    assert report.better == "changed with hop-aligned frames"


def test_half_a_hop_of_delay_fails_whatever_else_fits(check):
    report = check({"framing": "centered"})
    failed = {result.gate.figure for result in report.gates if result.status == "failed"}
    assert "lag_ms" in failed
    assert report.figures["lag_ms"] == pytest.approx(128 / 22.05, abs=1.5)


@pytest.mark.parametrize("delay_samples", [-100, -20, 0, 33, 150])
def test_the_delay_of_audio_is_measured(sample_recordings, delay_samples):
    samples = read_audio(sample_recordings[0]).samples[0][:44100]
    match = match_of(samples, np.roll(samples, delay_samples), 22050)
    assert match.lag_ms == pytest.approx(delay_samples / 22.05, abs=0.3)
    assert match.correlation > 0.9


def test_silence_and_noise_reproduce_nothing(sample_recordings):
    samples = read_audio(sample_recordings[0]).samples[0][:44100]
    noise = np.random.default_rng(0).standard_normal(samples.size).astype(np.float32) * 0.1
    assert match_of(samples, np.zeros_like(samples), 22050).correlation == 0.0
    assert abs(match_of(samples, noise, 22050).correlation) < 0.4


def test_untrained_weights_are_not_judged_and_the_report_says_why(tiny_artifact, speech):
    report = validate_artifact(tiny_artifact, speech, providers=["cpu"])
    assert report.convention.status == "not run"
    (line,) = convention_lines(report.convention)
    assert "reproduces the recordings in no known convention" in line
    assert report.passed


def test_recordings_that_are_too_short_are_no_evidence(trained):
    vocoder, manifest = trained
    samples = np.zeros(8000, np.float32)
    speech = [Speech(Recording(name="a", sha256=""), samples, mel_spectrogram(samples, 22050, manifest.mel))]
    report = check_convention(vocoder, manifest, speech, silent)
    assert report.status == "not run"
    assert list(convention_lines(report)) == [
        "not run: mel convention hifigan-22k: the recordings are shorter than half a second"
    ]


def test_alternatives_differ_and_begin_with_that_of_the_configuration(trained):
    _, manifest = trained
    own = msgspec.structs.replace(manifest.mel, id="own", floor=1e-6)
    stated = msgspec.structs.replace(
        manifest,
        mel=get_convention("nemo-22k"),
        source=msgspec.structs.replace(manifest.source, configured_mel=own),
    )
    found = alternatives(stated)
    assert next(iter(found.values())) == own
    assert {"hifigan-22k", "tacotron2-22k", "coqui-22k-symmetric"} <= found.keys()
    assert "nemo-22k" not in found
    parameters = [msgspec.json.encode(msgspec.structs.replace(each, id="")) for each in found.values()]
    assert len(set(parameters)) == len(parameters)
    assert all(each.hop_length == 256 and each.n_mels == 80 for each in found.values())


@pytest.mark.slow
def test_validate_exits_with_1_and_names_the_convention(tmp_path, sample_recordings, speech):
    request = ExportRequest(
        "hifigan",
        SHIPPED[0].weights,
        None,
        tmp_path / "artifact",
        stream=False,
        batch=False,
        mel_convention=get_convention("tacotron2-22k"),
    )
    export_artifact(request)
    arguments = ["validate", str(tmp_path / "artifact"), "--speech", str(speech), "--provider", "cpu"]
    result = CliRunner().invoke(main, [*arguments, "--json", str(tmp_path / "report.json")])
    assert result.exit_code == 1, result.output
    assert "failed: mel convention tacotron2-22k: lag_ms must be at most 2.5" in result.output
    assert "the convention of the configuration fits better" in result.output
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["convention"]["status"] == "failed"
    assert not report["passed"]
    export_artifact(dataclasses.replace(request, mel_convention=None, force=True))
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
