from __future__ import annotations

import gc
import io
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from voirs_vocoder.runtime.audio import AudioBuffer, read_audio, resample, resampled_blocks, resampled_length
from voirs_vocoder.runtime.audio import write as audio_write
from voirs_vocoder.runtime.audio.decoder import RelayedFile, SequentialSoundFile
from voirs_vocoder.runtime.audio.write import AudioWriter, write_audio
from voirs_vocoder.runtime.errors import InputError

RATE = 22050


def tone(samples: int = 22_050, channels: int = 1) -> np.ndarray:
    time_s = np.arange(samples) / RATE
    return np.stack([0.5 * np.sin(2 * np.pi * 220 * (c + 1) * time_s) for c in range(channels)]).astype(
        np.float32
    )


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    ("name", "bits", "tolerance"),
    [
        ("a.wav", None, 2**-15),
        ("a.wav", 16, 2**-15),
        ("a.wav", 24, 2**-23),
        ("a.WAV", 32, 2**-24),
        ("a.flac", None, 2**-15),
        ("a.flac", 24, 2**-23),
        ("a.ogg", None, 0.05),
        ("a.mp3", None, 0.05),
    ],
)
def test_what_is_written_is_read_back(tmp_path, name, bits, tolerance, channels):
    samples = tone(channels=channels)
    path = tmp_path / name
    assert write_audio(path, AudioBuffer(samples, RATE), bits) == 0
    audio = read_audio(path)
    assert (audio.sample_rate, audio.channels, audio.duration_s) == (RATE, channels, 1.0)
    assert audio.samples.dtype == np.float32
    np.testing.assert_allclose(audio.samples, samples, atol=tolerance)
    if bits is not None:
        assert soundfile.info(path).subtype == f"PCM_{bits}"
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["a.pcm", "a.raw"])
@pytest.mark.parametrize("bits", [16, 24, 32])
def test_raw_is_little_endian_and_interleaved(tmp_path, name, bits):
    samples = tone(1000, channels=2)
    write_audio(tmp_path / name, AudioBuffer(samples, RATE), bits)
    octets = np.frombuffer((tmp_path / name).read_bytes(), np.uint8).reshape(1000, 2, bits // 8)
    weights = 256 ** np.arange(bits // 8)
    values = (octets.astype(np.int64) * weights).sum(axis=2)
    values -= (values >= 2 ** (bits - 1)) * 2**bits
    np.testing.assert_allclose(values.T / 2 ** (bits - 1), samples, atol=2.0 ** (1 - min(bits, 24)))


def test_pieces_make_the_same_file_as_the_whole(tmp_path):
    samples = tone(200_000)
    write_audio(tmp_path / "whole.wav", AudioBuffer(samples, RATE))
    with AudioWriter(tmp_path / "pieces.wav", RATE) as writer:
        for piece in np.split(samples[0], [1, 1000, 1000, 150_000]):
            writer.write(piece)
    assert (tmp_path / "whole.wav").read_bytes() == (tmp_path / "pieces.wav").read_bytes()


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.pcm"])
def test_samples_beyond_full_scale_are_clipped_and_counted(tmp_path, name):
    samples = np.array([0.0, 1.0, -1.0, 1.0001, -1.5, 30.0, 0.5], np.float32)
    assert write_audio(tmp_path / name, AudioBuffer(samples[np.newaxis], RATE)) == 3
    if name == "a.pcm":
        values = np.fromfile(tmp_path / name, "<i2")
    else:
        values = soundfile.read(tmp_path / name, dtype="int16")[0]
    assert values.tolist() == [0, 32767, -32768, 32767, -32768, 32767, 16384]


def test_written_files_take_the_usual_permissions(tmp_path):
    (tmp_path / "plain").touch()
    write_audio(tmp_path / "a.wav", AudioBuffer(tone(), RATE))
    assert (tmp_path / "a.wav").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3", "a.pcm"])
def test_a_full_disk_is_one_error_and_leaves_the_old_file(tmp_path, full_disk, capfd, name):
    path = tmp_path / name
    path.write_bytes(b"before")
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, RATE).astype(np.float32)
    with (
        full_disk(30_000),
        pytest.raises(InputError, match="File too large") as caught,
        AudioWriter(path, RATE) as writer,
    ):
        for _ in range(30):
            writer.write(samples)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]
    gc.collect()
    assert capfd.readouterr().err == ""


def test_a_disk_that_fills_while_closing_is_an_error(tmp_path, full_disk):
    writer = AudioWriter(tmp_path / "a.ogg", RATE)
    writer.__enter__()
    # Vorbis holds back what has not filled a page yet.
    writer.write(tone(64))
    with full_disk(16), pytest.raises(InputError, match="File too large"):
        writer.__exit__(None, None, None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3", "pcm"])
def test_a_disk_without_room_for_the_header_is_an_error(tmp_path, full_disk, ending):
    with full_disk(16), pytest.raises(InputError, match="File too large"):
        write_audio(tmp_path / f"a.{ending}", AudioBuffer(tone(), RATE))
    assert list(tmp_path.iterdir()) == []


def test_an_exception_leaves_nothing_behind(tmp_path, capfd):
    with pytest.raises(KeyError), AudioWriter(tmp_path / "a.flac", RATE) as writer:
        writer.write(tone())
        raise KeyError("stopped")
    gc.collect()
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().err == ""


def test_unwritable_requests_are_refused(tmp_path):
    for name, options, message in (
        ("a.aac", {}, "cannot write .aac"),
        ("a", {}, "without ending"),
        ("a.flac", {"bits": 32}, "16, 24, got bits=32"),
        ("a.mp3", {"bits": 16}, "no bits, it is lossy"),
        ("a.wav", {"bits": 8}, "16, 24, 32, float, got bits=8"),
        ("a.mp3", {"channels": 5}, "mp3 cannot hold 5 channels"),
        ("none/a.wav", {}, "No such file or directory"),
    ):
        request = {"sample_rate": RATE, **options}
        with pytest.raises(InputError, match=message), AudioWriter(tmp_path / name, **request):
            pass
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(InputError, match="regular file"):
        AudioWriter(tmp_path / "folder.wav", RATE)
    with pytest.raises(InputError, match="finite"), AudioWriter(tmp_path / "a.wav", RATE) as writer:
        writer.write(np.array([np.nan], np.float32))
    with pytest.raises(InputError, match="samples must be"), AudioWriter(tmp_path / "a.wav", RATE) as writer:
        writer.write(tone(channels=2))
    assert [path.name for path in tmp_path.iterdir()] == ["folder.wav"]


def test_a_wav_file_beyond_4_gib_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(audio_write, "_WAV_MAX_BYTES", 1000)
    with pytest.raises(InputError, match="4 GiB"), AudioWriter(tmp_path / "a.wav", RATE) as writer:
        writer.write(tone(501))
    with AudioWriter(tmp_path / "a.flac", RATE) as writer:
        writer.write(tone(501))


def corrupted(path: Path, **changes: bytes) -> None:
    """Overwrite bytes of a WAV file at named header fields."""
    offsets = {"channels": 22, "rate": 24}
    data = bytearray(path.read_bytes())
    for field, value in changes.items():
        data[offsets[field] : offsets[field] + len(value)] = value
    path.write_bytes(data)


def test_unreadable_files_are_refused_in_one_line(tmp_path):
    good = tmp_path / "good.wav"
    soundfile.write(good, tone()[0], RATE)
    flac = tmp_path / "good.flac"
    soundfile.write(flac, np.random.default_rng(0).uniform(-0.5, 0.5, 50_000), RATE)
    ogg = tmp_path / "good.ogg"
    soundfile.write(ogg, np.random.default_rng(0).uniform(-0.5, 0.5, 60_000), RATE)
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("hello" * 100)
    (tmp_path / "raw.raw").write_bytes(bytes(100))
    soundfile.write(tmp_path / "no_samples.wav", np.empty(0), RATE)
    soundfile.write(tmp_path / "nan.wav", np.array([0.0, np.nan]), RATE, subtype="FLOAT")
    (tmp_path / "cut.flac").write_bytes(flac.read_bytes()[:60_000])
    ogg_bytes = ogg.read_bytes()
    half = len(ogg_bytes) // 2
    (tmp_path / "hole.ogg").write_bytes(ogg_bytes[:half] + bytes(500) + ogg_bytes[half + 500 :])
    for name, changes in (
        ("channels.wav", {"channels": (1000).to_bytes(2, "little")}),
        ("rate.wav", {"rate": (2**31 - 5).to_bytes(4, "little")}),
    ):
        (tmp_path / name).write_bytes(good.read_bytes())
        corrupted(tmp_path / name, **changes)
    os.mkfifo(tmp_path / "pipe.wav")
    for name, message in (
        ("none.wav", "no such file"),
        (".", "regular file"),
        ("pipe.wav", "regular file"),
        ("empty.wav", "empty"),
        ("text.wav", "not audio"),
        ("raw.raw", "raw PCM"),
        ("no_samples.wav", "no samples"),
        ("nan.wav", "sample 1 is NaN"),
        ("cut.flac", "cut off after sample"),
        ("hole.ogg", "damaged at byte"),
        ("channels.wav", "64 channels, got 1000"),
        ("rate.wav", "rate must be"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            read_audio(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_flac_streams_of_unknown_length_are_read_whole(tmp_path):
    path = tmp_path / "stream.flac"
    soundfile.write(path, tone(100_000)[0], RATE)
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0  # the total number of samples, 36 bits of STREAMINFO
    data[22:26] = bytes(4)
    path.write_bytes(data)
    assert read_audio(path).samples.shape == (1, 100_000)


def test_recordings_too_long_for_memory_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("voirs_vocoder.runtime.audio.read._MAX_VALUES", 100_000)
    soundfile.write(tmp_path / "long.flac", np.zeros((60_000, 2)), RATE)
    with pytest.raises(InputError, match="split"):
        read_audio(tmp_path / "long.flac")


def test_names_that_are_not_utf8_are_read_and_written(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.wav"))
    write_audio(path, AudioBuffer(tone(), RATE))
    assert read_audio(path).samples.shape == (1, 22_050)


@settings(deadline=None, max_examples=40)
@given(
    samples=st.integers(0, 5_000),
    cuts=st.lists(st.integers(0, 5_000), max_size=5),
    rates=st.lists(st.sampled_from([8000, 16000, 22050, 24000, 44100, 48000, 12345]), min_size=2, max_size=2),
)
def test_resampled_blocks_equal_the_whole_and_the_predicted_length(samples, cuts, rates):
    audio = np.random.default_rng(samples).standard_normal(samples).astype(np.float32)
    blocks = np.split(audio, sorted(min(cut, samples) for cut in cuts))
    streamed = np.concatenate([np.empty(0, np.float32), *resampled_blocks(blocks, *rates)])
    assert len(streamed) == resampled_length(samples, *rates)
    np.testing.assert_array_equal(streamed, resample(audio, *rates))
    if samples:
        np.testing.assert_allclose(streamed, soxr.resample(audio, *rates, quality="VHQ"), atol=1e-6)


@pytest.mark.parametrize("samples", [2_080, 2_400, 16_160, 18_080])
def test_the_predicted_length_is_right_where_the_ratio_gives_half_a_sample(samples):
    audio = np.zeros(samples, np.float32)
    assert resample(audio, 48_000, 22_050).size == resampled_length(samples, 48_000, 22_050)


def test_audio_buffers_are_checked():
    for samples, rate, message in (
        (tone().astype(np.float64), RATE, "float32 array, got float64"),
        ([[0.0]], RATE, "got list"),
        (tone()[0], RATE, r"\[channels, samples\]"),
        (np.zeros((65, 1), np.float32), RATE, "1 to 64 channels"),
        (tone(), 999, "1000 to 768000 Hz"),
    ):
        with pytest.raises(InputError, match=message):
            AudioBuffer(samples, rate)


def test_an_interrupt_within_a_write_of_libsndfile_is_raised(tmp_path, monkeypatch, capfd):
    def interrupted(file: object, data: bytes) -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), AudioWriter(tmp_path / "a.flac", 22_050) as writer:
        monkeypatch.setattr(audio_write._WholeWrites, "write", interrupted)
        for _ in range(100):
            writer.write(tone())
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(5, "Input/output error"), MemoryError()])
def test_what_a_file_raises_while_libsndfile_reads_it_is_raised(tmp_path, error, capfd):
    class Failing(io.BytesIO):
        calls = 0

        def readinto(self, buffer: memoryview) -> int:
            self.calls += 1
            if self.calls > 4:
                raise error
            return super().readinto(buffer)

    write_audio(tmp_path / "a.flac", AudioBuffer(tone(200_000), 22_050))
    file = RelayedFile(Failing((tmp_path / "a.flac").read_bytes()))
    with pytest.raises(type(error)):
        with file.raised():
            sound = SequentialSoundFile(file)
        for _ in range(100):
            with file.raised():
                sound.read(10_000)
    assert capfd.readouterr().err == ""
