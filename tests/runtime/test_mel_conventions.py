"""Every published convention against librosa, and each parameter of a convention against a plain computation."""

from __future__ import annotations

import re

import librosa
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voirs_vocoder.reference_models.config import normalized_range, trainer_convention
from voirs_vocoder.reference_models.errors import ModelConfigError
from voirs_vocoder.runtime.audio import read_audio, resample
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.mel import mel_spectrogram, range_hint
from voirs_vocoder.runtime.mel.compression import compressed, least_value, nepers_per_unit
from voirs_vocoder.runtime.mel.convention import CONVENTIONS, MelConvention, get_convention, identified
from voirs_vocoder.runtime.mel.transform import frame_count, mel_blocks

pytestmark = pytest.mark.numeric

replace = msgspec.structs.replace
HIFIGAN = get_convention("hifigan-22k")
TACOTRON = get_convention("tacotron2-22k")

VARIANTS = {
    "zero": replace(TACOTRON, id="zero", padding="zero"),
    "zero-hop": replace(HIFIGAN, id="zero-hop", padding="zero"),
    "none": replace(HIFIGAN, id="none", padding="none"),
    "none-odd": replace(HIFIGAN, id="none-odd", padding="none", hop_length=255),
    "symmetric": replace(TACOTRON, id="symmetric", window_symmetric=True, win_length=800),
    "power": replace(TACOTRON, id="power", spectrum="power", floor=1e-10),
    "added": replace(TACOTRON, id="added", floor_mode="add"),
    "scaled": replace(
        TACOTRON, id="scaled", compression="log10", scale=20.0, offset=3.0, limits=(-90.0, 10.0)
    ),
    "48k": replace(
        HIFIGAN, id="48k", sample_rate=48000, hop_length=480, n_fft=2048, win_length=1920, n_mels=128
    ),
    "odd-fft": replace(TACOTRON, id="odd-fft", n_fft=801, win_length=801, hop_length=200),
}
ALL = {**CONVENTIONS, **VARIANTS}


def expected_mel(audio: np.ndarray, convention: MelConvention) -> np.ndarray:
    """The mel frame by frame, in float64, with numpy's padding and librosa's filters."""
    n_fft, hop, win = convention.n_fft, convention.hop_length, convention.win_length
    left = {"centered": n_fft // 2, "hop-aligned": (n_fft - hop) // 2}[convention.framing]
    padded = audio.astype(np.float64)
    if convention.padding != "none":
        padded = np.pad(padded, left, "reflect" if convention.padding == "reflect" else "constant")
    window = np.hanning(win) if convention.window_symmetric else np.hanning(win + 1)[:-1]
    before = (n_fft - win) // 2
    window = np.pad(window, (before, n_fft - win - before))
    frames = [padded[at : at + n_fft] * window for at in range(0, len(padded) - n_fft + 1, hop)]
    spectrum = np.sqrt(np.abs(np.fft.rfft(frames)) ** 2 + convention.magnitude_epsilon).T
    if convention.window_energy_normalized:
        spectrum /= np.sqrt((window**2).sum())
    if convention.spectrum == "power":
        spectrum **= 2
    filters = librosa.filters.mel(
        sr=convention.sample_rate, n_fft=n_fft, n_mels=convention.n_mels, fmin=convention.f_min_hz,
        fmax=convention.f_max_hz, htk=convention.mel_scale == "htk",
        norm="slaney" if convention.mel_norm == "slaney" else None, dtype=np.float64,
    )  # fmt: skip
    mel = filters @ spectrum
    mel = mel + convention.floor if convention.floor_mode == "add" else np.maximum(mel, convention.floor)
    if convention.compression == "db-unit":
        return np.clip((20 * np.log10(mel) + 80) / 100, 0, 1)
    values = (
        convention.scale * {"ln": np.log, "log10": np.log10}[convention.compression](mel) + convention.offset
    )
    return values if convention.limits is None else values.clip(*convention.limits)


@pytest.fixture(scope="module")
def speech(data_dir):
    audio = read_audio(data_dir / "mel" / "audio_1.flac")

    def at_rate(sample_rate: int) -> np.ndarray:
        return resample(audio.samples[0], audio.sample_rate, sample_rate)[: sample_rate * 2]

    return at_rate


@pytest.mark.parametrize("convention", ALL.values(), ids=list(ALL))
def test_a_mel_of_speech_equals_the_plain_computation(speech, convention):
    audio = speech(convention.sample_rate)
    values = mel_spectrogram(audio, convention.sample_rate, convention).values
    expected = expected_mel(audio, convention)
    assert values.shape == expected.shape == (convention.n_mels, frame_count(len(audio), convention))
    np.testing.assert_allclose(
        values, expected, rtol=0, atol=2e-6 * max(1.0, convention.scale, np.abs(expected).max())
    )


@pytest.mark.parametrize(
    "name",
    [
        "speecht5-16k",
        "parallel-wavegan-22k",
        "parallel-wavegan-24k",
        "coqui-22k",
        "vocos-24k",
        "tacotron2-22k",
    ],
)
def test_centered_conventions_equal_librosas_own_spectrogram(speech, name):
    convention = get_convention(name)
    audio = speech(convention.sample_rate)
    magnitude = librosa.feature.melspectrogram(
        y=audio.astype(np.float64), sr=convention.sample_rate, n_fft=convention.n_fft,
        hop_length=convention.hop_length, win_length=convention.win_length, pad_mode="reflect", power=1.0,
        n_mels=convention.n_mels, fmin=convention.f_min_hz, fmax=convention.f_max_hz,
        htk=convention.mel_scale == "htk", norm="slaney" if convention.mel_norm == "slaney" else None,
    )  # fmt: skip
    logarithm = np.log10 if convention.compression == "log10" else np.log
    expected = logarithm(np.maximum(magnitude, convention.floor))
    # librosa's filters are rounded to float32, which near the floor is much of a band.
    loud = magnitude > 1e-5
    difference = np.abs(mel_spectrogram(audio, convention.sample_rate, convention).values - expected)
    assert loud.mean() > 0.9
    assert difference[loud].max() < 1e-4


def test_coquis_range_is_that_of_its_audio_processor():
    convention = get_convention("coqui-22k-symmetric")
    magnitudes = np.geomspace(1e-12, 1e3, 50)
    decibels = 20 * np.log10(np.maximum(1e-8, magnitudes)) - 20
    expected = np.clip(2 * 4 * (decibels + 100) / 100 - 4, -4, 4)
    np.testing.assert_allclose(compressed(magnitudes, convention), expected, atol=1e-12)


@settings(deadline=None, max_examples=60)
@given(
    samples=st.integers(1, 6_000),
    cuts=st.lists(st.integers(0, 6_000), max_size=6),
    name=st.sampled_from(sorted(ALL)),
)
def test_blocks_of_any_length_give_the_mel_of_the_whole_or_its_refusal(samples, cuts, name):
    convention = ALL[name]
    audio = (np.random.default_rng(samples).standard_normal(samples) * 0.1).astype(np.float32)
    blocks = np.split(audio, sorted(min(cut, samples) for cut in cuts))
    try:
        count = frame_count(samples, convention)
    except InputError as error:
        with pytest.raises(InputError) as raised:
            list(mel_blocks(blocks, convention))
        assert str(raised.value) == str(error)
        return
    streamed = np.concatenate(list(mel_blocks(blocks, convention)), axis=1)
    assert streamed.shape[1] == count
    whole = mel_spectrogram(audio, convention.sample_rate, convention).values
    np.testing.assert_allclose(streamed, whole, atol=1e-6 * max(1.0, convention.scale))


@pytest.mark.parametrize("convention", ALL.values(), ids=list(ALL))
def test_a_silent_band_has_the_least_value_and_units_count_nepers(convention):
    assert compressed(0.0, convention) == least_value(convention)
    if convention.limits is None and convention.floor_mode == "clamp":
        power = 2.0 if convention.spectrum == "power" else 1.0
        louder, softer = compressed(np.exp([-1.0 * power, -3.0 * power]), convention)
        assert (louder - softer) * nepers_per_unit(convention) == pytest.approx(2.0)


def test_ids_and_parameters_are_one_to_one():
    assert all(name == convention.id for name, convention in CONVENTIONS.items())
    parameters = {msgspec.json.encode(replace(convention, id="")) for convention in CONVENTIONS.values()}
    assert len(parameters) == len(CONVENTIONS)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"padding": "none", "framing": "centered"}, "padding none needs hop-aligned"),
        ({"hop_length": 255}, "to be even"),
        ({"compression": "db-unit", "scale": 2.0}, "scale 1, offset 0 and no limits"),
        ({"compression": "db-unit", "limits": (0.0, 1.0)}, "scale 1, offset 0 and no limits"),
        ({"scale": 0.0}, "scale > 0"),
        ({"scale": float("nan")}, "scale > 0"),
        ({"offset": float("inf")}, "finite offset"),
        ({"limits": (1.0, 1.0)}, "the lower one first"),
        ({"limits": (0.0, float("inf"))}, "finite limits"),
        ({"floor": 0.0}, "floor > 0"),
        ({"floor": float("nan")}, "floor > 0"),
    ],
)
def test_parameters_that_contradict_each_other_are_refused(changes, rule):
    with pytest.raises(ValueError, match=rule) as raised:
        replace(HIFIGAN, id="broken", **changes)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("convention", ALL.values(), ids=list(ALL))
def test_real_mels_raise_no_range_hint(speech, convention):
    audio = speech(convention.sample_rate)
    assert range_hint(mel_spectrogram(audio, convention.sample_rate, convention).values, convention) is None


@pytest.mark.parametrize(
    ("given", "wanted", "guess"),
    [
        ("hifigan-22k", "speecht5-16k", "natural-log"),
        ("hifigan-22k", "coqui-22k-symmetric", "natural-log"),
        ("lmnt-diffwave-22k", "parallel-wavegan-22k", r"scaled to \[0, 1\]"),
        ("coqui-22k-symmetric", "parallel-wavegan-22k", "symmetric Tacotron"),
        ("parallel-wavegan-22k", "hifigan-22k", "log10"),
        ("parallel-wavegan-22k", "coqui-22k-symmetric", "another scale"),
        ("coqui-22k-symmetric", "lmnt-diffwave-22k", "natural-log|another scale"),
    ],
)
def test_the_hint_knows_mels_of_other_compressions(speech, given, wanted, guess):
    values = mel_spectrogram(speech(22050), 22050, given).values
    hint = range_hint(values, get_convention(wanted))
    assert hint is not None
    assert re.search(guess, hint)


def test_an_id_belongs_to_its_parameters():
    assert identified(replace(HIFIGAN, id="mine"), "other") == HIFIGAN
    changed = [
        identified(replace(HIFIGAN, id="mine", **changes), "mine")
        for changes in ({"floor": 1e-8}, {"padding": "zero"}, {"scale": 2.0}, {"limits": (-4.0, 4.0)})
    ]
    assert len({convention.id for convention in changed}) == len(changed)
    assert all(re.fullmatch(r"mine-22050hz-80x256-[0-9a-f]{8}", convention.id) for convention in changed)


def test_a_trainers_configuration_gives_the_published_convention_or_one_of_its_own():
    ranged = normalized_range(
        gain=20.0, ref_level_db=20.0, min_level_db=-100.0, max_norm=4.0, symmetric=True, clip=True
    )
    derived = trainer_convention("coqui-22k", "coqui", compression="log10", f_max_hz=11025.0, **ranged)
    assert derived == get_convention("coqui-22k-symmetric")
    own = trainer_convention("coqui-22k", "coqui", hop_length=300)
    assert (own.hop_length, own.id[:19]) == (300, "coqui-22050hz-80x30")
    with pytest.raises(ModelConfigError, match="nyquist"):
        trainer_convention("coqui-22k", "coqui", sample_rate=8000)
    with pytest.raises(ModelConfigError, match="min_level_db must be below 0"):
        normalized_range(gain=1, ref_level_db=0, min_level_db=0, max_norm=4, symmetric=True, clip=True)


@settings(max_examples=50)
@given(
    gain=st.floats(0.1, 50), reference=st.floats(-50, 50), least=st.floats(-200, -1), top=st.floats(0.1, 10),
    symmetric=st.booleans(), clip=st.booleans(),
)  # fmt: skip
def test_coquis_normalization_is_scale_offset_and_limits(gain, reference, least, top, symmetric, clip):
    fields = normalized_range(
        gain=gain, ref_level_db=reference, min_level_db=least, max_norm=top, symmetric=symmetric, clip=clip
    )
    convention = trainer_convention("coqui-22k", "coqui", **fields)
    magnitudes = np.geomspace(1e-9, 1e2, 20)
    level = gain * np.log(np.maximum(1e-8, magnitudes)) - reference
    expected = (level - least) / -least
    expected = 2 * top * expected - top if symmetric else top * expected
    if clip:
        expected = np.clip(expected, -top if symmetric else 0, top)
    np.testing.assert_allclose(compressed(magnitudes, convention), expected, rtol=1e-9, atol=1e-8)
