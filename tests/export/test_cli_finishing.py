"""`vocode` and `stream` with effects, prosody, formats and checks."""

import shutil

import av
import numpy as np
import pytest
from click.testing import CliRunner

from voirs_vocoder.export.cli import main
from voirs_vocoder.export.pipeline import ExportRequest, export_artifact
from voirs_vocoder.runtime import Artifact, InputError, Vocoder, load_chain, read_audio
from voirs_vocoder.runtime.artifact.effects import chosen_chain


@pytest.fixture(scope="module")
def mel_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("mel") / "mel.npy"
    np.save(path, np.random.default_rng(0).uniform(-9, 0, (10, 100)).astype(np.float32))
    return path


@pytest.fixture(scope="module")
def spoken(tiny_artifact, mel_path):
    with Vocoder.load(tiny_artifact) as vocoder:
        return vocoder.vocode(np.load(mel_path))


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_effects_are_those_of_the_library_and_speed_changes_the_length(
    tiny_artifact, mel_path, spoken, tmp_path
):
    path = tmp_path / "a.wav"
    result = run("vocode", tiny_artifact, mel_path, "-o", path, "--bits", "float", "--effects", "room")
    assert result.exit_code == 0, result.output
    made = read_audio(path)
    np.testing.assert_allclose(made.samples, load_chain("room").apply(spoken).samples, atol=1e-6)
    assert made.channels == 2
    result = run("vocode", tiny_artifact, mel_path, "-o", path, "--speed", "2", "--energy-db", "-6")
    assert result.exit_code == 0, result.output
    assert read_audio(path).samples.shape[1] == spoken.samples.shape[1] // 2


def test_a_stream_has_the_same_effects(tiny_artifact, mel_path, tmp_path):
    offline, live = tmp_path / "offline.wav", tmp_path / "live.wav"
    chain = ("--effects", "telephone", "--bits", "float")
    assert run("vocode", tiny_artifact, mel_path, "-o", offline, *chain).exit_code == 0
    result = run("stream", tiny_artifact, mel_path, "-o", live, "--chunk-frames", "7", *chain)
    assert result.exit_code == 0, result.output
    np.testing.assert_allclose(read_audio(live).samples, read_audio(offline).samples, atol=1e-6)


def test_a_stream_to_standard_output_is_encoded(tiny_artifact, mel_path, spoken, tmp_path):
    result = run("stream", tiny_artifact, mel_path, "-o", "-", "--format", "flac", "--bits", "24")
    assert result.exit_code == 0, result.stderr
    path = tmp_path / "a.flac"
    path.write_bytes(result.stdout_bytes)
    np.testing.assert_allclose(read_audio(path).samples, np.clip(spoken.samples, -1, 1), atol=2**-22)


def test_a_file_is_tagged_with_artifact_and_version(tiny_artifact, mel_path, tmp_path):
    path = tmp_path / "a.m4a"
    result = run("vocode", tiny_artifact, mel_path, "-o", path)
    assert result.exit_code == 0, result.output
    with av.open(str(path)) as container:
        assert tiny_artifact.name in container.metadata["comment"]
        assert "hifigan" in container.metadata["comment"]


def test_a_rate_that_the_codec_lacks_is_said(tiny_artifact, mel_path, tmp_path):
    result = run("vocode", tiny_artifact, mel_path, "-o", tmp_path / "a.mp3")
    assert result.exit_code == 0, result.output
    assert "warning" not in result.output  # MP3 has 8 kHz
    chain = tmp_path / "chain.toml"
    chain.write_text("[[effect]]\ntype = 'compresor'", encoding="utf-8")
    refused = run("vocode", tiny_artifact, mel_path, "-o", tmp_path / "b.wav", "--effects", chain)
    assert refused.exit_code == 2
    assert "did you mean 'compressor'" in refused.output


def test_check_fails_when_the_output_clips(tiny_artifact, mel_path, tmp_path):
    path = tmp_path / "a.wav"
    assert run("vocode", tiny_artifact, mel_path, "-o", path, "--check", "--energy-db", "-12").exit_code in (
        0,
        1,
    )
    result = run("vocode", tiny_artifact, mel_path, "-o", path, "--check", "--energy-db", "24")
    assert result.exit_code == 1
    assert "failed: true_peak_db" in result.output


def test_format_is_for_standard_output(tiny_artifact, mel_path, tmp_path):
    result = run("stream", tiny_artifact, mel_path, "-o", tmp_path / "a.wav", "--format", "mp3")
    assert result.exit_code == 2
    assert "by its ending" in result.output


@pytest.mark.slow
def test_an_artifact_brings_its_effects_along(tiny_checkpoint, tiny_artifact, tmp_path):
    root = tmp_path / "with-effects"
    chain = load_chain("warm")
    artifact = export_artifact(
        ExportRequest("hifigan", tiny_checkpoint, None, root, effects=chain, stream=False)
    )
    assert chosen_chain("artifact", Artifact.open(root)) == chain
    assert all(problem is None for _, problem in artifact.verify())
    with pytest.raises(InputError, match="holds no effects"):
        chosen_chain("artifact", Artifact.open(tiny_artifact))
    spoiled = shutil.copytree(root, tmp_path / "spoiled")
    (spoiled / "effects.toml").write_bytes(b"name = 'other'\n")
    result = run("vocode", spoiled, "x.npy", "-o", tmp_path / "a.wav", "--effects", "artifact")
    assert result.exit_code == 2
