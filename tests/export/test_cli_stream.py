"""`voirs-vocoder stream`: files and pipes give the audio of `vocode`, and what is wrong is said in one line."""

from __future__ import annotations

import io
import re
import sys
import types

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from voirs_vocoder.export.cli import main
from voirs_vocoder.runtime import InputError, Vocoder, load_mel, mel_spectrogram, read_audio


def run(*arguments: object, stdin: bytes | None = None):
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)


@pytest.fixture
def recording(tmp_path):
    """A third of a second at the tiny model's rate."""
    rng = np.random.default_rng(0)
    path = tmp_path / "recording.wav"
    soundfile.write(path, 0.1 * rng.standard_normal(2667), 8000, subtype="PCM_16")
    return path


def offline(artifact, recording) -> np.ndarray:
    audio = read_audio(recording)
    with Vocoder.load(artifact) as vocoder:
        mel = mel_spectrogram(audio.samples[0], 8000, convention=vocoder.metadata.convention)
        return vocoder.vocode(mel).samples[0]


@pytest.mark.parametrize("chunk_frames", [1, 7, 64])
def test_a_streamed_file_is_that_of_vocode(tiny_artifact, recording, tmp_path, chunk_frames):
    output = tmp_path / "out.wav"
    result = run("stream", tiny_artifact, recording, "-o", output, "--chunk-frames", chunk_frames)
    assert result.exit_code == 0, result.output
    streamed, rate = soundfile.read(output, dtype="float32")
    assert rate == 8000
    np.testing.assert_allclose(streamed, offline(tiny_artifact, recording), rtol=0, atol=2 / 32768)
    assert "look-ahead" in result.stderr
    assert "deadlines missed" in result.stderr


def test_a_streamed_mel_is_that_of_vocode(tiny_artifact, tmp_path):
    mel = np.random.default_rng(1).standard_normal((10, 40), np.float32)
    np.save(tmp_path / "mel.npy", mel)
    assert run("stream", tiny_artifact, tmp_path / "mel.npy", "-o", tmp_path / "out.wav").exit_code == 0
    with Vocoder.load(tiny_artifact) as vocoder:
        wanted = vocoder.vocode(load_mel(tmp_path / "mel.npy", vocoder.metadata.convention)).samples[0]
    streamed, _ = soundfile.read(tmp_path / "out.wav", dtype="float32")
    np.testing.assert_allclose(streamed, np.clip(wanted, -1, 1), rtol=0, atol=2 / 32768)


def test_raw_pcm_goes_from_pipe_to_pipe(tiny_artifact, recording):
    samples, _ = soundfile.read(recording, dtype="int16")
    result = run("stream", tiny_artifact, "-", "-o", "-", stdin=samples.astype("<i2").tobytes())
    assert result.exit_code == 0, result.output
    streamed = np.frombuffer(result.stdout_bytes, "<i2") / 32768.0
    np.testing.assert_allclose(streamed, offline(tiny_artifact, recording), rtol=0, atol=2 / 32768)


def test_a_low_latency_stream_has_every_sample(tiny_artifact, recording, tmp_path):
    options = ("--look-ahead-frames", 2, "--chunk-frames", 3)
    result = run("stream", tiny_artifact, recording, "-o", tmp_path / "out.wav", *options)
    assert result.exit_code == 0, result.output
    assert "look-ahead 4 ms" in result.stderr
    assert soundfile.info(tmp_path / "out.wav").frames == offline(tiny_artifact, recording).size


def test_playing_hands_every_sample_to_the_sound_card(tiny_artifact, recording, monkeypatch):
    played: list[np.ndarray] = []

    class Output:
        def __init__(self, **settings):
            assert settings == {"samplerate": 8000, "channels": 1, "dtype": "float32"}

        def write(self, block):
            played.append(block.copy())

        def start(self): ...

        def stop(self): ...

        def close(self): ...

    stub = types.SimpleNamespace(OutputStream=Output, PortAudioError=RuntimeError)
    monkeypatch.setitem(sys.modules, "sounddevice", stub)
    result = run("stream", tiny_artifact, recording, "--play")
    assert result.exit_code == 0, result.output
    np.testing.assert_allclose(
        np.concatenate(played)[:, 0], offline(tiny_artifact, recording), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ((), "must go somewhere"),
        (("--play",), "pip install 'voirs-vocoder[play]'"),
        (("-o", "out.wav", "--latency-ms", "0.01"), "is impossible here, the least is"),
        (("-o", "out.wav", "--latency-ms", "5", "--low-latency"), "one of look_ahead_frames"),
        (("-o", "out.wav", "--low-latency"), "tune DIR --speech S --only look-ahead"),
        (("-o", "out.wav", "--chunk-frames", "0"), "not in the range"),
        (("-o", "out.wav", "--sigma", "1"), "sigma means nothing to a hifigan"),
        (("-o", "missing/out.wav"), "missing"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_wrong_is_said_in_one_line_and_nothing_is_written(
    tiny_artifact, recording, refused, monkeypatch, options, reason
):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert reason in refused("stream", tiny_artifact, recording, *options)


def test_pcm_that_ends_within_a_sample_is_refused(tiny_artifact, recording):
    samples, _ = soundfile.read(recording, dtype="int16")
    result = run("stream", tiny_artifact, "-", "-o", "-", stdin=samples.astype("<i2").tobytes() + b"\x01")
    assert result.exit_code == 2
    assert "ended within one" in result.stderr


@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG", "MP3", "AIFF", "npy", "ID3"])
def test_a_file_through_the_pipe_is_refused_where_raw_pcm_is_read(form, tiny_artifact, recording):
    samples, rate = soundfile.read(recording, dtype="float32")
    target = io.BytesIO()
    if form == "npy":
        np.save(target, np.zeros((10, 40), np.float32))
    else:
        soundfile.write(target, samples, rate, format="MP3" if form == "ID3" else form)
    data = (b"ID3\x04\0\0\0\0\0\0" if form == "ID3" else b"") + target.getvalue()
    result = run("stream", tiny_artifact, "-", "-o", "-", stdin=data)
    assert result.exit_code == 2
    assert re.search(r"^error: standard input must be raw PCM.*, got an? .*; give its path", result.stderr)
    assert not result.stdout_bytes


def test_a_streamed_mel_of_another_scale_gives_the_warning_of_vocode(tiny_artifact, tmp_path):
    np.save(tmp_path / "mel.npy", np.full((10, 60), -80, np.float32))
    warned = []
    for command in ("stream", "vocode"):
        result = run(command, tiny_artifact, tmp_path / "mel.npy", "-o", tmp_path / "out.wav")
        assert result.exit_code == 0, result.output
        warned.append(
            [line for line in result.stderr.splitlines() if line.startswith("warning: mel values lie")]
        )
    assert warned[0] == warned[1]
    assert len(warned[0]) == 1


@pytest.mark.parametrize("command", ["stream", "vocode"])
def test_a_recording_that_was_cut_off_takes_an_option(command, tiny_artifact, recording, tmp_path):
    recording.write_bytes(recording.read_bytes()[:4000])
    output = tmp_path / "out.wav"
    refused = run(command, tiny_artifact, recording, "-o", output)
    assert refused.exit_code == 2
    assert "cut off after sample 1978" in refused.stderr
    assert "--allow-truncated" in refused.stderr
    assert not output.exists()
    result = run(command, tiny_artifact, recording, "-o", output, "--allow-truncated")
    assert result.exit_code == 0, result.output
    assert result.stderr.count("warning: ") == 1
    assert soundfile.info(output).frames >= 1968


@pytest.mark.parametrize("command", ["stream", "vocode"])
def test_channels_that_cancel_are_named_and_one_can_be_chosen(command, tiny_artifact, recording, tmp_path):
    samples, rate = soundfile.read(recording)
    soundfile.write(tmp_path / "stereo.wav", np.stack([samples, -samples], axis=1), rate)
    result = run(command, tiny_artifact, tmp_path / "stereo.wav", "-o", tmp_path / "out.wav")
    assert result.exit_code == 0, result.output
    assert "the channels cancel when they are mixed" in result.stderr
    assert "take one with --channel 1" in result.stderr
    result = run(command, tiny_artifact, tmp_path / "stereo.wav", "-o", tmp_path / "out.wav", "--channel", 1)
    assert result.exit_code == 0, result.output
    assert "cancel" not in result.stderr
    left, _ = soundfile.read(tmp_path / "out.wav", dtype="float32")
    np.testing.assert_allclose(left, offline(tiny_artifact, recording), rtol=0, atol=2 / 32768)
    result = run(command, tiny_artifact, tmp_path / "stereo.wav", "-o", tmp_path / "out.wav", "--channel", 3)
    assert result.exit_code == 2
    assert "channel must be 1 to 2" in result.stderr


def test_closed_pipes_are_refused(monkeypatch):
    from voirs_vocoder.export.cli.input import standard_input
    from voirs_vocoder.runtime.printing import standard_output

    monkeypatch.setattr(sys, "stdin", None)
    monkeypatch.setattr(sys, "stdout", None)
    for pipe in (standard_input, standard_output):
        with pytest.raises(InputError, match="is closed"):
            pipe()


@pytest.mark.parametrize("option", [("--channel", 1), ("--allow-truncated",)])
@pytest.mark.parametrize("source", ["-", "mel.npy"])
def test_options_of_recordings_are_refused_for_other_input(option, source, tiny_artifact, tmp_path):
    result = run("stream", tiny_artifact, source, "-o", tmp_path / "out.wav", *option)
    assert result.exit_code == 2
    assert "are for recordings, IN is none" in result.stderr
