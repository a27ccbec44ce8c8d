"""Scales of activations against a search that tries every range."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voirs_vocoder.calibration.activation_ranges import FloatHistogram, asymmetric_scale, symmetric_scale


def histogram_of(values):
    histogram = FloatHistogram()
    histogram.add(np.asarray(values, np.float32))
    return histogram


def cost(values, scale, zero_point, limits, clipping_weight=4.0):
    """Rounding and clipping, by doing it."""
    integers = np.rint(values / scale) + zero_point
    kept = np.clip(integers, *limits)
    errors = (scale * (kept - zero_point) - values) ** 2
    return float(np.sum(np.where(kept == integers, errors, clipping_weight * errors)))


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=50))
def test_a_histogram_keeps_each_value_to_one_part_in_256(values):
    centres, counts = histogram_of(values).sorted()
    assert counts.sum() == len(values)
    repeated = np.repeat(centres, counts.astype(int))
    np.testing.assert_allclose(repeated, np.sort(np.float32(values)), rtol=1 / 256, atol=1e-37)


@pytest.mark.parametrize("seed", range(3))
def test_the_symmetric_scale_costs_little_more_than_the_best_of_all(seed):
    values = np.random.default_rng(seed).standard_t(4, 20_000).astype(np.float32)
    chosen = symmetric_scale(histogram_of(values))
    assert chosen.zero_point == 0
    limit = np.abs(values).max()
    best = min(cost(values, limit * f / 127, 0, (-127, 127)) for f in np.linspace(0.05, 1, 200))
    assert cost(values, chosen.scale, 0, (-127, 127)) <= 1.15 * best


@pytest.mark.parametrize("seed", range(3))
def test_the_asymmetric_scale_costs_little_more_than_the_best_of_all(seed):
    values = np.random.default_rng(seed).standard_t(4, 10_000).astype(np.float32)
    values = np.where(values < 0, 0.2 * values, values)
    chosen = asymmetric_scale(histogram_of(values))
    best = np.inf
    for below in -values.min() * np.linspace(0.05, 1, 25):
        for above in values.max() * np.linspace(0.05, 1, 50):
            scale = (below + above) / 255
            best = min(best, cost(values, scale, round(below / scale), (0, 255)))
    assert cost(values, chosen.scale, chosen.zero_point, (0, 255)) <= 1.15 * best


def test_uniform_values_are_not_clipped():
    values = np.random.default_rng(0).uniform(-1, 3, 100_000).astype(np.float32)
    chosen = asymmetric_scale(histogram_of(values))
    assert chosen.scale == pytest.approx(4 / 255, rel=0.01)
    assert chosen.zero_point == pytest.approx(255 / 4, abs=1)


def test_values_that_a_leaky_relu_shrinks_get_less_of_the_range():
    values = np.random.default_rng(0).normal(0, 1, 100_000).astype(np.float32)
    plain, shrunk = asymmetric_scale(histogram_of(values)), asymmetric_scale(histogram_of(values), 0.1)
    assert shrunk.zero_point < plain.zero_point
    assert shrunk.scale < plain.scale


@pytest.mark.parametrize("find", [symmetric_scale, asymmetric_scale])
def test_silence_gets_a_harmless_scale(find):
    assert find(histogram_of(np.zeros(10))).scale > 0


def test_the_order_of_values_does_not_matter():
    values = np.random.default_rng(0).normal(0, 1, 1000).astype(np.float32)
    assert asymmetric_scale(histogram_of(values)) == asymmetric_scale(histogram_of(values[::-1]))
