"""Metrics of voice: each against its closed form, its package or another implementation."""

import numpy as np
import pytest
import scipy.fft
from speechmos import dnsmos as official_dnsmos

from voirs_vocoder.runtime import mel_spectrogram, read_audio
from voirs_vocoder.runtime.audio import resample
from voirs_vocoder.runtime.mel.convention import get_convention
from voirs_vocoder.runtime.metrics import (
    METRICS,
    MetricUnavailableError,
    dnsmos,
    dnsmos_ovrl_lost,
    f0_hz,
    mcd_db,
    measure,
    pitch_error_cents,
    si_sdr_db,
    voicing_f1,
)

RATE = 22_050
CONVENTION = get_convention("hifigan-22k")


@pytest.fixture(scope="module")
def speech(sample_recordings):
    audio = read_audio(sample_recordings[0])
    return resample(audio.samples[0], audio.sample_rate, RATE)


def harmonic(f0, seconds=1.0):
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(f0, round(seconds * RATE))) / RATE
    return sum(np.sin(k * phase) / k for k in range(1, 9)).astype(np.float32) * 0.2


def test_si_sdr_ignores_scale_and_finds_orthogonal_noise():
    clean = np.sin(2 * np.pi * 100 * np.arange(RATE) / RATE)
    noise = 0.1 * np.cos(2 * np.pi * 100 * np.arange(RATE) / RATE)
    assert si_sdr_db(clean, 0.3 * (clean + noise)) == pytest.approx(20.0, abs=1e-9)
    assert si_sdr_db(clean, 2 * clean) == np.inf
    with pytest.raises(MetricUnavailableError):
        si_sdr_db(clean, np.zeros_like(clean))


def test_mcd_is_kubicheks_formula_on_scipys_dct(speech):
    other = np.convolve(speech, [0.6, 0.3, 0.1], "same").astype(np.float32)
    cepstra = [
        scipy.fft.dct(mel_spectrogram(signal, RATE, CONVENTION).values, axis=0, norm="ortho")[1:14]
        for signal in (speech, other)
    ]
    expected = np.mean(10 / np.log(10) * np.sqrt(2 * np.sum((cepstra[0] - cepstra[1]) ** 2, axis=0)))
    assert mcd_db(speech, other, RATE, CONVENTION) == pytest.approx(expected, rel=1e-4)


def test_mcd_does_not_hear_the_level():
    loud = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)
    assert mcd_db(loud, loud / 2, RATE, CONVENTION) < 0.05


@pytest.mark.parametrize("f0", [75.0, 110.0, 233.1, 450.0])
def test_the_period_of_a_tone_is_found(f0):
    found = f0_hz(harmonic(f0), RATE)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, f0, rtol=2e-3)


def test_noise_and_silence_have_no_period():
    rng = np.random.default_rng(0)
    assert np.isfinite(f0_hz(rng.normal(0, 0.1, RATE), RATE)).mean() < 0.02
    assert not np.isfinite(f0_hz(np.zeros(RATE), RATE)).any()
    assert f0_hz(np.zeros(10), RATE).size == 0


@pytest.mark.slow
def test_speech_has_the_pitch_that_librosa_finds(speech):
    import librosa

    ours = f0_hz(speech, RATE)
    theirs, voiced, _ = librosa.pyin(
        speech, fmin=60, fmax=500, sr=RATE, frame_length=2048, hop_length=220, center=True
    )
    # Our frames begin, theirs are centred, every 10 ms.
    shift = round((RATE / 60) / 220)
    length = min(ours.size, theirs.size - shift)
    ours, theirs = ours[:length], theirs[shift : shift + length]
    both = np.isfinite(ours) & np.isfinite(theirs)
    assert both.sum() > 50
    cents = 1200 * np.log2(ours[both] / theirs[both])
    assert np.median(np.abs(cents)) < 30  # pyin's own steps are 10 cents, its window three times as long
    assert voiced[shift : shift + length][np.isfinite(ours)].mean() > 0.9


def test_a_semitone_is_a_hundred_cents():
    clean, other = harmonic(150.0), harmonic(150.0 * 2 ** (1 / 12))
    assert pitch_error_cents(clean, other, RATE) == pytest.approx(100.0, abs=3)
    assert voicing_f1(clean, other, RATE) == 1.0


def test_voicing_counts_what_is_missing():
    clean = harmonic(150.0, 2.0)
    other = clean.copy()
    other[RATE:] = 0
    found = voicing_f1(clean, other, RATE)
    assert found == pytest.approx(2 / 3, abs=0.03)  # half of the voiced frames are missed
    with pytest.raises(MetricUnavailableError):
        voicing_f1(np.zeros(RATE), other[:RATE], RATE)


def test_dnsmos_is_that_of_its_package(speech):
    heard = np.clip(resample(speech, RATE, 16_000), -1, 1)
    ours, theirs = dnsmos(speech, RATE), official_dnsmos.run(heard, 16_000)
    expected = (theirs["sig_mos"], theirs["bak_mos"], theirs["ovrl_mos"])
    np.testing.assert_allclose((ours.sig, ours.bak, ours.ovrl), expected, atol=1e-4)


@pytest.mark.slow
def test_long_audio_is_scored_in_segments_as_the_package_does(speech):
    long = np.tile(speech, 4)
    heard = np.clip(resample(long, RATE, 16_000), -1, 1)
    assert heard.size > 11 * 16_000
    assert dnsmos(long, RATE).ovrl == pytest.approx(official_dnsmos.run(heard, 16_000)["ovrl_mos"], abs=1e-4)


@pytest.mark.slow
def test_noise_costs_dnsmos(speech):
    noise = np.random.default_rng(0).normal(0, 0.03, speech.size).astype(np.float32)
    assert dnsmos_ovrl_lost(speech, speech, RATE) == 0.0
    assert dnsmos_ovrl_lost(speech, speech + noise, RATE) > 0.3


def test_every_metric_has_a_value_on_speech(speech):
    values = measure(speech, speech * np.float32(0.9), RATE, CONVENTION)
    assert list(values) == list(METRICS)
    assert all(value is not None for value in values.values())
