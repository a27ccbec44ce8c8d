"""Formats: rounded rightly, tagged, as files and as streams whose first bytes come before the last chunk exists."""

import io
import sys
import wave

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from voirs_vocoder.runtime import AudioBuffer, InputError, read_audio, write_audio
from voirs_vocoder.runtime.audio import AudioTags, ResampledWarning, StreamEncoder
from voirs_vocoder.runtime.audio.formats import AUDIO_FORMATS
from voirs_vocoder.runtime.audio.pcm import PcmQuantizer, float_from_pcm, packed, pcm_from_float, unpacked

RATE = 24_000
# At low rates Opus models the voice and does not keep its waveform.
SIMILAR = {"opus": 0.8}
TAGS = AudioTags(title="a title", artist="somebody", comment="a comment", software="a program")


def speech(seconds=1.0, channels=1, rate=RATE):
    time = np.arange(round(seconds * rate)) / rate
    rows = [
        0.4 * np.sin(2 * np.pi * (220 + 110 * row) * time) * np.hanning(time.size) for row in range(channels)
    ]
    return np.stack(rows).astype(np.float32)


@pytest.mark.parametrize("bits", [16, 24, 32])
def test_rounding_is_to_the_nearest_and_halves_go_to_the_even_number(bits):
    step = 2.0 ** (1 - bits)
    samples = np.array([[0.5, 1.5, 2.5, -0.5, -1.5, 0.49, 0.51]]) * step
    if bits < 32:  # float32 holds these exactly
        assert pcm_from_float(samples.astype(np.float32), bits).tolist() == [[0, 2, 2, 0, -2, 0, 1]]
    ends = PcmQuantizer(bits)
    limited = ends.quantize(np.array([[1.0, -1.0, 1.5, -1.5]], np.float32))
    full = 2 ** (bits - 1)
    assert limited.tolist() == [[full - 1, -full, full - 1, -full]]
    assert ends.saturated_samples == 2


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-(2**23), 2**23 - 1), min_size=2, max_size=20), st.sampled_from([16, 24, 32]))
def test_whole_numbers_survive_floats_and_bytes(numbers, bits):
    values = np.array(numbers, np.int64) >> max(0, 24 - bits)
    values = values.astype(np.int32).reshape(1, -1)
    if bits < 32:
        np.testing.assert_array_equal(pcm_from_float(float_from_pcm(values, bits), bits), values)
    np.testing.assert_array_equal(unpacked(packed(values, bits), bits), values)
    if values.shape[1] % 2 == 0:
        stereo = values.reshape(2, -1)
        np.testing.assert_array_equal(unpacked(packed(stereo, bits), bits, 2), stereo)


def test_dither_makes_the_error_noise_that_does_not_depend_on_the_signal():
    """A sine of half a step vanishes without dither; with it, it is there, and the error's power is that of the theory:
    1/12 + 1/6 steps squared."""
    step = 2.0**-15
    samples = (0.45 * step * np.sin(2 * np.pi * 440 * np.arange(4 * RATE) / RATE)).astype(np.float32)[
        np.newaxis
    ]
    assert not pcm_from_float(samples, 16).any()
    made = pcm_from_float(samples, 16, dither_seed=1)
    error = made - samples / step
    assert np.mean(error**2) == pytest.approx(0.25, rel=0.02)
    assert abs(np.corrcoef(error[0], samples[0])[0, 1]) < 0.02
    half = PcmQuantizer(16, dither_seed=1)
    chunked = [half.quantize(samples[:, :777]), half.quantize(samples[:, 777:])]
    np.testing.assert_array_equal(np.concatenate(chunked, axis=1), made)


@pytest.mark.parametrize(
    ("name", "bits"), [("a.wav", 16), ("a.wav", 24), ("a.wav", 32), ("a.flac", 16), ("a.flac", 24)]
)
def test_files_hold_the_rounded_samples_without_bias(tmp_path, name, bits):
    samples = np.random.default_rng(0).uniform(-1, 1, (1, 20_000)).astype(np.float32)
    write_audio(tmp_path / name, AudioBuffer(samples, RATE), bits)
    whole, _ = soundfile.read(tmp_path / name, dtype="int32")
    np.testing.assert_array_equal(whole >> (32 - bits), pcm_from_float(samples, bits)[0])


def test_float_files_keep_samples_beyond_full_scale(tmp_path):
    samples = speech() * 5
    assert write_audio(tmp_path / "a.wav", AudioBuffer(samples, RATE), "float") == 0
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav").samples, samples)
    write_audio(tmp_path / "a.pcm", AudioBuffer(samples, RATE), "float")
    np.testing.assert_array_equal(np.fromfile(tmp_path / "a.pcm", "<f4"), samples[0])


def decoded(path):
    """Float32 [channels, samples] and the rate, by FFmpeg, which none of our encoders but one uses."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
        resampler = av.AudioResampler(format="fltp", layout=frames[0].layout)
        rows = [part.to_ndarray() for frame in frames for part in resampler.resample(frame)]
        return np.concatenate(rows, axis=1), frames[0].sample_rate


def similarity(samples, made):
    """The largest normalized cross-correlation: codecs may begin late."""
    size = 1 << (samples.size + made.size).bit_length()
    correlation = np.fft.irfft(np.fft.rfft(made, size) * np.conj(np.fft.rfft(samples, size)), size)
    return correlation.max() / np.sqrt(np.sum(samples**2) * np.sum(made**2))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "opus", "mp3", "m4a"])
def test_every_format_is_decoded_by_ffmpeg(tmp_path, ending, channels):
    path = tmp_path / f"a.{ending}"
    samples = speech(channels=channels)
    write_audio(path, AudioBuffer(samples, RATE))
    made, rate = decoded(path)
    if ending == "opus":  # FFmpeg always decodes Opus at 48 kHz
        made, rate = made[:, ::2], RATE
    assert rate == RATE
    assert made.shape[0] == channels
    assert similarity(samples[0], made[0]) > SIMILAR.get(ending, 0.98)


@pytest.mark.parametrize("name", [name for name in AUDIO_FORMATS if name != "pcm"])
def test_streams_begin_before_they_end_and_are_decoded_by_ffmpeg(tmp_path, name):
    samples = speech(4.0)
    encoder = StreamEncoder(name, RATE)
    sent = [encoder.encode(samples[:, start : start + 1200]) for start in range(0, samples.shape[1], 1200)]
    assert sum(map(len, sent[: len(sent) // 2])) > 1000
    path = tmp_path / "stream"
    path.write_bytes(b"".join([*sent, encoder.finish()]))
    made, _ = decoded(path)
    made = made[:, ::2] if name == "opus" else made
    assert made.shape[1] == pytest.approx(samples.shape[1], rel=0.03)
    assert similarity(samples[0], made[0]) > SIMILAR.get(name, 0.98)


def test_a_pcm_stream_is_the_file():
    samples = speech(channels=2)
    encoder = StreamEncoder("pcm", RATE, 2, samples=24)
    assert encoder.encode(samples) + encoder.finish() == packed(pcm_from_float(samples, 24), 24)


def test_a_streamed_wav_has_a_header_of_unknown_length():
    encoder = StreamEncoder("wav", RATE, samples=16)
    data = encoder.encode(speech()) + encoder.finish()
    with wave.open(io.BytesIO(data)) as header:
        assert (header.getframerate(), header.getsampwidth(), header.getnchannels()) == (RATE, 2, 1)
    np.testing.assert_array_equal(np.frombuffer(data[44:], "<i2"), pcm_from_float(speech(), 16)[0])


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "opus", "mp3", "m4a"])
def test_tags_are_read_by_ffmpeg(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    write_audio(path, AudioBuffer(speech(), RATE), tags=TAGS)
    with av.open(str(path)) as container:
        found = {**container.metadata, **container.streams.audio[0].metadata}
    found = {name.lower(): value for name, value in found.items()}
    assert found["title"] == "a title"
    assert found["artist"] == "somebody"
    assert "a comment" in (found.get("comment", ""), found.get("description", ""))


@pytest.mark.parametrize(
    ("ending", "rate", "file_rate"),
    [
        ("opus", 22_050, 24_000),
        ("opus", 96_000, 48_000),
        ("mp3", 10_000, 11_025),
        ("m4a", 23_000, 24_000),
        ("ogg", 384_000, 192_000),
    ],
)
def test_a_rate_that_a_format_lacks_is_changed_and_said(tmp_path, ending, rate, file_rate):
    path = tmp_path / f"a.{ending}"
    samples = speech(rate=rate)
    with pytest.warns(ResampledWarning, match=f"no {rate} Hz, written at {file_rate} Hz"):
        write_audio(path, AudioBuffer(samples, rate))
    made, found_rate = decoded(path)
    assert found_rate == (48_000 if ending == "opus" else file_rate)
    assert made.shape[1] / found_rate == pytest.approx(1.0, abs=0.1)


def test_what_a_format_cannot_hold_is_refused(tmp_path, monkeypatch):
    audio = AudioBuffer(speech(), RATE)
    for name, bits, message in (
        ("a.flac", 32, "flac takes"),
        ("a.mp3", 16, "lossy"),
        ("a.xyz", None, "cannot write"),
    ):
        with pytest.raises(InputError, match=message):
            write_audio(tmp_path / name, audio, bits)
    with pytest.raises(InputError, match="dither needs 16 or 24 bits"):
        write_audio(tmp_path / "a.mp3", audio, dither_seed=1)
    with pytest.raises(InputError, match="1 or 2 channels"):
        write_audio(tmp_path / "a.m4a", AudioBuffer(speech(channels=3), RATE))
    with pytest.raises(InputError, match="unknown audio format"):
        StreamEncoder("aiff", RATE)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match=r"voirs-vocoder\[codecs\]"):
        write_audio(tmp_path / "a.m4a", audio)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("streamed", [False, True])
def test_aac_is_read_back(tmp_path, streamed):
    path = tmp_path / "a.m4a"
    samples = speech(2.0, channels=2)
    if streamed:
        encoder = StreamEncoder("m4a", RATE, 2)
        path.write_bytes(encoder.encode(samples) + encoder.finish())
    else:
        write_audio(path, AudioBuffer(samples, RATE))
    made = read_audio(path)
    assert (made.sample_rate, made.channels) == (RATE, 2)
    assert made.samples.shape[1] == pytest.approx(2 * RATE, abs=3000)
    assert similarity(samples[1], made.samples[1]) > 0.98


def test_damaged_aac_is_refused_in_one_line(tmp_path):
    good = tmp_path / "good.m4a"
    write_audio(good, AudioBuffer(speech(2.0), RATE))
    data = good.read_bytes()
    for name, damaged in (
        ("text", b"hello" * 100),
        ("wav", b"RIFF\0\0\0\0WAVE" * 20),
        ("half", data[: len(data) // 2]),
        ("empty", b""),
    ):
        path = tmp_path / f"{name}.m4a"
        path.write_bytes(damaged)
        with pytest.raises(InputError) as refused:
            read_audio(path)
        assert "\n" not in str(refused.value)
    noise = bytearray(data)
    noise[200:2000] = np.random.default_rng(0).bytes(1800)
    (tmp_path / "noise.m4a").write_bytes(noise)
    try:
        read_audio(tmp_path / "noise.m4a")
    except InputError:
        return
