"""Noise is addressed by position, the same for ever, and Gaussian."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.noise import grouped_noise, noise

pytestmark = pytest.mark.numeric

BLOCK = 4096

# Made when the contract was first implemented; they may never change.
GOLDEN_START = [0.008088696, 0.15219213, -0.44680974, -0.1914038]
GOLDEN_FAR = [-1.0196257, 0.80664128, -0.55632132]


def by_the_contract(seed, draw, position):
    """One value, computed with Python's own arithmetic from the words of the block."""
    words = np.random.Philox(
        key=np.array([seed, draw], np.uint64), counter=np.array([0, 0, 0, position // BLOCK], np.uint64)
    ).random_raw(BLOCK)
    pair = position % BLOCK // 2
    first, second = (int(word) >> 11 for word in words[2 * pair : 2 * pair + 2])
    radius = math.sqrt(-2.0 * math.log(1.0 - first * 2.0**-53))
    turn = math.cos if position % 2 == 0 else math.sin
    return radius * turn(2.0 * math.pi * second * 2.0**-53)


@given(
    seed=st.integers(0, 2**64 - 1),
    draw=st.integers(0, 200),
    start=st.integers(0, 10**12),
    cuts=st.lists(st.integers(0, 3 * BLOCK), max_size=4),
)
def test_any_split_gives_the_same_values(seed, draw, start, cuts):
    whole = noise(seed, draw, start, sum(cuts))
    parts, position = [np.empty(0, np.float32)], start
    for count in cuts:
        parts.append(noise(seed, draw, position, count))
        position += count
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@given(seed=st.integers(0, 2**64 - 1), draw=st.integers(0, 200), position=st.integers(0, 10**12))
def test_each_value_is_the_one_that_the_contract_names(seed, draw, position):
    assert noise(seed, draw, position, 1)[0] == pytest.approx(by_the_contract(seed, draw, position), abs=1e-6)


def test_the_golden_values_stay():
    np.testing.assert_allclose(noise(0, 0, 0, 4), GOLDEN_START, rtol=1e-6)
    np.testing.assert_allclose(noise(2**64 - 1, 3, 10**12, 3), GOLDEN_FAR, rtol=1e-6)


def test_the_values_are_standard_normal_and_uncorrelated():
    values = noise(3, 0, 0, 1 << 20).astype(np.float64)
    moments = [np.mean(values**power) for power in (1, 2, 3, 4)]
    np.testing.assert_allclose(moments, [0, 1, 0, 3], atol=0.02)
    for lag in (1, 2, BLOCK):
        assert abs(np.mean(values[lag:] * values[:-lag])) < 0.005


def test_seeds_and_draws_are_independent():
    first = noise(0, 0, 0, 1 << 16)
    for other in (noise(1, 0, 0, 1 << 16), noise(0, 1, 0, 1 << 16)):
        assert abs(np.corrcoef(first, other)[0, 1]) < 0.02


def test_a_flow_has_its_channels_interleaved_in_time():
    values = grouped_noise(5, 0, 3, 10, 8)
    assert values.shape == (8, 10)
    np.testing.assert_array_equal(values[2, 4], noise(5, 0, (3 + 4) * 8 + 2, 1)[0])


@pytest.mark.parametrize(
    "arguments", [(-1, 0, 0, 1), (2**64, 0, 0, 1), (0, -1, 0, 1), (0, 0, -1, 1), (0, 0, 0, -1)]
)
def test_what_is_out_of_range_is_refused(arguments):
    with pytest.raises(InputError, match="got"):
        noise(*arguments)
