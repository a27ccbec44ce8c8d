"""`compare`: files, folders and backends, aligned or refused, with thresholds that can fail."""

import json
import re
import shutil

import msgspec
import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from voirs_vocoder.export.cli import main
from voirs_vocoder.export.validation.compare import compare_artifacts, parsed_threshold
from voirs_vocoder.export.validation.compare.alignment import aligned
from voirs_vocoder.export.validation.compare.thresholds import consistency_gates
from voirs_vocoder.export.validation.kept_audio import KeptAudio
from voirs_vocoder.runtime import Artifact, AudioBuffer, InputError

RATE = 22_050


def speech_like(seconds=1.0, rate=RATE, seed=0):
    noise = np.random.default_rng(seed).standard_normal(round(seconds * rate)).astype(np.float32)
    return np.convolve(noise, np.hanning(9) / 10, "same").astype(np.float32) * 0.2


def write(path, samples, rate=RATE):
    soundfile.write(path, samples, rate, subtype="FLOAT")
    return path


def run(*arguments):
    return CliRunner().invoke(main, ["compare", *map(str, arguments)])


@pytest.fixture
def pair(tmp_path):
    clean = speech_like()
    noise = np.random.default_rng(1).standard_normal(clean.size).astype(np.float32)
    noise *= np.sqrt(np.mean(clean**2) / np.mean(noise**2)) / 10  # 20 dB below
    return write(tmp_path / "clean.wav", clean), write(tmp_path / "noisy.wav", clean + noise)


@pytest.mark.slow
def test_the_snr_of_known_noise_is_found_and_judged(pair, tmp_path):
    path = tmp_path / "compare.json"
    passed = run(*pair, "--at-least", "snr_db=19.9", "--at-most", "snr_db=20.1", "--json", path)
    assert passed.exit_code == 0, passed.output
    report = json.loads(path.read_text(encoding="utf-8"))
    assert report["passed"]
    assert report["comparisons"][0]["figures"]["snr_db"] == pytest.approx(20.0, abs=0.05)
    failed = run(*pair, "--at-least", "snr_db=21")
    assert failed.exit_code == 1
    assert "snr_db must be at least 21, 20" in failed.output


@pytest.mark.slow
def test_folders_are_compared_file_by_file_and_what_lacks_a_partner_is_named(tmp_path):
    for name in ("left", "right"):
        (tmp_path / name).mkdir()
    for index in range(2):
        write(tmp_path / "left" / f"{index}.wav", speech_like(seed=index))
        write(tmp_path / "right" / f"{index}.wav", speech_like(seed=index) * 0.5)
    write(tmp_path / "left" / "lonely.wav", speech_like())
    page = tmp_path / "page.html"
    thresholds = ("--at-least", "snr_db=6.01", "--at-most", "snr_db=6.03")
    result = run(tmp_path / "left", tmp_path / "right", *thresholds, "--report", page)
    assert result.exit_code == 0, result.output
    assert "The pair keeps every threshold" in page.read_text(encoding="utf-8")
    assert "left out: lonely" in result.output


@pytest.mark.parametrize("late_samples", [0, 1, 700, -321])
def test_a_shift_is_found_and_undone(late_samples):
    clean = speech_like()
    silence = np.zeros(abs(late_samples), np.float32)
    other = np.concatenate([silence, clean]) if late_samples > 0 else clean[-late_samples:]
    found = aligned("x", AudioBuffer(clean[None], RATE), AudioBuffer(other[None], RATE), align=True)
    np.testing.assert_array_equal(found.reference, found.degraded)


@pytest.mark.slow
def test_other_rates_and_lengths_are_refused_with_the_remedy_and_aligned_on_request(tmp_path):
    clean = write(tmp_path / "clean.wav", speech_like())
    other_rate = write(tmp_path / "rate.wav", speech_like(rate=16_000), 16_000)
    longer = write(tmp_path / "longer.wav", speech_like(1.2))
    for other, rule in ((other_rate, "rates must be equal"), (longer, "lengths must agree")):
        refused = run(clean, other)
        assert refused.exit_code == 2
        assert rule in refused.output
        assert "--align" in refused.output
        accepted = run(clean, other, "--align")
        assert accepted.exit_code == 0, accepted.output
    assert "resampled from 16000 to 22050 Hz" in run(clean, other_rate, "--align").output


def test_a_threshold_must_name_a_figure():
    with pytest.raises(InputError, match="did you mean snr_db"):
        parsed_threshold("snr_dB=3", "min")
    for text in ("snr_db", "snr_db=", "snr_db=high", "snr_db=nan"):
        with pytest.raises(InputError):
            parsed_threshold(text, "max")


def test_usage_that_makes_no_sense_is_refused(pair, tiny_artifact):
    for arguments in ((pair[0],), (tiny_artifact,), (*pair, "--speech", "x"), (tiny_artifact, pair[0])):
        assert run(*arguments).exit_code == 2, arguments
    assert run("nowhere.wav", pair[0]).exit_code == 2


@pytest.mark.slow
def test_every_backend_is_held_against_every_other(tiny_artifact, speech):
    with KeptAudio() as kept_audio:
        report = compare_artifacts([tiny_artifact], speech, kept_audio=kept_audio)
        assert list(report.rtf) == list(kept_audio.candidates)
    assert len(report.comparisons) == 6 * 5 // 2
    assert report.comparisons[0].reference == "fp32 on cpu"
    same = next(c for c in report.comparisons if c.degraded == "fp32 on openvino")
    assert same.verdict == "passed"
    assert same.figures["snr_db"] > 80


@pytest.mark.slow
def test_an_artifact_equals_its_copy_and_not_another(tiny_artifact, tmp_path, speech):
    copy = shutil.copytree(tiny_artifact, tmp_path / "copy")
    result = run(tiny_artifact, copy, "--speech", speech, "--at-most", "max_abs_error=0")
    assert result.exit_code == 0, result.output
    assert "copy: int8.tensorrt on openvino" in result.output
    manifest = json.loads((copy / "manifest.json").read_text(encoding="utf-8"))
    manifest["mel"]["f_max_hz"] = 3000.0
    (copy / "manifest.json").write_bytes(msgspec.json.encode(manifest))
    refused = run(tiny_artifact, copy, "--speech", speech)
    assert refused.exit_code == 2
    assert "one mel" in refused.output


def test_errors_of_two_graphs_may_add_up(tiny_artifact):
    manifest = Artifact.open(tiny_artifact).manifest
    (gate,) = consistency_gates(manifest, ("int8", "cpu"), ("int8", "cpu"))
    assert gate.limit == 30.0
    (gate,) = consistency_gates(manifest, ("int8", "cpu"), ("int8", "tensorrt"))
    assert gate.limit == pytest.approx(-10 * np.log10(10**-2.2 + 10**-1.8), abs=0.05)


def test_a_silent_recording_is_named_and_the_means_are_those_of_the_others(tmp_path):
    from voirs_vocoder.export.validation.compare import compare_recordings

    for side, level in (("left", 1.0), ("right", 0.9)):
        (tmp_path / side).mkdir()
        write(tmp_path / side / "a.wav", level * speech_like())
        write(tmp_path / side / "b.wav", level * speech_like(seed=1))
        write(tmp_path / side / "silent.wav", np.zeros(RATE, np.float32))
    report = compare_recordings(tmp_path / "left", tmp_path / "right")
    figures = report.comparisons[0].figures
    assert 0 < figures["multi_resolution_stft"] < 1
    assert figures["si_sdr_db"] > 50
    assert figures["snr_db"] == pytest.approx(20, abs=0.01)
    # The others are noise, which has no pitch.
    assert [note.split(":")[0] for note in report.notes if "M-STFT" in note] == ["silent.wav"]
    assert "SI-SDR dB" in report.notes[-1]


def test_a_limit_of_a_figure_that_is_undefined_for_most_recordings_is_missed(tmp_path):
    for side in ("left", "right"):
        (tmp_path / side).mkdir()
        write(tmp_path / side / "a.wav", speech_like())
        write(tmp_path / side / "b.wav", np.zeros(RATE, np.float32))
        write(tmp_path / side / "c.wav", np.zeros(RATE, np.float32))
    result = run(tmp_path / "left", tmp_path / "right", "--at-most", "multi_resolution_stft=1")
    assert result.exit_code == 1
    assert "undefined for more than half of the recordings" in result.output


def test_recordings_too_short_or_too_long_to_measure_are_refused_by_name(tmp_path):
    short = write(tmp_path / "short.wav", np.zeros(1024, np.float32))
    long = tmp_path / "long.flac"
    soundfile.write(long, np.zeros(8000 * 601, np.float32), 8000)
    for path, words in (
        (short, r"short\.wav: comparing takes at least 1025"),
        (long, r"long\.flac: longer than 600 s"),
    ):
        result = run(path, path)
        assert result.exit_code == 2
        assert re.search(words, result.stderr)


def test_hidden_files_and_folders_beside_the_recordings_are_passed_over(tmp_path):
    for side in ("left", "right"):
        (tmp_path / side).mkdir()
        write(tmp_path / side / "a.wav", speech_like())
        (tmp_path / side / "._a.wav").write_bytes(b"AppleDouble")
        (tmp_path / side / "b.wav").mkdir()
    assert run(tmp_path / "left", tmp_path / "right").exit_code == 0
    (tmp_path / "left" / "c.wav").symlink_to("nothing.wav")
    result = run(tmp_path / "left", tmp_path / "right")
    assert result.exit_code == 2
    assert "c.wav: no such file" in result.stderr
