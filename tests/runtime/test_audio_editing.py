"""Operations on audio in memory, each against its closed form."""

import numpy as np
import pytest
import scipy.signal

from voirs_vocoder.runtime import AudioBuffer, InputError
from voirs_vocoder.runtime.audio import editing

RATE = 22_050


def audio(channels=2, samples=2205, seed=0):
    values = np.random.default_rng(seed).uniform(-0.5, 0.5, (channels, samples))
    return AudioBuffer(values.astype(np.float32), RATE)


def test_channels_are_split_merged_and_mixed():
    both = audio()
    left, right = editing.split_channels(both)
    np.testing.assert_array_equal(editing.merged([left, right]).samples, both.samples)
    np.testing.assert_allclose(editing.mixed_to_mono(both).samples[0], both.samples.mean(axis=0), atol=1e-7)


def test_chunks_joined_are_the_whole():
    both = audio()
    parts = list(editing.chunks(both, 1000))
    assert [part.samples.shape[1] for part in parts] == [1000, 1000, 205]
    np.testing.assert_array_equal(editing.concatenated(parts).samples, both.samples)


def test_levels_are_reached():
    loud = editing.normalized_peak(audio(), -3.0)
    assert 20 * np.log10(np.abs(loud.samples).max()) == pytest.approx(-3.0, abs=1e-4)
    level = editing.normalized_rms(audio(), -26.0)
    assert 10 * np.log10(np.mean(level.samples**2)) == pytest.approx(-26.0, abs=1e-3)
    assert np.abs(editing.with_gain_db(audio(), -6.0).samples).max() == pytest.approx(
        0.5 * 10**-0.3, rel=1e-2
    )
    silence = AudioBuffer(np.zeros((1, 100), np.float32), RATE)
    assert editing.normalized_peak(silence) is silence
    assert editing.normalized_rms(silence) is silence


def test_fades_have_their_shape_and_two_that_cross_keep_the_power():
    ones = AudioBuffer(np.ones((1, 2205), np.float32), RATE)
    linear = editing.faded(ones, in_ms=10.0, out_ms=20.0).samples[0]
    np.testing.assert_allclose(linear[:220], (np.arange(220) + 0.5) / 220, atol=1e-6)
    assert linear[220:-441] == pytest.approx(1.0)
    rising = editing.faded(ones, in_ms=100.0, shape="equal-power").samples[0]
    falling = editing.faded(ones, out_ms=100.0, shape="equal-power").samples[0]
    np.testing.assert_allclose(rising**2 + falling**2, 1.0, atol=1e-6)
    assert editing.faded(ones, in_ms=1e6).samples.shape == ones.samples.shape


def test_filters_are_scipys():
    both = audio()
    for make, kind in ((editing.low_passed, "low"), (editing.high_passed, "high")):
        sections = scipy.signal.butter(4, 3000, kind, fs=RATE, output="sos")
        expected = scipy.signal.sosfilt(sections, both.samples, axis=1)
        np.testing.assert_allclose(make(both, 3000.0).samples, expected, atol=1e-6)


def test_another_rate_keeps_a_tone():
    tone = np.sin(2 * np.pi * 441 * np.arange(RATE) / RATE).astype(np.float32)
    changed = editing.resampled(AudioBuffer(np.stack([tone, -tone]), RATE), 16_000)
    assert changed.samples.shape == (2, 16_000)
    expected = np.sin(2 * np.pi * 441 * np.arange(16_000) / 16_000)
    np.testing.assert_allclose(changed.samples[0, 1000:-1000], expected[1000:-1000], atol=1e-4)
    same = audio()
    assert editing.resampled(same, RATE) is same


@pytest.mark.parametrize(
    "make",
    [
        lambda: editing.concatenated([]),
        lambda: editing.concatenated([audio(1), audio(2)]),
        lambda: editing.merged([audio(1), audio(1, samples=5)]),
        lambda: editing.merged([audio(1), AudioBuffer(audio(1).samples, 8000)]),
        lambda: list(editing.chunks(audio(), 0)),
        lambda: editing.faded(audio(), in_ms=-1.0),
        lambda: editing.faded(audio(), shape="round"),
        lambda: editing.low_passed(audio(), 12_000.0),
        lambda: editing.with_gain_db(audio(), float("inf")),
    ],
)
def test_what_makes_no_sense_is_refused(make):
    with pytest.raises(InputError):
        make()
