"""Chains: order, bypass, wet and dry in time, automation, and files that nobody vouches for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voirs_vocoder.runtime import AudioBuffer, InputError
from voirs_vocoder.runtime.effects import (
    PRESETS,
    Automation,
    EffectChain,
    Link,
    chain_from_toml,
    load_chain,
    toml_from_chain,
)
from voirs_vocoder.runtime.effects.dynamics import Limiter
from voirs_vocoder.runtime.effects.filters import HighPass
from voirs_vocoder.runtime.effects.space import Gain, StereoWidth

RATE = 22_050


def noise(samples=5000):
    return AudioBuffer(np.random.default_rng(0).normal(0, 0.1, (1, samples)).astype(np.float32), RATE)


def test_effects_run_in_order_and_a_bypassed_one_not_at_all():
    audio = noise()
    louder, limited = Gain(gain_db=30.0), Limiter(ceiling_db=-20.0)
    after = EffectChain((Link(limited), Link(louder))).apply(audio).samples
    before = EffectChain((Link(louder), Link(limited))).apply(audio).samples
    assert np.abs(after).max() > 1 > 0.11 > np.abs(before).max()
    alone = EffectChain((Link(limited, bypass=True), Link(louder)))
    np.testing.assert_array_equal(
        alone.apply(audio).samples, EffectChain((Link(louder),)).apply(audio).samples
    )
    assert alone.latency_samples(RATE) == 0


def test_dry_and_wet_are_in_time_with_each_other():
    """A limiter that has nothing to do, half wet, gives the signal itself: were they apart, it would comb."""
    audio = noise()
    chain = EffectChain((Link(Limiter(), wet=0.5),))
    assert chain.latency_samples(RATE) > 0
    np.testing.assert_allclose(chain.apply(audio).samples, audio.samples, atol=1e-7)


def test_automation_moves_a_parameter_at_its_time_whatever_the_latency_before_it():
    audio = AudioBuffer(np.full((1, RATE), 0.1, np.float32), RATE)
    fade = Automation("gain_db", ((0.25, 0.0), (0.75, -20.0)))
    for first in ((), (Link(Limiter()),)):
        made = EffectChain((*first, Link(Gain(), automation=(fade,)))).apply(audio).samples[0]
        expected_db = np.interp(np.arange(RATE) / RATE, (0.25, 0.75), (0, -20))
        np.testing.assert_allclose(made, 0.1 * 10 ** (expected_db / 20), rtol=1e-5)
    switch = Automation("wet", ((0.0, 0.0), (0.5, 0.0), (0.5001, 1.0)))
    made = EffectChain((Link(Gain(gain_db=-120.0), automation=(switch,)),)).apply(audio).samples[0]
    assert made[: RATE // 2 - 5] == pytest.approx(0.1)
    assert np.abs(made[RATE // 2 + 10 :]).max() < 1e-6


def test_automation_does_not_depend_on_the_chunks():
    audio = noise(6000)
    fade = (Automation("wet", ((0.0, 0.0), (0.2, 1.0))), Automation("width", ((0.0, 0.2), (0.1, 1.5))))
    chain = EffectChain((Link(StereoWidth(), automation=fade), Link(Limiter(), wet=0.7)))
    stream = chain.open(RATE)
    chunks = [stream.process(audio.samples[:, start : start + 977]) for start in range(0, 6000, 977)]
    chunked = np.concatenate([*chunks, stream.finish()], axis=1)
    np.testing.assert_allclose(chunked, chain.apply(audio).samples, atol=1e-7)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Link(Gain(), wet=1.5), "wet must be in"),
        (
            lambda: Link(HighPass(), automation=(Automation("cutoff_hz", ((0, 80),)),)),
            "cannot be automated, only wet",
        ),
        (lambda: Link(Gain(), automation=(Automation("gain_db", ((0.0, 99.0),)),)), "got 99 at 0 s"),
        (lambda: Automation("wet", ((1.0, 0.0), (0.5, 1.0))), "in order"),
        (lambda: Automation("wet", ((float("nan"), 0.0),)), "in order"),
        (lambda: Automation("wet", ((0.0, 0.0), (float("inf"), 1.0))), "finite"),
        (lambda: Automation("wet", ()), "1 to"),
        (lambda: EffectChain(()), "1 to 64 effects"),
        (lambda: EffectChain((Link(Gain()),)).open(RATE).process(np.zeros((2, 3), np.float32)), "must be"),
        (lambda: EffectChain((Link(Gain()),)).open(RATE).process(np.zeros((1, 3))), "float32, got float64"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_block_that_is_not_finite_is_refused_and_leaves_no_trace(bad):
    audio = noise()
    chain = load_chain("speech")
    stream = chain.open(RATE)
    first = stream.process(audio.samples[:, :2000])
    with pytest.raises(InputError, match="finite"):
        stream.process(np.full((1, 10), bad, np.float32))
    made = np.concatenate([first, stream.process(audio.samples[:, 2000:]), stream.finish()], axis=1)
    np.testing.assert_array_equal(made, chain.apply(audio).samples)


@pytest.mark.parametrize("chain", PRESETS.values(), ids=lambda chain: chain.name)
def test_a_chain_survives_its_file(chain, tmp_path):
    path = tmp_path / "chain.toml"
    path.write_bytes(toml_from_chain(chain))
    assert load_chain(path) == chain


def test_any_name_survives_its_file():
    for name in ("", 'quoted "and" \\', "line\nbreak", "deleted\x7f", "\x00\x1f", "naïve 语音"):
        chain = EffectChain((Link(Gain()),), name)
        assert chain_from_toml(toml_from_chain(chain), "again") == chain


def test_a_file_says_all_that_a_link_can_hold():
    chain = chain_from_toml(
        b"""
        name = "mine"
        [[effect]]
        type = "gain"
        gain_db = -3
        wet = 0.5
        bypass = true
        automation = [{ parameter = "gain_db", points = [[0, -3], [1.5, 0]] }]
        [[effect]]
        type = "equalizer"
        peaks = [{ frequency_hz = 1000, gain_db = 2.5 }]
        """,
        "mine.toml",
    )
    assert chain.links[0] == Link(
        Gain(gain_db=-3.0), True, 0.5, (Automation("gain_db", ((0.0, -3.0), (1.5, 0.0))),)
    )
    assert chain_from_toml(toml_from_chain(chain), "again") == chain


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[[effect]]\ntype = 'compresor'",
            "effect 1: type must name an effect, got 'compresor'; did you mean 'comp",
        ),
        ("[[effect]]\ntype = 'gain'\ngian_db = 1", "unknown key 'gian_db'; did you mean 'gain_db'"),
        ("[[efect]]\ntype = 'gain'", "unknown key 'efect'; did you mean 'effect'"),
        ("[[effect]]\nratio = 2", "type must name an effect"),
        ("[[effect]]\ntype = 'gain'\ngain_db = 'loud'", "Expected `float`, got `str`"),
        ("[[effect]]\ntype = 'gain'\ngain_db = 900", r"gain_db must be in \[-120, 40\], got 900"),
        ("[[effect]]\ntype = 'gain'\nwet = 2", r"wet must be in \[0, 1\], got 2"),
        ("[[effect]]\ntype = 'gain'\nautomation = [{ parameter = 'wet' }]", "points"),
        ("[[effect]]\ntype = ['gain']", "type must name an effect"),
        ("[[effect]]\ntype = 'high_pass'\norder = 1" + "0" * 400, r"order must be in \[1, 8\]"),
        ("[[effect]]\ntype = 'reverb'\nseed = 1" + "0" * 400, "seed must be in"),
        ("[[effect]]\ntype = 'gain'\nautomation = [{ parameter = 'wet', points = [[nan, 1]] }]", "in order"),
        (
            "[[effect]]\ntype = 'gain'\nautomation = [{ paramter = 'wet', points = [[0, 1]] }]",
            "unknown key 'paramter'; did you mean 'parameter'",
        ),
        (
            "[[effect]]\ntype = 'equalizer'\npeaks = [{ freqency_hz = 1000, gain_db = 1 }]",
            "unknown key 'freqency_hz'; did you mean 'frequency_hz'",
        ),
        ("effect = 3", "must be tables"),
        ("effect = [3]", "must be tables"),
        ("name = 3", "name must be a text"),
        ("", "1 to 64 effects"),
        ("= 1", "not TOML"),
        ("a = " + "[" * 5000, "not TOML"),
    ],
)
def test_a_file_at_fault_is_refused_in_one_line(text, message):
    with pytest.raises(InputError, match=message) as refused:
        chain_from_toml(text.encode(), "x.toml")
    assert str(refused.value).startswith("x.toml")
    assert "\n" not in str(refused.value)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_chain_or_refused(data):
    try:
        chain_from_toml(data, "x")
    except InputError:
        return


def test_files_that_are_missing_or_huge_are_refused(tmp_path):
    with pytest.raises(InputError):
        load_chain(tmp_path / "none.toml")
    huge = tmp_path / "huge.toml"
    huge.write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(InputError, match="at most"):
        load_chain(huge)
