"""Effects: the same whole and in chunks, and each as its closed form says."""

from itertools import pairwise

import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

from voirs_vocoder.runtime import AudioBuffer, InputError
from voirs_vocoder.runtime.effects import EFFECTS, PRESETS, EffectChain, Link, load_chain
from voirs_vocoder.runtime.effects.biquad import high_shelf, low_shelf, peak
from voirs_vocoder.runtime.effects.dynamics import Compressor, GainControl, Gate, Limiter, reduction_db
from voirs_vocoder.runtime.effects.filters import DcRemoval, Equalizer, HighPass, LowPass, Peak
from voirs_vocoder.runtime.effects.reverb import Reverb, room_response
from voirs_vocoder.runtime.effects.space import Binaural, Gain, StereoWidth
from voirs_vocoder.runtime.effects.voice import DeEsser, HighFrequencyEnhancement, Warmth

pytestmark = pytest.mark.numeric

RATE = 22_050
ALL = [*(EffectChain((Link(kind()),), name) for name, kind in EFFECTS.items()), *PRESETS.values()]


def noise(samples, channels=1, level=0.3, seed=0):
    rng = np.random.default_rng(seed)
    loud = level * (1 + np.sin(2 * np.pi * np.arange(samples) / 3000))
    return (rng.standard_normal((channels, samples)) * loud).astype(np.float32)


def tone(hz, level_db, seconds=1.0):
    wave = np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)
    return (10 ** (level_db / 20) * wave).astype(np.float32)[np.newaxis]


def applied(effect, samples, **link):
    return EffectChain((Link(effect, **link),)).apply(AudioBuffer(samples, RATE)).samples


def level_db(samples):
    return 20 * np.log10(np.sqrt(2 * np.mean(samples[..., samples.shape[-1] // 2 :] ** 2)))


def response_db(effect, hz):
    impulse = np.zeros((1, 1 << 15), np.float32)
    impulse[0, 0] = 1
    spectrum = np.fft.rfft(applied(effect, impulse)[0].astype(np.float64))
    frequencies = np.fft.rfftfreq(1 << 15, 1 / RATE)
    return np.interp(hz, frequencies, 20 * np.log10(np.abs(spectrum) + 1e-12))


@pytest.mark.parametrize("chain", ALL, ids=lambda chain: chain.name)
@settings(max_examples=12, deadline=None)
@given(sizes=st.lists(st.integers(0, 3000), min_size=1, max_size=8), seed=st.integers(0, 3))
def test_chunks_give_what_the_whole_gives(chain, sizes, seed):
    samples = noise(sum(sizes), seed=seed)
    if not samples.size:
        return
    whole = chain.apply(AudioBuffer(samples, RATE)).samples
    stream = chain.open(RATE)
    bounds = np.cumsum([0, *sizes])
    chunks = [stream.process(samples[:, a:b]) for a, b in pairwise(bounds)]
    chunked = np.concatenate([*chunks, stream.finish()], axis=1)
    assert whole.shape == (chain.channels(1), samples.shape[1])
    np.testing.assert_allclose(chunked, whole, atol=1e-7)


STEREO = [chain for chain in ALL if chain.name not in ("binaural", "headphones")]


@pytest.mark.parametrize("chain", STEREO, ids=lambda chain: chain.name)
def test_two_channels_sample_by_sample_give_what_the_whole_gives(chain):
    samples = noise(1500, channels=2)
    stream = chain.open(RATE, 2)
    chunks = [stream.process(samples[:, n : n + 1]) for n in range(samples.shape[1])]
    chunked = np.concatenate([*chunks, stream.finish()], axis=1)
    np.testing.assert_allclose(chunked, chain.apply(AudioBuffer(samples, RATE)).samples, atol=1e-7)


# What these give comes later by nature.
PROMPT = [chain for chain in ALL if chain.name not in ("reverb", "low_pass", "telephone")]


@pytest.mark.parametrize("chain", PROMPT, ids=lambda chain: chain.name)
def test_latency_is_made_up_for(chain):
    """The result lies where the input lies: their cross-correlation is largest at no shift, to a few samples."""
    samples = noise(8000, level=0.02)
    made = chain.apply(AudioBuffer(samples, RATE)).samples.mean(axis=0)
    lag = np.argmax(np.abs(np.correlate(made, samples[0], "full"))) - (samples.shape[1] - 1)
    assert abs(lag) <= (16 if chain.channels(1) == 2 else 2)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 48_000])
@pytest.mark.parametrize("chain", PRESETS.values(), ids=lambda chain: chain.name)
def test_presets_work_at_the_rates_of_vocoders(chain, rate):
    if rate == 8_000 and chain.name in ("speech", "broadcast"):
        with pytest.raises(InputError, match="half the sample rate"):
            chain.open(rate)
        return
    made = chain.apply(AudioBuffer(noise(4000), rate)).samples
    assert np.isfinite(made).all()
    assert np.abs(made).max() <= 1.0


def test_biquads_reach_their_gain_where_the_cookbook_says():
    for section, at_hz, expected_db in (
        (peak(1000, 6, 1, RATE), 1000, 6),
        (peak(1000, 6, 1, RATE), 1, 0),
        (low_shelf(200, 4, RATE), 1, 4),
        (low_shelf(200, 4, RATE), 200, 2),
        (low_shelf(200, 4, RATE), 11_000, 0),
        (high_shelf(5000, -8, RATE), 11_000, -8),
        (high_shelf(5000, -8, RATE), 5000, -4),
        (high_shelf(5000, -8, RATE), 1, 0),
    ):
        _, found = scipy.signal.sosfreqz(section[np.newaxis], [at_hz], fs=RATE)
        assert 20 * np.log10(abs(found[0])) == pytest.approx(expected_db, abs=0.01)


def test_the_equalizer_is_the_product_of_its_bands():
    equalizer = Equalizer(
        low_shelf_db=3.0, high_shelf_db=-5.0, peaks=(Peak(frequency_hz=1500.0, gain_db=4.0, q=2.0),)
    )
    sections = [low_shelf(150, 3, RATE), peak(1500, 4, 2, RATE), high_shelf(6000, -5, RATE)]
    at_hz = np.array([50.0, 300.0, 1500.0, 4000.0, 9000.0])
    _, expected = scipy.signal.sosfreqz(np.array(sections), at_hz, fs=RATE)
    np.testing.assert_allclose(response_db(equalizer, at_hz), 20 * np.log10(np.abs(expected)), atol=0.02)


def test_filters_lose_3_db_at_their_cutoff():
    assert response_db(HighPass(cutoff_hz=500.0), 500.0) == pytest.approx(-3.01, abs=0.05)
    assert response_db(LowPass(cutoff_hz=4000.0), 4000.0) == pytest.approx(-3.01, abs=0.05)


def test_an_offset_goes():
    offset = tone(300, -20, 3.0) + np.float32(0.2)
    assert abs(applied(DcRemoval(), offset)[0, RATE:].mean()) < 1e-4


@pytest.mark.parametrize("level", [-40.0, -24.0, -18.0, -12.0, 0.0])
def test_a_steady_tone_is_compressed_by_the_static_curve(level):
    compressor = Compressor(threshold_db=-18.0, ratio=4.0, knee_db=6.0, attack_ms=1.0, release_ms=2000.0)
    made = level_db(applied(compressor, tone(2000, level, 1.5)))
    expected = level - reduction_db(np.array([level]), -18.0, 4.0, 6.0)[0]
    assert made == pytest.approx(expected, abs=0.15)


def test_the_static_curve_has_its_slopes_and_a_smooth_knee():
    levels = np.array([-40.0, -21.0, -18.0, -15.0, 0.0])
    hard = reduction_db(levels, -18.0, 3.0, 0.0)
    soft = reduction_db(levels, -18.0, 3.0, 6.0)
    np.testing.assert_allclose(hard, [0, 0, 0, 2, 12])
    np.testing.assert_allclose(soft, [0, 0, 2 / 3 * 9 / 12, 2, 12])


@settings(max_examples=20, deadline=None)
@given(
    ceiling_db=st.floats(-30, 0),
    look_ahead_ms=st.floats(0.5, 20),
    level=st.floats(0.01, 4),
    seed=st.integers(0, 9),
)
def test_nothing_passes_the_limiter(ceiling_db, look_ahead_ms, level, seed):
    limiter = Limiter(ceiling_db=ceiling_db, look_ahead_ms=look_ahead_ms)
    made = applied(limiter, noise(6000, level=level, seed=seed))
    assert np.abs(made).max() <= np.float32(10 ** (ceiling_db / 20))


def test_the_limiter_needs_no_clipping_to_hold_its_ceiling():
    """The gain alone does it: a clipped sine would have harmonics, a turned down one has none once it is steady."""
    made = applied(Limiter(ceiling_db=-6.0, release_ms=5000.0), tone(441, 3, 2.0))[0, RATE:]
    spectrum = np.abs(np.fft.rfft(made * np.hanning(made.size)))
    assert spectrum[3 * 441] < 1e-3 * spectrum[441]
    assert np.abs(made).max() > 0.49


def test_what_needs_no_limiting_is_untouched():
    quiet = noise(5000, level=0.05)
    np.testing.assert_array_equal(applied(Limiter(), quiet), quiet)


def test_the_gate_closes_in_pauses_and_lets_speech_pass():
    signal = np.concatenate([tone(500, -20, 0.5), tone(500, -70, 1.0), tone(500, -20, 0.5)], axis=1)
    made = applied(Gate(threshold_db=-50.0, range_db=30.0, hold_ms=50.0), signal)
    assert level_db(made[:, : RATE // 2]) == pytest.approx(-20, abs=0.1)
    assert level_db(made[:, RATE : RATE * 3 // 2]) == pytest.approx(-100, abs=0.5)
    assert level_db(made[:, -RATE // 4 :]) == pytest.approx(-20, abs=0.1)


def test_the_gate_stays_open_while_the_level_is_within_its_hysteresis():
    """A tone so low that many blocks see no peak: each dip is short, and together they are longer than the hold."""
    gate = Gate(threshold_db=-50.0, hysteresis_db=6.0, hold_ms=80.0)
    signal = np.concatenate([tone(60, -45, 0.5), tone(60, -53, 3.0)], axis=1)
    np.testing.assert_allclose(applied(gate, signal)[:, RATE // 4 :], signal[:, RATE // 4 :], rtol=1e-4)


def test_gain_control_brings_speech_to_its_target_and_leaves_pauses():
    control = GainControl(target_db=-9.0, max_gain_db=30.0, release_ms=200.0)
    for level in (-30.0, -3.0):
        assert level_db(applied(control, tone(500, level, 4.0))) == pytest.approx(-9.0, abs=0.3)
    pause = np.concatenate([tone(500, -9, 2.0), tone(500, -70, 4.0)], axis=1)
    assert level_db(applied(control, pause)[:, -RATE:]) == pytest.approx(-70, abs=0.5)


def test_the_de_esser_turns_hissing_down_and_lets_vowels_be():
    hissing = np.random.default_rng(0).standard_normal((1, RATE)) * 0.2
    hissing = scipy.signal.sosfilt(scipy.signal.butter(6, 6000, "highpass", fs=RATE, output="sos"), hissing)
    hissing = hissing.astype(np.float32)
    assert level_db(applied(DeEsser(), hissing)) < level_db(hissing) - 4
    vowel = tone(300, -10)
    assert level_db(applied(DeEsser(), vowel)) == pytest.approx(-10, abs=0.1)


def test_the_de_esser_raises_no_frequency_while_it_turns_hissing_down():
    """A probe beside a loud hiss, found by subtraction: the gain is the hiss's, so the probe shows the filter alone."""
    de_esser = DeEsser(threshold_db=-50.0, ratio=20.0)
    hiss = tone(9_500, -6, 2.0)
    alone = applied(de_esser, hiss)
    changes_db = {}
    for hz in (200, 1_000, 2_000, 3_000, 4_000, 5_000, 7_000, 10_000):
        probe = tone(hz, -60, 2.0)
        changes_db[hz] = level_db((applied(de_esser, hiss + probe) - alone)[:, : -RATE // 50]) + 60
    assert max(changes_db.values()) < 0.1
    assert changes_db[200] == pytest.approx(0.0, abs=0.1)
    # Half the power goes at the corner when all of the band does.
    assert changes_db[5_000] == pytest.approx(-3.0, abs=0.3)
    assert changes_db[10_000] < -12


@pytest.mark.parametrize(
    ("effect", "hz"),
    [(HighFrequencyEnhancement(gain_db=0.0, harmonics=0.2), 4000), (Warmth(gain_db=0.0, harmonics=0.2), 150)],
)
def test_harmonics_are_the_second_and_no_other(effect, hz):
    made = applied(effect, tone(hz, 0, 2.0))[0, RATE:]
    spectrum = np.abs(np.fft.rfft(made * np.hanning(made.size))) / (made.size / 4)
    found = {k: 20 * np.log10(spectrum[k] + 1e-9) for k in range(20, spectrum.size, 50)}
    assert 20 * np.log10(spectrum[2 * hz]) == pytest.approx(20 * np.log10(0.2), abs=3)
    others = [value for k, value in found.items() if min(abs(k - hz), abs(k - 2 * hz)) > 40]
    assert max(others) < -60


def test_the_room_dies_away_in_its_decay_time():
    """Schroeder's backward integration: the line from -5 to -35 dB, extended to 60 dB."""
    for decay_s in (0.3, 1.0):
        response = room_response(Reverb(decay_s=decay_s, damping_hz=20_000.0), RATE, 0)
        energy = np.cumsum(response[::-1] ** 2)[::-1]
        fall_db = 10 * np.log10(energy / energy[0])
        first, last = np.argmax(fall_db < -5), np.argmax(fall_db < -35)
        assert 2 * (last - first) / RATE == pytest.approx(decay_s, rel=0.1)
        assert np.sum(response**2) == pytest.approx(1.0)


def test_the_reverb_is_the_convolution_with_its_response():
    reverb = Reverb(decay_s=0.2, pre_delay_ms=20.0)
    samples = noise(6000)
    pre_delay = round(0.02 * RATE)
    expected = scipy.signal.fftconvolve(samples[0], room_response(reverb, RATE, 0))[: 6000 - pre_delay]
    made = applied(reverb, samples)[0]
    np.testing.assert_allclose(made[pre_delay:], expected, atol=1e-5)
    assert not made[:pre_delay].any()


def test_a_tail_is_let_out_on_request():
    chain = EffectChain((Link(Reverb(decay_s=0.5), wet=0.5),))
    made = chain.apply(AudioBuffer(noise(4000), RATE), tail=True).samples
    assert made.shape[1] == 4000 + round(chain.tail_s * RATE)
    assert np.abs(made[:, 4000:8000]).max() > 0.01


def test_width_0_is_mono_and_mono_mixes_back_exactly():
    stereo = noise(4000, channels=2)
    narrow = applied(StereoWidth(width=0.0), stereo)
    np.testing.assert_allclose(narrow[0], narrow[1])
    np.testing.assert_allclose(applied(StereoWidth(width=1.0), stereo), stereo, atol=1e-7)
    mono = noise(4000)
    wide = applied(StereoWidth(width=0.8), mono)
    np.testing.assert_allclose(wide.mean(axis=0), mono[0], atol=1e-7)
    assert abs(np.corrcoef(wide)[0, 1]) < 0.7


def test_the_second_channel_of_mono_is_three_all_passes():
    mono = noise(9000)
    wide = applied(StereoWidth(width=1.0), mono).astype(np.float64)
    expected = mono[0].astype(np.float64)
    for ms in (7.1, 11.3, 17.9):
        numerator = np.zeros(round(ms * RATE / 1000) + 1)
        numerator[[0, -1]] = -0.6, 1.0
        expected = scipy.signal.lfilter(numerator, numerator[::-1], expected)
    np.testing.assert_allclose((wide[0] - wide[1]) / 2, expected, atol=1e-6)


def test_a_voice_on_the_right_reaches_the_left_ear_later_and_duller():
    azimuth = np.radians(60)
    made = applied(Binaural(azimuth_degrees=60.0), noise(8000, level=0.1))
    correlation = scipy.signal.correlate(made[0], made[1])
    late = np.argmax(correlation) - (made.shape[1] - 1)
    expected = 0.0875 / 343.0 * (azimuth + np.sin(azimuth)) * RATE
    assert late == pytest.approx(expected, abs=2)  # the head shadow moves the peak by a sample
    spectra = np.abs(np.fft.rfft(made)) ** 2
    high = spectra[:, spectra.shape[1] // 3 :].sum(axis=1)
    assert high[1] > 10 * high[0]
    mirrored = applied(Binaural(azimuth_degrees=-60.0), noise(8000, level=0.1))
    np.testing.assert_array_equal(mirrored, made[::-1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Compressor(ratio=0.5), "compressor: ratio must be in"),
        (lambda: Gain(gain_db=float("nan")), "gain_db"),
        (lambda: Equalizer(peaks=(Peak(frequency_hz=1000.0, gain_db=99.0),)), "equalizer: peak: gain_db"),
        (lambda: Gain(gain_db="3"), "gain_db must be a number, got '3'"),
        (lambda: HighPass(order=2.5), "order must be an integer, got 2.5"),
        (lambda: HighPass(cutoff_hz=15_000.0).open(RATE, 1), "half the sample rate"),
        (lambda: Binaural().open(RATE, 2), "one channel"),
        (lambda: StereoWidth().open(RATE, 3), "one or two channels"),
        (lambda: load_chain("loud"), "presets: speech"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
