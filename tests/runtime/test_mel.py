from __future__ import annotations

import pickle
import tracemalloc
from pathlib import Path

import librosa
import msgspec
import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from voirs_vocoder.runtime.audio import read_audio
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.mel import (
    ArrayMelSource,
    AudioMelSource,
    MelSource,
    MelSpectrogram,
    NpyMelSource,
    RangeWatch,
    check_mel,
    load_mel,
    mel_spectrogram,
    range_hint,
)
from voirs_vocoder.runtime.mel.convention import CONVENTIONS, get_convention
from voirs_vocoder.runtime.mel.filters import mel_filters
from voirs_vocoder.runtime.mel.transform import mel_blocks

pytestmark = pytest.mark.numeric

HIFIGAN = get_convention("hifigan-22k")
LMNT = get_convention("lmnt-diffwave-22k")


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(samples) * 0.1).astype(np.float32)


def speechlike_mel(frames: int = 60, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-11.0, 0.5, (80, frames)).astype(np.float32)


@pytest.mark.parametrize(
    ("convention", "golden"), [("hifigan-22k", "hifigan_1.npy"), ("tacotron2-22k", "tacotron2_1.npy")]
)
def test_mel_equals_the_golden_mel(data_dir, convention, golden):
    expected = np.load(data_dir / "mel" / golden)
    audio = read_audio(data_dir / "mel" / "audio_1.flac")
    mel = mel_spectrogram(audio.samples, audio.sample_rate, convention)
    assert mel.values.dtype == np.float32
    assert mel.values.shape == expected.shape
    difference = np.abs(mel.values - expected)
    assert difference.max() <= 1e-3
    assert difference.mean() <= 1e-5


def test_lmnt_mel_equals_librosa(data_dir):
    audio = read_audio(data_dir / "mel" / "audio_1.flac")
    magnitude = librosa.feature.melspectrogram(
        y=audio.samples[0].astype(np.float64),
        sr=22050,
        n_fft=1024,
        hop_length=256,
        pad_mode="reflect",
        power=1.0,
        n_mels=80,
        fmin=20.0,
        fmax=11025.0,
        htk=True,
        norm=None,
    ) / np.sqrt(1024 * 3 / 8)
    expected = np.clip((20 * np.log10(np.maximum(magnitude, 1e-5)) - 20 + 100) / 100, 0, 1)
    values = mel_spectrogram(audio.samples, 22050, LMNT).values
    np.testing.assert_allclose(values, expected, atol=1e-6)


@pytest.mark.parametrize("convention", CONVENTIONS.values(), ids=list(CONVENTIONS))
def test_filters_equal_librosas(convention):
    expected = librosa.filters.mel(
        sr=convention.sample_rate,
        n_fft=convention.n_fft,
        n_mels=convention.n_mels,
        fmin=convention.f_min_hz,
        fmax=convention.f_max_hz,
        htk=convention.mel_scale == "htk",
        norm=None if convention.mel_norm == "none" else "slaney",
        dtype=np.float64,
    )
    np.testing.assert_allclose(mel_filters(convention), expected, atol=1e-14)


def test_a_short_window_in_a_long_frame_equals_librosas():
    convention = msgspec.structs.replace(HIFIGAN, id="short-window", win_length=600, framing="centered")
    audio = noise(20_000)
    expected = librosa.feature.melspectrogram(
        y=audio.astype(np.float64),
        sr=22050,
        n_fft=1024,
        win_length=600,
        hop_length=256,
        pad_mode="reflect",
        power=1.0,
        n_mels=80,
        fmax=8000,
    )
    np.testing.assert_allclose(mel_spectrogram(audio, 22050, convention).values, np.log(expected), atol=1e-4)


def test_channels_are_averaged_and_other_rates_resampled():
    seconds = np.arange(48_000) / 48_000
    tone = (0.5 * np.sin(2 * np.pi * 440 * seconds)).astype(np.float32)
    stereo = np.stack((tone * 0.5, tone * 1.5))
    at_rate = (0.5 * np.sin(2 * np.pi * 440 * np.arange(22_050) / 22_050)).astype(np.float32)
    resampled = mel_spectrogram(stereo, 48_000).values
    direct = mel_spectrogram(at_rate, 22_050).values
    assert resampled.shape == direct.shape
    middle = np.exp(resampled[:, 10:-10]) - np.exp(direct[:, 10:-10])
    assert np.abs(middle).max() < 1e-4


@settings(deadline=None, max_examples=30)
@given(
    samples=st.integers(1_100, 9_000),
    cuts=st.lists(st.integers(0, 9_000), max_size=8),
    name=st.sampled_from(sorted(CONVENTIONS)),
)
def test_mel_does_not_depend_on_the_blocks(samples, cuts, name):
    convention = CONVENTIONS[name]
    audio = noise(samples)
    blocks = np.split(audio, sorted(min(cut, samples) for cut in cuts))
    streamed = np.concatenate(list(mel_blocks(blocks, convention)), axis=1)
    np.testing.assert_allclose(
        streamed, mel_spectrogram(audio, convention.sample_rate, convention).values, atol=1e-6
    )


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rate=st.sampled_from([22050, 24000, 48000, 44100, 16000]),
    samples=st.integers(3_500, 150_000),
    ending=st.sampled_from(["wav", "flac", "ogg", "mp3"]),
    window=st.integers(1, 400),
    before=st.integers(0, 30),
    name=st.sampled_from(sorted(CONVENTIONS)),
)
def test_windowed_mel_of_a_file_equals_whole_mel(tmp_path, rate, samples, ending, window, before, name):
    path = tmp_path / f"recording.{ending}"
    soundfile.write(path, np.stack((noise(samples), noise(samples, 1)), axis=1), rate)
    audio = read_audio(path)
    whole = mel_spectrogram(audio.samples, audio.sample_rate, name).values
    source: MelSource = AudioMelSource(path, CONVENTIONS[name])
    assert source.frames == whole.shape[1]
    for start in range(0, whole.shape[1], window):
        first = max(0, start - before)
        values = source.read(first, start + window)
        np.testing.assert_allclose(values, whole[:, first : start + window], atol=1e-6)
    assert source.read(source.frames, source.frames + 9).shape == (CONVENTIONS[name].n_mels, 0)
    np.testing.assert_allclose(source.read(0, 2), whole[:, :2], atol=1e-6)


@pytest.mark.slow
def test_windows_of_a_long_recording_need_bounded_memory(tmp_path):
    path = tmp_path / "long.wav"
    with soundfile.SoundFile(path, "w", 48_000, 1) as sound:
        for minute in range(10):
            sound.write(noise(60 * 48_000, minute))
    tracemalloc.start()
    source = AudioMelSource(path, HIFIGAN)
    for start in range(0, source.frames, 500):
        source.read(max(0, start - 13), start + 513)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 16 * 2**20


@pytest.mark.parametrize("samples", [1, 384])
def test_audio_too_short_to_reflect_is_refused(tmp_path, samples):
    with pytest.raises(InputError, match="at least 385 samples"):
        mel_spectrogram(noise(samples), 22050)
    soundfile.write(tmp_path / "short.wav", noise(samples), 22050)
    with pytest.raises(InputError, match="at least 385 samples"):
        AudioMelSource(tmp_path / "short.wav", HIFIGAN)
    assert mel_spectrogram(noise(385), 22050).values.shape == (80, 1)


def test_unusable_audio_is_refused():
    with pytest.raises(InputError, match=r"astype\(np.float32\)"):
        mel_spectrogram(noise(4000).astype(np.float64), 22050)
    with pytest.raises(InputError, match="NaN"):
        mel_spectrogram(np.full(4000, np.nan, np.float32), 22050)
    with pytest.raises(InputError, match="channels"):
        mel_spectrogram(noise(4000).reshape(-1, 2), 22050)
    with pytest.raises(InputError, match=r"\[channels, samples\]"):
        mel_spectrogram(noise(4000).reshape(2, 2, 1000), 22050)
    with pytest.raises(InputError, match="rate"):
        mel_spectrogram(noise(4000), 0)
    with pytest.raises(InputError, match=r"known: .*hifigan-22k"):
        mel_spectrogram(noise(4000), 22050, "melodic")


def test_a_changed_file_is_noticed(tmp_path):
    path = tmp_path / "recording.wav"
    soundfile.write(path, noise(200_000), 22050)
    source = AudioMelSource(path, HIFIGAN)
    source.read(0, 10)
    soundfile.write(path, noise(70_000), 22050)
    with pytest.raises(InputError):
        source.read(0, source.frames)


# Every rule that an array and a file share: the array, and what the one-line error must say.
BAD_MELS = {
    "float64": (np.zeros((80, 5)), r"float32, got float64; convert with .astype\(np.float32\)"),
    "int": (np.zeros((80, 5), np.int32), "float32, got int32"),
    "objects": (np.array([[{}]], dtype=object), "float32, got object"),
    "bands": (np.zeros((100, 5), np.float32), "80 mel bands"),
    "transposed": (np.zeros((5, 80), np.float32), "transpose"),
    "batch": (np.zeros((2, 80, 5), np.float32), "one utterance"),
    "flat": (np.zeros(80, np.float32), "one utterance"),
    "no_frames": (np.zeros((80, 0), np.float32), "at least one frame"),
    "nan": (np.full((80, 5), np.nan, np.float32), "finite, got NaN or infinity in frame 0"),
    "infinity": (np.pad([[np.inf]], ((9, 70), (3, 0))).astype(np.float32), "infinity in frame 3"),
}


@pytest.mark.parametrize(("values", "message"), BAD_MELS.values(), ids=list(BAD_MELS))
def test_unusable_mel_is_refused_as_array_and_as_file(tmp_path, values, message):
    with pytest.raises(InputError, match=message) as caught:
        check_mel(values, HIFIGAN)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=message):
        MelSpectrogram(values, HIFIGAN)
    path = tmp_path / "mel.npy"
    np.save(path, values, allow_pickle=True)
    with pytest.raises(InputError, match=message) as caught:
        load_mel(path, HIFIGAN)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_only_numpy_arrays_are_mels():
    with pytest.raises(InputError, match="numpy array, got list"):
        check_mel([[0.0]], HIFIGAN)


def test_a_mel_of_one_utterance_is_squeezed_without_a_copy():
    batch = speechlike_mel()[np.newaxis]
    values = check_mel(batch, HIFIGAN)
    assert values.shape == (80, 60)
    assert np.shares_memory(values, batch)
    assert ArrayMelSource(batch, HIFIGAN).frames == 60


class _Bomb:
    def __reduce__(self):
        return (Path.touch, (Path(_Bomb.mark),))

    mark = ""


def test_a_pickle_is_never_executed(tmp_path):
    _Bomb.mark = str(tmp_path / "executed")
    np.save(tmp_path / "objects.npy", np.array([[_Bomb()]], dtype=object), allow_pickle=True)
    (tmp_path / "plain.npy").write_bytes(pickle.dumps(_Bomb()))
    for name in ("objects.npy", "plain.npy"):
        with pytest.raises(InputError):
            load_mel(tmp_path / name, HIFIGAN)
    assert not (tmp_path / "executed").exists()


def test_broken_files_are_refused(tmp_path):
    path = tmp_path / "mel.npy"
    np.save(path, speechlike_mel())
    data = path.read_bytes()
    for content, message in (
        (data[:-4], "header declares"),
        (data[:50], "not a .npy file"),
        (b"PK\x03\x04 an archive", "not a .npy file"),
        (data.replace(b"(80, 60)", b"(80, -1)"), "at least one frame"),
        (data.replace(b"(80, 60), }       ", b"(80, 10**12), }   "), "not a .npy file"),
        (data.replace(b"(80, 60), }           ", b"(80, 1000000000000), }"), "header declares"),
        (b"", "empty"),
    ):
        assert content != data
        path.write_bytes(content)
        with pytest.raises(InputError, match=message):
            load_mel(path, HIFIGAN)
    with pytest.raises(InputError, match="no such file"):
        load_mel(tmp_path / "none.npy", HIFIGAN)
    with pytest.raises(InputError, match="regular file"):
        load_mel(tmp_path, HIFIGAN)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    fortran=st.booleans(),
    batch=st.booleans(),
    frames=st.integers(1, 70),
    start=st.integers(0, 80),
    data=st.data(),
)
def test_npy_windows_equal_the_array(tmp_path, fortran, batch, frames, start, data):
    values = speechlike_mel(frames)
    path = tmp_path / "mel.npy"
    stored = values[np.newaxis] if batch else values
    np.save(path, np.asfortranarray(stored) if fortran else stored)
    source: MelSource = NpyMelSource(path, HIFIGAN)
    stop = data.draw(st.integers(start, 90))
    assert source.frames == frames
    np.testing.assert_array_equal(source.read(start, stop), values[:, start:stop])
    np.testing.assert_array_equal(load_mel(path, HIFIGAN).values, values)


def test_npy_windows_check_only_what_they_read(tmp_path):
    values = speechlike_mel(50)
    values[3, 40] = np.nan
    np.save(tmp_path / "mel.npy", values)
    source = NpyMelSource(tmp_path / "mel.npy", HIFIGAN)
    source.read(0, 40)
    with pytest.raises(InputError, match="frame 40"):
        source.read(30, 50)
    (tmp_path / "mel.npy").write_bytes((tmp_path / "mel.npy").read_bytes()[:-400])
    with pytest.raises(InputError, match="ended early"):
        source.read(0, 50)


def test_real_mels_raise_no_range_hint(sample_recordings):
    for path in sample_recordings[:10]:
        audio = read_audio(path)
        for convention in CONVENTIONS.values():
            values = mel_spectrogram(audio.samples, audio.sample_rate, convention).values
            assert range_hint(values, convention) is None
            assert range_hint(values[:, 40:56], convention) is None


def test_other_conventions_raise_a_range_hint(data_dir):
    natural = np.load(data_dir / "mel" / "hifigan_1.npy")
    unit = mel_spectrogram(read_audio(data_dir / "mel" / "audio_1.flac").samples, 22050, LMNT).values
    for values, convention, guess in (
        (unit, HIFIGAN, "DiffWave"),
        (unit * 8 - 4, HIFIGAN, "symmetric Tacotron"),
        (natural / np.float32(np.log(10)), HIFIGAN, "log10"),
        (natural * 8.7, HIFIGAN, "decibels"),
        (np.exp(natural) * 100, HIFIGAN, "linear"),
        (natural, LMNT, "natural-log"),
        (unit * 2, LMNT, "another scale"),
    ):
        hint = range_hint(values, convention)
        assert hint is not None
        assert guess in hint
        assert "\n" not in hint


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PK\x03\x04" + bytes(60), "got a zip archive"),
        (b"version https://git-lfs.github.com/spec/v1", "got a Git LFS pointer"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "got a WAV file"),
        (b"anything at all", "got something else"),
        (b"\x93NUMPY\x01\x00\x10\x00{'descr': (((((((", "its header is damaged"),
        (b'\x93NUMPY\x01\x00\x10\x00{\'a\': """b\n       ', "its header is damaged"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{", "its header is damaged"),
        (b"\x93NUMPY\x09\x00" + bytes(60), r"version \(9, 0\)"),
    ],
)
def test_a_file_that_holds_no_array_is_refused_by_what_it_is(content, words, tmp_path):
    (tmp_path / "mel.npy").write_bytes(content)
    with pytest.raises(InputError, match=rf"mel\.npy: .*{words}.*numpy\.save") as raised:
        load_mel(tmp_path / "mel.npy", HIFIGAN)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 300 + len(str(tmp_path))


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 100))
def test_any_bytes_are_a_mel_or_refused(tmp_path_factory, change, place):
    path = tmp_path_factory.mktemp("npy") / "mel.npy"
    np.save(path, np.zeros((80, 3), np.float32))
    data = path.read_bytes()
    path.write_bytes(data[:place] + change + data[place + len(change) :])
    try:
        assert load_mel(path, HIFIGAN).values.dtype == np.float32
    except InputError as error:
        assert "\n" not in str(error)


def test_magnitudes_without_a_logarithm_are_recognized():
    magnitudes = np.exp(speechlike_mel()).astype(np.float32)
    assert magnitudes.max() > 1
    assert "linear magnitudes" in str(range_hint(magnitudes, HIFIGAN))


def test_a_mel_in_pieces_has_the_hint_of_the_whole():
    magnitudes = np.exp(speechlike_mel()).astype(np.float32)
    watch = RangeWatch(HIFIGAN)
    assert watch.hint() is None
    for start in range(0, 60, 7):
        watch.add(magnitudes[:, start : start + 7])
    watch.add(magnitudes[:, :0])
    assert watch.hint() == range_hint(magnitudes, HIFIGAN)
