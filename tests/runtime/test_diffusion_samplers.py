"""Samplers, held against the published loop and against Gaussian data, for which everything is known in closed form."""

import math

import numpy as np
import pytest

from voirs_vocoder.runtime.diffusion import SAMPLERS, NoiseSchedule, sampler_plan, schedule_within
from voirs_vocoder.runtime.errors import InputError

pytestmark = pytest.mark.numeric

TRAINING = NoiseSchedule(tuple(np.linspace(1e-4, 0.05, 50).tolist()))
FAST = NoiseSchedule((1e-4, 1e-3, 0.01, 0.05, 0.2, 0.5))
MEAN, DEVIATION = 0.1, 0.05


def follow(plan, levels, start, fresh):
    """The loop over a plan, with the network that is right for Gaussian data: eps = E[eps | x]."""
    x = np.float32(plan.start_scale) * start
    clean = None
    for number, (step, level) in enumerate(zip(plan.steps, reversed(levels), strict=True)):
        variance = level * DEVIATION**2 + 1.0 - level
        eps = (math.sqrt(1.0 - level) * (x - math.sqrt(level) * MEAN) / variance).astype(np.float32)
        z = fresh[number] if step.d else None
        x, clean = step.apply(x, eps, clean, z), step.clean_estimate(x, eps)
    return x


def flow_solution(start):
    """Where the probability flow takes `start`, which keeps its distance to the mean in units of the deviation.

    At the first level of the schedule the last step estimates the clean value, E[x0 | x].
    """
    last, first = TRAINING.alphas_cumulative[[-1, 0]]
    units = (start - math.sqrt(last) * MEAN) / spread(last)
    return MEAN + units * math.sqrt(first) * DEVIATION**2 / spread(first)


def spread(level, deviation=DEVIATION):
    """The standard deviation of the noisy values at a level."""
    return math.sqrt(level * deviation**2 + 1 - level)


def worst_error(sampler, steps):
    start = np.linspace(-2.5, 2.5, 41, dtype=np.float32)
    schedule = schedule_within(TRAINING, "log-snr", steps)
    plan = sampler_plan(sampler, TRAINING, schedule)
    return np.abs(follow(plan, schedule.alphas_cumulative, start, {}) - flow_solution(start)).max()


def test_ddpm_on_the_fast_schedule_is_the_published_loop():
    rng = np.random.default_rng(0)
    x = rng.normal(size=100).astype(np.float32)
    eps, z = rng.normal(size=(2, 6, 100)).astype(np.float32)
    plan = sampler_plan("ddpm", TRAINING, FAST)
    got = x
    for number, step in enumerate(plan.steps):
        got = step.apply(got, eps[number], None, z[number])
    betas = np.array(FAST.betas)
    cumulative = np.cumprod(1 - betas)
    for number, n in enumerate(range(5, -1, -1)):
        x = (x - betas[n] / np.sqrt(1 - cumulative[n]) * eps[number]) / np.sqrt(1 - betas[n])
        if n > 0:
            x = x + np.sqrt((1 - cumulative[n - 1]) / (1 - cumulative[n]) * betas[n]) * z[number]
        x = np.clip(x, -1, 1)
    np.testing.assert_allclose(got, x, atol=1e-5)
    steps = [step.step for step in plan.steps]
    np.testing.assert_allclose(steps, [42.9186, 22.9925, 10.4518, 4.0867, 0.8941, 0], atol=1e-4)


@pytest.mark.parametrize(("sampler", "order"), [("ddim", 1), ("dpm-solver++", 2)])
def test_deterministic_samplers_converge_to_the_probability_flow_in_their_order(sampler, order):
    coarse, fine = worst_error(sampler, 16), worst_error(sampler, 32)
    assert fine < 0.01
    assert math.log2(coarse / fine) == pytest.approx(order, abs=0.4)


def test_added_noise_keeps_the_distribution_of_the_data():
    """With many steps; DDPM's smaller variance narrows it where there are few."""
    training = NoiseSchedule(tuple(np.linspace(1e-5, 0.02, 1000).tolist()))
    rng = np.random.default_rng(1)
    last = training.alphas_cumulative[-1]
    start = (math.sqrt(last) * MEAN + spread(last) * rng.normal(size=4000)).astype(np.float32)
    fresh = rng.normal(size=(1000, 4000)).astype(np.float32)
    plan = sampler_plan("ddim", training, training, eta=1.0)
    result = follow(plan, training.alphas_cumulative, start, fresh)
    assert result.mean() == pytest.approx(MEAN, abs=0.01)
    assert result.std() == pytest.approx(DEVIATION, rel=0.1)


def test_ddim_with_eta_1_adds_the_noise_of_ddpm():
    """Song et al. 2020, section 4.1: the same generative process."""
    ddim, ddpm = (sampler_plan(name, TRAINING, FAST, eta=eta) for name, eta in (("ddim", 1.0), ("ddpm", 0.0)))
    for one, other in zip(ddim.steps, ddpm.steps, strict=True):
        np.testing.assert_allclose([one.a, one.b, one.d], [other.a, other.b, other.d], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_last_step_returns_the_clean_estimate_within_full_scale(sampler):
    last = sampler_plan(sampler, TRAINING, FAST).steps[-1]
    assert (last.a, last.b, last.c, last.d) == pytest.approx((last.e, last.f, 0, 0), rel=1e-9, abs=1e-9)
    assert last.clamps


def test_temperature_scales_all_noise_and_nothing_else():
    hot, cold = (sampler_plan("ddpm", TRAINING, FAST, temperature=value) for value in (1.0, 0.5))
    assert cold.start_scale == 0.5 * hot.start_scale
    for one, other in zip(hot.steps, cold.steps, strict=True):
        assert other.d == pytest.approx(0.5 * one.d)
        assert (one.a, one.b, one.c, one.e, one.f) == (other.a, other.b, other.c, other.e, other.f)


@pytest.mark.parametrize(
    ("sampler", "options", "said"),
    [
        ("euler", {}, "unknown sampler 'euler'; known: ddpm"),
        ("ddpm", {"eta": 0.5}, "of the sampler ddim alone, got 0.5 for ddpm"),
    ],
)
def test_what_makes_no_sense_is_refused(sampler, options, said):
    with pytest.raises(InputError, match=said):
        sampler_plan(sampler, TRAINING, FAST, **options)
