"""Scales of activations against searches that try every range on the values themselves."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy

from voirs_vocoder.calibration.activation_ranges import (
    asymmetric_scale,
    channel_scales,
    symmetric_scale,
)
from voirs_vocoder.calibration.config import RANGE_METHODS
from voirs_vocoder.calibration.histograms import ChannelHistogram, FloatHistogram


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
    found = histogram_of(values).distribution()
    assert found.counts.sum() == len(values)
    assert (found.low, found.high) == (min(np.float32(values)), max(np.float32(values)))
    repeated = np.repeat(found.values, found.counts.astype(int))
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


def heavy_tailed(seed, size=50_000):
    values = np.random.default_rng(seed).standard_t(3, size).astype(np.float32)
    return np.where(values < 0, 0.3 * values, values)


def divergence(values, low, high, levels, bins):
    """Kullback-Leibler divergence of the quantized distribution from the clipped one, value by value."""
    edges = np.linspace(values.min() if low else 0.0, values.max(), bins + 1)
    middles = (edges[:-1] + edges[1:]) / 2
    counts = np.histogram(values, edges)[0]
    kept = np.flatnonzero((middles >= -low) & (middles <= high))
    reference = counts[kept].astype(float)
    reference[0] += counts[: kept[0]].sum()
    reference[-1] += counts[kept[-1] + 1 :].sum()
    quantized = np.zeros(len(kept))
    level_of = np.rint(middles[kept] / ((low + high) / levels))
    for level in np.unique(level_of):
        members = (level_of == level) & (counts[kept] > 0)
        if members.any():
            quantized[members] = counts[kept][members].sum() / members.sum()
    return entropy(reference / reference.sum(), np.maximum(quantized / quantized.sum(), 1e-6))


def test_min_max_takes_the_exact_extremes():
    values = heavy_tailed(0)
    symmetric = symmetric_scale(histogram_of(values), "min-max")
    assert symmetric.scale == pytest.approx(np.abs(values).max() / 127, rel=1e-6)
    asymmetric = asymmetric_scale(histogram_of(values), method="min-max")
    assert asymmetric.scale == pytest.approx((values.max() - values.min()) / 255, rel=1e-6)
    assert asymmetric.zero_point == round(-values.min() / asymmetric.scale)


@pytest.mark.parametrize("seed", range(3))
def test_the_percentile_is_that_of_the_values(seed):
    values = heavy_tailed(seed)
    symmetric = symmetric_scale(histogram_of(values), "percentile")
    assert symmetric.scale == pytest.approx(
        np.quantile(np.abs(values), 0.9999, method="inverted_cdf") / 127, rel=0.01
    )
    asymmetric = asymmetric_scale(histogram_of(values), method="percentile")
    low, high = np.quantile(values, [0.00005, 0.99995], method="inverted_cdf")
    assert asymmetric.scale == pytest.approx((high - low) / 255, rel=0.01)
    assert asymmetric.zero_point == pytest.approx(-low / asymmetric.scale, abs=2)


@pytest.mark.parametrize("seed", range(3))
def test_the_symmetric_entropy_range_diverges_little_more_than_the_best_of_all(seed):
    values = np.abs(heavy_tailed(seed))
    chosen = 127 * symmetric_scale(histogram_of(values), "entropy").scale
    best = min(divergence(values, 0.0, values.max() * f, 127, 2032) for f in np.linspace(0.0625, 1, 60))
    assert divergence(values, 0.0, chosen, 127, 2032) <= 1.15 * best + 0.002
    assert chosen < values.max()


def test_the_asymmetric_entropy_range_diverges_little_more_than_the_best_of_all():
    values = heavy_tailed(1)
    chosen = asymmetric_scale(histogram_of(values), method="entropy")
    low, high = chosen.scale * chosen.zero_point, chosen.scale * (255 - chosen.zero_point)
    best = min(
        divergence(values, -values.min() * below, values.max() * above, 255, 4080)
        for below in np.linspace(0.0625, 1, 16)
        for above in np.linspace(0.0625, 1, 16)
    )
    assert divergence(values, low, high, 255, 4080) <= 1.15 * best + 0.002


@pytest.mark.parametrize("method", RANGE_METHODS)
@given(values=st.lists(st.floats(-(2.0**60), 2.0**60, width=32), min_size=1, max_size=30))
def test_any_values_get_a_scale_that_represents_zero_and_reaches_no_further_than_they(method, values):
    values = np.float32(values)
    largest = float(np.abs(values).max())
    symmetric = symmetric_scale(histogram_of(values), method)
    asymmetric = asymmetric_scale(histogram_of(values), method=method)
    for scale in (symmetric, asymmetric):
        assert np.isfinite(scale.scale)
        assert scale.scale > 0
    assert 0 <= asymmetric.zero_point <= 255
    if largest > 1e-30:
        assert symmetric.scale * 127 <= largest * 1.01
        assert asymmetric.scale * 255 <= 2 * largest * 1.01


@pytest.mark.parametrize("method", RANGE_METHODS)
def test_channels_are_ranged_one_by_one(method):
    histogram = ChannelHistogram()
    values = np.random.default_rng(0).normal(0, 1, (1, 3, 5000)).astype(np.float32)
    values *= np.float32([1.0, 0.01, 0.0])[:, np.newaxis]
    histogram.add(values[..., :2000])
    histogram.add(values[..., 2000:])
    loud, soft, silent = channel_scales(histogram, method).scales
    assert loud / soft == pytest.approx(100, rel=0.2)
    assert silent == loud
    assert loud * 127 == pytest.approx(np.abs(values[0, 0]).max(), rel=0.5)


def test_memory_does_not_grow_with_the_number_of_values():
    histogram = FloatHistogram()
    values = np.random.default_rng(0).normal(0, 1, 10_000).astype(np.float32)
    histogram.add(values)
    tracemalloc.start()
    for _ in range(100):
        histogram.add(values)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 4 * histogram.counts.nbytes
    assert histogram.counts.sum() == 101 * values.size
