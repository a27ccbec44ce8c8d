"""`export --mel-convention`: another input than the configuration says, stated by the manifest and used everywhere."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from voirs_vocoder.export.cli import main
from voirs_vocoder.runtime import Artifact, Vocoder, read_audio
from voirs_vocoder.runtime.mel import mel_spectrogram

FIELDS = {
    "id": "mine", "sample_rate": 8000, "n_fft": 128, "win_length": 128, "hop_length": 16, "n_mels": 10,
    "f_min_hz": 0.0, "f_max_hz": 3800.0, "framing": "centered", "mel_scale": "htk", "mel_norm": "none",
    "compression": "log10", "floor": 1e-10,
}  # fmt: skip


@pytest.fixture(scope="module")
def overridden(tiny_checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("overridden")
    (folder / "mel.json").write_text(json.dumps(FIELDS), encoding="utf-8")
    result = CliRunner().invoke(
        main,
        [
            "export", "hifigan", "--checkpoint", str(tiny_checkpoint), "--output", str(folder / "artifact"),
            "--mel-convention", str(folder / "mel.json"), "--no-stream", "--no-batch",
        ],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    return folder / "artifact"


def test_the_manifest_states_the_convention_and_the_configurations(overridden, tiny_artifact):
    manifest = Artifact.open(overridden).manifest
    usual = Artifact.open(tiny_artifact).manifest
    assert (manifest.mel.id, manifest.mel.compression, manifest.mel.floor) == ("mine", "log10", 1e-10)
    assert manifest.source.configured_mel == usual.mel
    assert usual.source.configured_mel is None
    card = (overridden / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert f"the model's configuration states `{usual.mel.id}`" in card


def test_inspect_prints_it(overridden, tiny_artifact):
    shown = CliRunner().invoke(main, ["inspect", str(overridden)])
    assert shown.exit_code == 0, shown.output
    text = " ".join(shown.output.split())
    assert (
        "mine: FFT 128, window 128, hop 16, centered frames, reflect padding, 10 bands from 0 to 3800 Hz, scale htk"
        in text
    )
    assert "compression log10, floor 1e-10" in text
    assert (
        f"set by the export; the configuration states {Artifact.open(tiny_artifact).manifest.mel.id}" in text
    )
    assert "set by the export" not in CliRunner().invoke(main, ["inspect", str(tiny_artifact)]).output


def test_recordings_are_vocoded_by_their_mel_in_it(overridden, sample_recordings, tmp_path):
    audio = read_audio(sample_recordings[0])
    with Vocoder.load(overridden) as vocoder:
        mel = mel_spectrogram(audio.samples, audio.sample_rate, vocoder.metadata.convention)
        expected = vocoder.vocode(mel).samples
    result = CliRunner().invoke(
        main,
        ["vocode", str(overridden), str(sample_recordings[0]), "-o", str(tmp_path / "out.wav"), "--bits", "float",
         "--mel-convention", "mine"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    np.testing.assert_allclose(read_audio(tmp_path / "out.wav").samples, expected, atol=1e-5)


@pytest.mark.slow
def test_validation_against_pytorch_takes_the_manifests_convention(overridden, tiny_checkpoint, speech):
    result = CliRunner().invoke(
        main, ["validate", str(overridden), "--speech", str(speech), "--checkpoint", str(tiny_checkpoint)]
    )
    assert result.exit_code == 0, result.output
    (offline,) = Artifact.open(overridden).manifest.graphs
    assert offline.validation["snr_db"] > 80


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_mels": 20}, "must have the model's n_mels, 10, got 20 of 'mine'"),
        ({"hop_length": 32}, "must have the model's hop_length, 16, got 32"),
        ({"sample_rate": 16000}, "must have the model's sample_rate, 8000, got 16000"),
        ({"floor": -1}, "floor > 0"),
    ],
)
def test_a_convention_that_the_graphs_cannot_have_is_refused(
    refused, tiny_checkpoint, tmp_path, changes, words
):
    (tmp_path / "mel.json").write_text(json.dumps({**FIELDS, **changes}), encoding="utf-8")
    arguments = ("export", "hifigan", "--checkpoint", tiny_checkpoint, "--output", tmp_path / "made")
    assert words in refused(*arguments, "--mel-convention", tmp_path / "mel.json")


def test_an_unknown_convention_is_refused_before_the_checkpoint_is_read(refused, tmp_path):
    arguments = ("export", "hifigan", "--checkpoint", tmp_path / "none", "--output", tmp_path / "made")
    assert "known: audioldm-16k" in refused(*arguments, "--mel-convention", "whatever")


def test_vocode_compares_a_file_with_the_artifacts_convention(refused, overridden, tmp_path):
    np.save(tmp_path / "mel.npy", np.zeros((10, 5), np.float32))
    (tmp_path / "other.json").write_text(json.dumps({**FIELDS, "floor": 1e-5}), encoding="utf-8")
    arguments = ("vocode", overridden, tmp_path / "mel.npy", "-o", tmp_path / "out.wav", "--mel-convention")
    assert "takes mel convention 'mine'" in refused(*arguments, tmp_path / "other.json")
    (tmp_path / "other.json").write_text(json.dumps(FIELDS), encoding="utf-8")
    result = CliRunner().invoke(main, [str(argument) for argument in (*arguments, tmp_path / "other.json")])
    assert result.exit_code == 0, result.output
