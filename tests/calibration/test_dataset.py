"""What INT8 is calibrated on: which segments, from which files, and what is refused."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import soundfile

from voirs_vocoder.calibration.dataset import calibration_set_from_folder
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.mel import mel_spectrogram
from voirs_vocoder.runtime.mel.convention import get_convention

CONVENTION = get_convention("hifigan-22k")


def write_mel(path, frames, seed=0):
    values = np.random.default_rng(seed).normal(-5, 2, (80, frames)).astype(np.float32)
    np.save(path, values)
    return values


def write_recording(path, frames, seed=0):
    audio = np.random.default_rng(seed).uniform(-0.5, 0.5, frames * 256).astype(np.float32)
    soundfile.write(path, audio, 22050, subtype="FLOAT")
    return audio


def test_segments_are_cut_from_the_recordings_own_mel(tmp_path):
    audio = write_recording(tmp_path / "a.wav", 50)
    mel = mel_spectrogram(audio, 22050, CONVENTION).values
    chosen = calibration_set_from_folder(tmp_path, CONVENTION, segment_frames=20)
    assert chosen.segments.dtype == np.float32
    np.testing.assert_array_equal(chosen.segments, np.stack([mel[:, :20], mel[:, 30:]]))


def test_mels_and_recordings_mix_and_each_bears_its_hash(tmp_path):
    write_recording(tmp_path / "a.wav", 40)
    write_mel(tmp_path / "b.npy", 40)
    (tmp_path / "notes.txt").write_text("not a recording")
    chosen = calibration_set_from_folder(tmp_path, CONVENTION, segment_frames=20)
    assert [entry.name for entry in chosen.recordings] == ["a.wav", "b.npy"]
    for entry in chosen.recordings:
        assert entry.sha256 == hashlib.sha256((tmp_path / entry.name).read_bytes()).hexdigest()


def test_a_limit_spreads_segments_over_all_files(tmp_path):
    for number in range(10):
        write_mel(tmp_path / f"{number}.npy", 60, seed=number)
    chosen = calibration_set_from_folder(tmp_path, CONVENTION, max_segments=5, segment_frames=20)
    assert chosen.segments.shape == (5, 80, 20)
    assert [entry.name for entry in chosen.recordings] == ["0.npy", "2.npy", "4.npy", "6.npy", "8.npy"]


def test_the_same_folder_gives_the_same_segments(tmp_path):
    for number in range(4):
        write_recording(tmp_path / f"{number}.wav", 70, seed=number)
    first, second = (
        calibration_set_from_folder(tmp_path, CONVENTION, max_segments=6, segment_frames=20) for _ in range(2)
    )
    np.testing.assert_array_equal(first.segments, second.segments)
    assert first.recordings == second.recordings


def test_short_recordings_are_left_out_and_named(tmp_path, caplog):
    write_mel(tmp_path / "long.npy", 40)
    write_mel(tmp_path / "short.npy", 19)
    soundfile.write(tmp_path / "tiny.wav", np.zeros(10), CONVENTION.sample_rate)
    with caplog.at_level("WARNING"):
        chosen = calibration_set_from_folder(tmp_path, CONVENTION, segment_frames=20)
    assert [entry.name for entry in chosen.recordings] == ["long.npy"]
    left_out = [record.getMessage() for record in caplog.records]
    assert len(left_out) == 2
    assert left_out[0].startswith("short.npy: left out of calibration, since it is shorter than 20 frames")
    assert left_out[1].startswith("tiny.wav: left out of calibration")


def test_only_short_recordings_are_refused_with_the_longest(tmp_path):
    write_mel(tmp_path / "short.npy", 19)
    with pytest.raises(InputError, match=r"at least 20 frames .* the longest has 19"):
        calibration_set_from_folder(tmp_path, CONVENTION, segment_frames=20)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        calibration_set_from_folder(tmp_path / "nowhere", CONVENTION)


def test_a_folder_without_recordings_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no recordings"):
        calibration_set_from_folder(tmp_path, CONVENTION)


@pytest.mark.parametrize("sizes", [{"max_segments": 0}, {"segment_frames": 0}])
def test_sizes_below_one_are_refused(tmp_path, sizes):
    with pytest.raises(InputError, match="at least 1"):
        calibration_set_from_folder(tmp_path, CONVENTION, **sizes)


def test_progress_counts_the_files(tmp_path):
    for number in range(3):
        write_mel(tmp_path / f"{number}.npy", 20, seed=number)
    seen = []
    calibration_set_from_folder(
        tmp_path, CONVENTION, segment_frames=20, progress=lambda *told: seen.append(told)
    )
    assert ("measuring recordings", 2, 3) in seen
