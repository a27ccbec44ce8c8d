"""Containers of recordings: read to their real end, refused where they were cut off or damaged."""

from __future__ import annotations

import io
import os
import re
import struct
import warnings

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from voirs_vocoder.runtime.audio import AudioBuffer, RecordingWarning, StreamEncoder, audio_info, read_audio
from voirs_vocoder.runtime.audio.write import write_audio
from voirs_vocoder.runtime.errors import InputError

RATE = 22050


def speech(samples: int = 60_000) -> np.ndarray:
    """Audio whose bit rate varies: noise that comes and goes."""
    noise = np.random.default_rng(0).normal(0, 0.2, samples)
    return (noise * np.sin(np.linspace(0, 9, samples)) ** 2).astype(np.float32)


def encoded(form: str, samples: np.ndarray | None = None, **how) -> bytes:
    target = io.BytesIO()
    data = speech() if samples is None else samples
    soundfile.write(target, data, RATE, format=form, **how)
    return target.getvalue()


def without_header_frame(mp3: bytes) -> bytes:
    """An MP3 file without its first frame, which is the header of the encoder."""
    return mp3[mp3.index(mp3[:2], 36) :]


def wav(data: bytes, data_bytes: int, riff_bytes: int | None = None, more: bytes = b"") -> bytes:
    fmt = struct.pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16)
    total = 36 + len(data) + len(more) if riff_bytes is None else riff_bytes
    return b"RIFF%sWAVEfmt %s%sdata%s%s%s" % (
        struct.pack("<I", total),
        struct.pack("<I", 16),
        fmt,
        struct.pack("<I", data_bytes),
        data,
        more,
    )


def pcm(count: int) -> bytes:
    return np.arange(1, count + 1, dtype="<i2").tobytes()


@pytest.mark.parametrize("mode", ["CONSTANT", "AVERAGE", "VARIABLE"])
def test_an_mp3_without_a_length_is_read_to_its_end(mode, tmp_path):
    data = encoded("MP3", bitrate_mode=mode)
    whole, bare = tmp_path / "whole.mp3", tmp_path / "bare.mp3"
    whole.write_bytes(data)
    bare.write_bytes(without_header_frame(data))
    assert audio_info(whole).samples == 60_000
    # Without the header, nothing says how many samples of the first and the last frame count.
    assert 60_000 <= audio_info(bare).samples <= 60_000 + 4 * 576


def test_an_mp3_of_our_own_stream_is_read_whole(tmp_path):
    encoder = StreamEncoder("mp3", RATE, 1)
    data = encoder.encode(speech()[None]) + encoder.finish()
    (tmp_path / "stream.mp3").write_bytes(data)
    assert audio_info(tmp_path / "stream.mp3").samples >= 60_000


def test_two_mp3_files_in_a_row_are_read_to_the_end_of_the_second(tmp_path):
    data = encoded("MP3")
    (tmp_path / "two.mp3").write_bytes(data + data)
    assert audio_info(tmp_path / "two.mp3").samples >= 120_000


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"ID3\x04\0\0\0\0\x01\x00" + bytes(128), b""),
        (2 * (b"ID3\x03\0\0\0\0\x01\x00" + bytes(128)), b""),
        (b"", b"TAG" + bytes(125)),
        (b"", b"APETAGEX" + os.urandom(100)),
        (b"", bytes(5000)),
    ],
)
def test_tags_around_an_mp3_do_not_change_it(before, after, tmp_path, capfd):
    data = encoded("MP3")
    (tmp_path / "bare.mp3").write_bytes(data)
    (tmp_path / "tagged.mp3").write_bytes(before + data + after)
    bare, tagged = (read_audio(tmp_path / name).samples for name in ("bare.mp3", "tagged.mp3"))
    np.testing.assert_array_equal(tagged, bare)
    assert capfd.readouterr().err == ""


def test_damage_within_an_mp3_is_refused_with_its_position(tmp_path, capfd):
    data = encoded("MP3")
    half = len(data) // 2
    (tmp_path / "a.mp3").write_bytes(data[:half] + bytes(3000) + data[half + 3000 :])
    with pytest.raises(InputError, match=r"a\.mp3: damaged at byte \d+") as raised:
        read_audio(tmp_path / "a.mp3", allow_truncated=True)
    position = int(re.search(r"byte (\d+)", str(raised.value))[1])
    assert half - 2000 < position < half + 2000
    assert capfd.readouterr().err == ""


def cut_files() -> dict[str, bytes]:
    wide = speech()
    return {
        "a.ogg": encoded("OGG", wide),
        "a.mp3": encoded("MP3", wide),
        "bare.mp3": without_header_frame(encoded("MP3", wide)),
        "a.flac": encoded("FLAC", wide),
        "a.wav": encoded("WAV", wide),
        "float.wav": encoded("WAV", wide, subtype="FLOAT"),
        "ex.wav": encoded("WAVEX", wide),
        "a.rf64": encoded("RF64", wide),
        "a.aiff": encoded("AIFF", wide),
        "a.w64": encoded("W64", wide),
        "a.au": encoded("AU", wide),
    }


@pytest.mark.parametrize("name", cut_files())
def test_a_recording_that_was_cut_off_is_refused_unless_that_is_allowed(name, tmp_path, capfd):
    data = cut_files()[name]
    path = tmp_path / name
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = read_audio(path).samples
    path.write_bytes(data[: int(len(data) * 0.7)])
    with pytest.raises(InputError, match=r": cut off after sample \d+: .*allow_truncated=True"):
        read_audio(path)
    with pytest.warns(RecordingWarning, match="cut off after sample"):
        rest = read_audio(path, allow_truncated=True).samples
    count = rest.shape[1]
    assert 0.4 * whole.shape[1] < count < whole.shape[1]
    np.testing.assert_allclose(rest[:, : count - 3000], whole[:, : count - 3000], atol=1e-3)
    assert capfd.readouterr().err == ""


def test_a_caf_file_that_was_cut_off_is_refused_as_such(tmp_path):
    data = encoded("CAF")
    (tmp_path / "a.caf").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"a\.caf: cut off: its header declares 120004 bytes of samples"):
        read_audio(tmp_path / "a.caf", allow_truncated=True)


@pytest.mark.parametrize("name", ["a.opus", "a.m4a"])
def test_lossy_files_of_ours_are_whole_and_known_when_they_are_cut(name, tmp_path):
    if name.endswith("m4a"):
        pytest.importorskip("av")
    path = tmp_path / name
    write_audio(path, AudioBuffer(np.tile(speech(), 3)[None, :48_000], 24_000))
    assert audio_info(path).samples >= 48_000
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * 0.7)])
    with pytest.raises(InputError, match="cut off"):
        read_audio(path)


def test_an_ogg_file_that_ends_between_pages_is_known_to_be_cut(tmp_path):
    data = encoded("OGG")
    (tmp_path / "a.ogg").write_bytes(data[: data.rindex(b"OggS")])
    with pytest.raises(InputError, match="it has no end-of-stream page"):
        read_audio(tmp_path / "a.ogg")


def test_a_page_that_is_missing_from_an_ogg_file_is_refused(tmp_path):
    data = encoded("OGG", speech(400_000))
    starts = [match.start() for match in re.finditer(b"OggS", data)]
    assert len(starts) > 6
    (tmp_path / "a.ogg").write_bytes(data[: starts[3]] + data[starts[4] :])
    with pytest.raises(InputError, match=f"damaged before byte {starts[3]}: pages 3 to 3 are missing"):
        read_audio(tmp_path / "a.ogg")


@settings(max_examples=25)
@given(place=st.floats(0, 1, exclude_max=True), value=st.integers(1, 255))
def test_a_changed_byte_of_an_ogg_file_is_refused_with_its_position(tmp_path_factory, place, value):
    data = bytearray(encoded("OGG", speech(20_000)))
    data[int(place * len(data))] ^= value
    path = tmp_path_factory.mktemp("ogg") / "a.ogg"
    path.write_bytes(data)
    with pytest.raises(InputError):
        read_audio(path)


def test_damage_within_a_flac_file_is_refused_with_its_position(tmp_path):
    data = encoded("FLAC", speech(400_000))
    half = len(data) // 2
    (tmp_path / "a.flac").write_bytes(data[:half] + bytes(500) + data[half + 500 :])
    with pytest.raises(InputError, match="damaged after sample") as raised:
        read_audio(tmp_path / "a.flac", allow_truncated=True)
    sample = int(re.search(r"sample (\d+)", str(raised.value))[1])
    assert 150_000 < sample < 250_000


@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0x80000000, 0xFFFFFFFF, 0xFFFFFFB7])
@pytest.mark.parametrize("riff", [0, 0xFFFFFFFF, 0x7FFFF024, None])
def test_a_wav_header_of_a_live_stream_is_read_to_the_end_of_the_file(size, riff, tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(wav(pcm(1000), size, riff))
    np.testing.assert_array_equal(read_audio(path).samples[0], np.arange(1, 1001) / 32768)


def test_a_wav_file_whose_samples_count_too_much_but_whose_whole_is_right_is_whole(tmp_path):
    (tmp_path / "a.wav").write_bytes(wav(pcm(1000), 2016))
    assert audio_info(tmp_path / "a.wav").samples == 1000


@pytest.mark.parametrize("more", [b"", b"LIST" + struct.pack("<I", 4) + b"INFO"])
def test_a_wav_file_without_samples_is_refused_as_such(more, tmp_path):
    (tmp_path / "a.wav").write_bytes(wav(b"", 0, more=more))
    with pytest.raises(InputError, match="no samples"):
        read_audio(tmp_path / "a.wav")


def test_a_recording_is_known_by_its_content_whatever_its_name_says(tmp_path):
    for form, name in (
        ("WAV", "a.m4a"),
        ("WAV", "a.mp3"),
        ("MP3", "a.wav"),
        ("OGG", "a.flac"),
        ("FLAC", "b.m4a"),
    ):
        (tmp_path / name).write_bytes(encoded(form))
        assert audio_info(tmp_path / name).samples == 60_000


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PK\x03\x04" + bytes(100), "a zip archive.*numpy.save"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html></html>", "a web page"),
        (b"\x93NUMPY\x01\0" + bytes(100), r"NumPy array.*\.npy"),
        (wav(pcm(10), 20)[:24] + bytes(4) + wav(pcm(10), 20)[28:], "a rate of 0 Hz"),
        (b"\0\0\0\x18ftypM4A " + bytes(100), "not audio that FFmpeg reads"),
        (b"\x8d" + b"\x01" * 99, "not audio that libsndfile reads"),
    ],
)
def test_what_is_no_recording_is_refused_by_what_it_is(content, words, tmp_path):
    if b"ftyp" in content:
        pytest.importorskip("av")
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.wav: .*{words}") as raised:
        read_audio(tmp_path / "a.wav")
    assert "\n" not in str(raised.value)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_recording_makes_a_reader_raise_anything_but_a_refusal(tmp_path_factory, data):
    form = data.draw(st.sampled_from(["WAV", "FLAC", "OGG", "MP3", "AIFF", "W64", "CAF", "RF64", "AU"]))
    content = bytearray(encoded(form, speech(3000)))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(1, len(content))) :]
    path = tmp_path_factory.mktemp("fuzz") / "a.wav"
    path.write_bytes(content)
    for allow in (False, True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RecordingWarning)
            try:
                audio = read_audio(path, allow_truncated=allow)
            except InputError:
                continue
        assert np.isfinite(audio.samples).all()


@pytest.mark.parametrize("streamed", [False, True])
def test_an_mp4_file_that_declares_more_samples_than_it_can_hold_is_refused(streamed, tmp_path):
    pytest.importorskip("av")
    path = tmp_path / "a.m4a"
    if streamed:
        encoder = StreamEncoder("m4a", RATE, 1)
        path.write_bytes(encoder.encode(speech()[None]) + encoder.finish())
    else:
        write_audio(path, AudioBuffer(speech()[None], RATE))
    assert audio_info(path).samples >= 60_000
    data = path.read_bytes()
    for kind, place in ((b"trun", 8),) if streamed else ((b"stsz", 12), (b"stts", 12)):
        at = data.index(kind)
        path.write_bytes(data[: at + place] + b"\x7f" + data[at + place + 1 :])
        with pytest.raises(
            InputError, match=rf"damaged at byte {at - 4}: the MP4 box there declares 21\d+ samples"
        ):
            read_audio(path)
