"""Recordings of several channels as mono: level, layout, and what is lost."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import soundfile

from voirs_vocoder.runtime.audio import RecordingWarning, mono_blocks, read_audio, read_mono, reading
from voirs_vocoder.runtime.audio.mixing import LAYOUTS, speakers_of
from voirs_vocoder.runtime.errors import InputError

RATE = 16_000


def voice(samples: int = 8000) -> np.ndarray:
    return 0.25 * np.sin(np.arange(samples) * 0.1)


def surround(path, order: tuple[str, ...], content: dict[str, np.ndarray], **how) -> None:
    silent = np.zeros(8000)
    soundfile.write(path, np.stack([content.get(name, silent) for name in order], axis=1), RATE, **how)


@pytest.mark.parametrize(
    ("name", "layout", "tolerance"),
    [("a.wav", "wav", 1e-4), ("a.flac", "wav", 1e-4), ("a.ogg", "vorbis", 0.02)],
)
def test_speech_in_the_center_of_surround_sound_keeps_its_level(name, layout, tolerance, tmp_path):
    surround(tmp_path / name, LAYOUTS[layout][6], {"FC": voice(), "LFE": 0.3 * np.ones(8000)})
    mixed = read_mono(tmp_path / name).samples[0]
    np.testing.assert_allclose(mixed, voice(), atol=tolerance)


def test_the_gains_are_those_of_the_recommendation(tmp_path):
    for name, gain in (("FL", 0.5**0.5), ("FR", 0.5**0.5), ("FC", 1), ("LFE", 0), ("BL", 0.5), ("BR", 0.5)):
        surround(tmp_path / "a.wav", LAYOUTS["wav"][6], {name: voice()}, subtype="FLOAT")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RecordingWarning)
            mixed = read_mono(tmp_path / "a.wav").samples[0]
        np.testing.assert_allclose(mixed, gain * voice(), atol=1e-6)


def test_two_channels_and_unknown_ones_are_averaged(tmp_path):
    for channels in (2, 3, 4, 5, 12):
        samples = np.random.default_rng(0).uniform(-0.5, 0.5, (4000, channels)).astype(np.float32)
        soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
        np.testing.assert_allclose(read_mono(tmp_path / "a.wav").samples[0], samples.mean(axis=1), atol=1e-6)


def test_the_mask_of_a_wav_file_decides(tmp_path):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (4000, 4)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", samples, RATE, format="WAVEX", subtype="FLOAT")
    data = bytearray((tmp_path / "a.wav").read_bytes())
    assert data[12:16] == b"fmt "
    data[40:44] = (0b1111).to_bytes(4, "little")  # left, right, center, low frequencies
    (tmp_path / "a.wav").write_bytes(data)
    wanted = samples @ np.array([0.5**0.5, 0.5**0.5, 1, 0])
    np.testing.assert_allclose(read_mono(tmp_path / "a.wav").samples[0], wanted, atol=1e-6)


def test_speakers_are_known_only_where_something_states_them():
    assert speakers_of(2, "wav", 0b11) is None
    assert speakers_of(4, None, 0) is None
    assert speakers_of(6, None, 0) == LAYOUTS["wav"][6]
    assert speakers_of(6, "vorbis", 0) == LAYOUTS["vorbis"][6]
    assert speakers_of(3, None, 0b111) == ("FL", "FR", "FC")
    assert speakers_of(3, None, 0b11) is None
    assert speakers_of(9, "wav", 0) is None


def test_channels_that_cancel_are_warned_of(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.stack([voice(), -voice()], axis=1), RATE)
    with pytest.warns(RecordingWarning, match=r"a\.wav: the channels cancel when they are mixed.*channel=1"):
        read_mono(tmp_path / "a.wav")


@pytest.mark.parametrize("right", [0.0, 1.0, 0.5])
def test_channels_that_do_not_cancel_are_not(right, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.stack([voice(), right * voice()], axis=1), RATE)
    soundfile.write(tmp_path / "silent.wav", np.zeros((4000, 2)), RATE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_mono(tmp_path / "a.wav")
        read_mono(tmp_path / "silent.wav")


def test_one_channel_can_be_taken(tmp_path):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (4000, 3)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    np.testing.assert_array_equal(read_mono(tmp_path / "a.wav", channel=3).samples[0], samples[:, 2])
    with reading(channel=2):
        np.testing.assert_array_equal(np.concatenate(list(mono_blocks(tmp_path / "a.wav"))), samples[:, 1])
    for channel in (0, 4):
        with pytest.raises(InputError, match=f"channel must be 1 to 3, got channel={channel}"):
            read_mono(tmp_path / "a.wav", channel=channel)


def test_how_recordings_are_read_is_chosen_for_a_block_of_code(tmp_path):
    soundfile.write(tmp_path / "a.wav", voice(), RATE)
    (tmp_path / "a.wav").write_bytes((tmp_path / "a.wav").read_bytes()[:4000])
    with reading(allow_truncated=True), reading(channel=1), pytest.warns(RecordingWarning):
        read_audio(tmp_path / "a.wav")
    with reading(allow_truncated=True), pytest.raises(InputError, match="cut off"):
        read_audio(tmp_path / "a.wav", allow_truncated=False)
    with pytest.raises(InputError, match="cut off"):
        read_audio(tmp_path / "a.wav")


def test_a_recording_longer_than_allowed_is_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", voice(), RATE)
    assert read_mono(tmp_path / "a.wav", longest_s=0.5).duration_s == 0.5
    with pytest.raises(InputError, match="longer than"):
        read_mono(tmp_path / "a.wav", longest_s=0.49)


@pytest.mark.parametrize("peak", [33.0, 32767.0])
def test_integers_stored_as_floats_are_refused(peak, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.array([0.5, -peak]), RATE, subtype="FLOAT")
    with pytest.raises(InputError, match=rf"float samples reach {peak:g}, full scale is 1; divide"):
        read_audio(tmp_path / "a.wav")
