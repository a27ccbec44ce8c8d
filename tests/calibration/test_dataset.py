"""What INT8 is calibrated on: which segments, from which files, and what is refused."""

from __future__ import annotations

import hashlib
import shutil
import tracemalloc
import weakref

import numpy as np
import pytest
import soundfile

from voirs_vocoder.calibration.dataset import calibration_set_from_folder
from voirs_vocoder.calibration.selection import SEGMENT_CLASSES
from voirs_vocoder.runtime.audio import mono_blocks
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.mel import mel_spectrogram
from voirs_vocoder.runtime.mel import source as source_module
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


def test_a_limit_takes_one_segment_of_each_recording_before_a_second(tmp_path):
    for number in range(5):
        write_mel(tmp_path / f"{number}.npy", 60, seed=number)
    chosen = calibration_set_from_folder(tmp_path, CONVENTION, max_segments=5, segment_frames=20)
    assert chosen.segments.shape == (5, 80, 20)
    assert sorted(segment.chosen_for for segment in chosen.chosen) == sorted(SEGMENT_CLASSES)
    assert len({segment.recording for segment in chosen.chosen}) >= 3


def write_corpus(folder, names):
    """Recordings of 40 frames: hum, hiss, silence after a click, loud hum, soft hum; two of each."""
    folder.mkdir()
    time = np.arange(40 * 256) / 22050
    hum = sum(np.sin(2 * np.pi * 120 * k * time) / k for k in range(1, 6))
    for number, name in enumerate(names):
        kind, random = number % 5, np.random.default_rng(number)
        hiss = np.diff(random.normal(0, 1, time.size + 1))
        click = np.where(time < 0.03, hum, 1e-5 * hiss)
        sound = (0.1 * hum, 0.1 * hiss, 0.1 * click, 0.4 * hum, 0.004 * hum)[kind] * (1 - 0.01 * number)
        soundfile.write(folder / name, sound, 22050, subtype="PCM_24")
    return folder


def test_each_class_gets_its_share_of_the_segments(tmp_path):
    folder = write_corpus(tmp_path / "corpus", [f"{number}.wav" for number in range(10)])
    chosen = calibration_set_from_folder(folder, CONVENTION, max_segments=5, segment_frames=40)
    number_of = {entry.sha256: int(entry.name.partition(".")[0]) for entry in chosen.recordings}
    kind_of = {segment.chosen_for: number_of[segment.recording] % 5 for segment in chosen.chosen}
    assert (kind_of["silence"], kind_of["unvoiced"], kind_of["loud"], kind_of["quiet"]) == (2, 1, 3, 4)
    assert kind_of["voiced"] in (0, 3, 4)


def test_the_choice_depends_on_neither_names_nor_folders_nor_copies(tmp_path):
    names = [f"{number}.wav" for number in range(10)]
    first = write_corpus(tmp_path / "first", names)
    second = write_corpus(tmp_path / "second", [f"take-{(7 * number) % 10}.wav" for number in range(10)])
    shutil.copy(first / "3.wav", first / "again.wav")
    lists = [
        sorted(
            (each.recording, each.start, each.frames, each.chosen_for)
            for each in calibration_set_from_folder(
                folder, CONVENTION, max_segments=8, segment_frames=20
            ).chosen
        )
        for folder in (first, second)
    ]
    assert lists[0] == lists[1]
    assert len(lists[0]) == 8


def test_segments_are_where_the_list_states(tmp_path):
    values = {}
    for number in range(3):
        values[number] = write_mel(tmp_path / f"{number}.npy", 100, seed=number)
    chosen = calibration_set_from_folder(tmp_path, CONVENTION, max_segments=7, segment_frames=20)
    names = {entry.sha256: int(entry.name.partition(".")[0]) for entry in chosen.recordings}
    assert len(chosen.chosen) == len(chosen.segments) == 7
    for segment, place in zip(chosen.segments, chosen.chosen, strict=True):
        mel = values[names[place.recording]]
        np.testing.assert_array_equal(segment, mel[:, place.start : place.start + place.frames])


def test_no_mel_but_those_chosen_is_kept(tmp_path):
    for number in range(6):
        write_mel(tmp_path / f"{number}.npy", 8000, seed=number)
    calibration_set_from_folder(tmp_path, CONVENTION, max_segments=3, segment_frames=20)
    tracemalloc.start()
    calibration_set_from_folder(tmp_path, CONVENTION, max_segments=3, segment_frames=20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8000 * 80 * 4


def test_a_corpus_of_recordings_is_read_a_few_blocks_at_a_time(tmp_path, monkeypatch):
    alive, most, total = 0, 0, 0

    def died(samples):
        nonlocal alive
        alive -= samples

    def watched(path, **options):
        nonlocal alive, most, total
        for block in mono_blocks(path, **options):
            weakref.finalize(block, died, block.size)
            alive, total = alive + block.size, total + block.size
            most = max(most, alive)
            yield block

    monkeypatch.setattr(source_module, "mono_blocks", watched)
    noise = np.random.default_rng(0)
    for number in range(4):
        soundfile.write(tmp_path / f"{number}.wav", noise.normal(0, 0.1, 60 * 22050), 22050)
    chosen = calibration_set_from_folder(tmp_path, CONVENTION, max_segments=8, segment_frames=200)
    assert len(chosen.segments) == 8
    assert total >= 4 * 60 * 22050
    assert most <= 10 * 22050


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
