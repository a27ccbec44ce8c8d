"""What is measured of a signal by itself: closed forms, and the targets of our users."""

import msgspec
import numpy as np
import pyloudnorm
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voirs_vocoder.runtime import AudioBuffer, InputError, read_audio, write_audio
from voirs_vocoder.runtime.analysis import (
    OutputChecker,
    OutputLimits,
    analyse,
    check_output,
    dynamic_range_db,
    harmonics,
    thd_n_percent,
)
from voirs_vocoder.runtime.analysis.levels import loudness_lufs, peak_db, rms_db, true_peak_db
from voirs_vocoder.runtime.analysis.spectrum import (
    bark_band_db,
    bark_of_hz,
    masking_threshold_db,
    spectral_centroid_hz,
    zero_crossings_per_s,
)
from voirs_vocoder.runtime.effects import PRESETS

RATE = 22_050


def sine(hz, level_db=0.0, seconds=1.0, rate=RATE, phase=0.0):
    wave = np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate + phase)
    return (10 ** (level_db / 20) * wave).astype(np.float32)


def buffer(*rows, rate=RATE):
    return AudioBuffer(np.stack(rows).astype(np.float32), rate)


def test_a_sine_has_its_levels():
    assert peak_db(sine(441)[np.newaxis]) == pytest.approx(0.0, abs=0.02)
    assert rms_db(sine(441)[np.newaxis]) == pytest.approx(-3.01, abs=0.01)
    assert peak_db(np.zeros((1, 5), np.float32)) == -np.inf


def test_the_true_peak_lies_between_samples():
    """A sine at a quarter of the rate, sampled at 45 degrees, has samples 3.01 dB below its peak."""
    wave = sine(RATE / 4, -6.0, phase=np.pi / 4) * np.hanning(RATE).astype(np.float32)
    assert true_peak_db(buffer(wave)) - peak_db(wave[np.newaxis]) == pytest.approx(3.01, abs=0.1)


def test_loudness_is_that_of_the_standards_sine_and_of_pyloudnorm():
    """ITU-R BS.1770-4: a 997 Hz sine at full scale in one channel is at -3.01 LKFS."""
    assert loudness_lufs(buffer(sine(997, seconds=3.0, rate=48_000), rate=48_000)) == pytest.approx(
        -3.01, abs=0.1
    )
    noise = np.random.default_rng(0).normal(0, 0.1, RATE)
    assert loudness_lufs(buffer(noise)) == pytest.approx(
        pyloudnorm.Meter(RATE).integrated_loudness(noise.astype(np.float32).astype(np.float64)), abs=1e-6
    )
    assert loudness_lufs(buffer(np.zeros(RATE))) is None
    assert loudness_lufs(buffer(np.ones(100))) is None


def test_a_tone_crosses_zero_twice_a_period_and_is_the_centre_of_its_spectrum():
    assert zero_crossings_per_s(sine(441), RATE) == pytest.approx(882, abs=2)
    assert spectral_centroid_hz(sine(2000), RATE) == pytest.approx(2000, rel=0.05)
    assert spectral_centroid_hz(np.zeros(5000, np.float32), RATE) == 0.0


def test_a_tone_lies_in_its_bark_band_and_masks_less_the_farther_away():
    for hz in (300, 1000, 4000):
        bands = bark_band_db(sine(hz), RATE)
        band = int(bark_of_hz(np.array([float(hz)]))[0])
        assert np.argmax(bands) == band
        assert bands[band] == pytest.approx(0.0, abs=1.5)  # less what the window lets leak
        threshold = masking_threshold_db(sine(hz), RATE)
        assert np.argmax(threshold) == pytest.approx(band, abs=1)
        # Of tones Johnston takes 14.5 + b dB off, bands counted from 1; spreading takes a little more.
        assert threshold[band] - bands[band] == pytest.approx(-(14.5 + band + 1), abs=3)
        assert (np.diff(threshold[band + 1 : band + 5]) < 0).all()


def test_noise_masks_noise_by_5_5_db():
    noise = np.random.default_rng(0).normal(0, 0.2, 4 * RATE).astype(np.float32)
    difference = bark_band_db(noise, RATE)[3:20] - masking_threshold_db(noise, RATE)[3:20]
    assert np.mean(difference) == pytest.approx(5.5, abs=1.5)


def test_the_harmonics_of_a_tone_are_told_apart():
    tone = sine(997, -1.0, 2.0) + sine(2 * 997, -61.0, 2.0) + sine(3 * 997, -81.0, 2.0)
    found = harmonics(tone, RATE)
    assert found.frequency_hz == pytest.approx(997, abs=0.5)
    assert found.level_db == pytest.approx(-1.0, abs=0.01)
    assert found.harmonics_db[0] == pytest.approx(-60.0, abs=0.1)
    assert found.harmonics_db[1] == pytest.approx(-80.0, abs=0.2)
    assert found.thd_n_percent == pytest.approx(0.1, rel=0.02)


def test_rounding_to_16_bits_costs_what_the_theory_says():
    """Of a full-scale sine: 6.02 bits + 1.76 dB."""
    tone = np.rint(sine(997.3, -0.1, 2.0) * 2**15) / 2**15
    assert -20 * np.log10(thd_n_percent(tone.astype(np.float32), RATE) / 100) == pytest.approx(98.0, abs=1.0)


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_files_of_24_bits_have_the_dynamic_range_and_distortion_that_users_ask_for(tmp_path, name):
    """Targets: THD+N at 1 kHz at most 0.01 %, dynamic range at least 100 dB."""
    write_audio(tmp_path / name, buffer(sine(997, -60.0, 2.0)), 24)
    assert dynamic_range_db(read_audio(tmp_path / name).samples[0], RATE) > 140
    write_audio(tmp_path / name, buffer(sine(1000, -1.0, 2.0)), 24)
    assert thd_n_percent(read_audio(tmp_path / name).samples[0], RATE) < 1e-4


def test_the_speech_preset_keeps_a_tone_clean():
    """THD+N through all effects, once the compressor is steady: at most 0.01 %."""
    for level_db in (-20.0, -1.0):
        made = PRESETS["speech"].apply(buffer(sine(1000, level_db, 4.0)))
        assert thd_n_percent(made.samples[0, 2 * RATE :], RATE) < 0.01


def test_a_signal_is_described_in_full():
    found = analyse(buffer(sine(441, -6.0), sine(441, -6.0)))
    document = msgspec.to_builtins(found)
    assert all(value is not None for value in document.values())
    assert len(found.bark_band_db) == len(found.masking_threshold_db) == 24
    silence = analyse(buffer(np.zeros(RATE)))
    assert silence.peak_db is silence.loudness_lufs is None
    with pytest.raises(InputError, match="1024"):
        analyse(buffer(np.zeros(100)))


def failed(audio, limits=None):
    return [check.name for check in check_output(audio, limits).checks if not check.passed]


def test_each_check_fails_for_its_own_reason():
    fine = sine(441, -6.0)
    assert failed(buffer(fine)) == []
    assert failed(buffer(fine * 3)) == ["true_peak_db"]
    assert failed(buffer(fine + 0.05)) == ["dc_offset"]
    assert failed(buffer(fine, fine)) == []
    assert failed(buffer(fine, -fine)) == ["coherence"]
    assert failed(buffer(np.concatenate([fine, np.zeros(4 * RATE), fine]))) == ["silence_s"]
    with_nan = fine.copy()
    with_nan[100] = np.nan
    assert "not_finite_samples" in failed(buffer(with_nan))
    between = sine(RATE / 4, 2.0, phase=np.pi / 4)
    assert peak_db(between[np.newaxis]) < 0
    assert "true_peak_db" in failed(buffer(between * np.hanning(RATE).astype(np.float32)))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4000), min_size=1, max_size=6), st.integers(0, 5))
def test_blocks_are_checked_as_the_whole(sizes, seed):
    rng = np.random.default_rng(seed)
    samples = (rng.standard_normal((2, sum(sizes))) * (rng.random(sum(sizes)) > 0.5)).astype(np.float32) * 0.1
    samples[:, : sum(sizes) // 2] = 0
    checker = OutputChecker(RATE, 2, OutputLimits(silence_s=0.05))
    start = 0
    for size in sizes:
        checker.push(samples[:, start : start + size])
        start += size
    whole = check_output(AudioBuffer(samples, RATE), OutputLimits(silence_s=0.05))
    for one, other in zip(checker.finish().checks, whole.checks, strict=True):
        assert (one.measured is None) == (other.measured is None)
        if one.measured is not None:
            assert one.measured == pytest.approx(other.measured, rel=1e-5, abs=1e-9)
        assert one.passed == other.passed
