"""Noise schedules: their shapes, their limits, and how a checkpoint's network is told where it is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voirs_vocoder.runtime.diffusion import SCHEDULES, NoiseSchedule, schedule_within
from voirs_vocoder.runtime.errors import InputError

BASE = NoiseSchedule(tuple(np.linspace(1e-4, 0.05, 50).tolist()))
LARGE = NoiseSchedule(tuple(np.linspace(1e-4, 0.02, 200).tolist()))
FAST = NoiseSchedule((1e-4, 1e-3, 0.01, 0.05, 0.2, 0.5))


def test_the_published_fast_schedule_maps_to_its_published_steps():
    """From github.com/lmnt-com/diffwave at 0594106, inference.py, run on its default parameters."""
    np.testing.assert_allclose(BASE.steps_of(FAST), [0, 0.8941, 4.0867, 10.4518, 22.9925, 42.9186], atol=1e-4)


def test_a_schedule_maps_to_its_own_steps():
    np.testing.assert_allclose(LARGE.steps_of(LARGE), np.arange(200), atol=1e-9)


@given(level=st.floats(float(BASE.alphas_cumulative[-1]), float(BASE.alphas_cumulative[0])))
def test_a_mapped_step_stands_for_its_noise_level(level):
    """Going back by the published interpolation, linear in the root of the cumulative alpha."""
    step = BASE.steps_of(NoiseSchedule((1.0 - level,)))[0]
    low = int(np.floor(step))
    high = min(low + 1, 49)
    roots = np.sqrt(BASE.alphas_cumulative)
    back = roots[low] + (roots[high] - roots[low]) * (step - low)
    assert back == pytest.approx(np.sqrt(level), abs=1e-9)


@pytest.mark.parametrize("kind", SCHEDULES)
@pytest.mark.parametrize("training", [BASE, LARGE], ids=["base", "large"])
@pytest.mark.parametrize("steps", [1, 2, 6, 12, 50])
def test_every_shape_ends_where_the_checkpoint_does(kind, training, steps):
    schedule = schedule_within(training, kind, steps)
    assert len(schedule.betas) == steps
    assert schedule.alphas_cumulative[-1] == pytest.approx(training.alphas_cumulative[-1], rel=1e-6)
    told = training.steps_of(schedule)
    assert (np.diff(told) > 0).all()
    assert told[-1] == pytest.approx(len(training.betas) - 1, abs=1e-3)


def test_the_shapes_are_those_of_their_definitions():
    linear, quadratic, sigmoid = (
        np.array(schedule_within(BASE, kind, 9).betas) for kind in ("linear", "quadratic", "sigmoid")
    )
    np.testing.assert_allclose(np.diff(linear, 2), 0, atol=1e-12)
    np.testing.assert_allclose(np.diff(np.sqrt(quadratic), 2), 0, atol=1e-12)
    middle = (sigmoid - sigmoid[0]) / (sigmoid[-1] - sigmoid[0])
    np.testing.assert_allclose(middle + middle[::-1], 1, atol=1e-9)
    assert np.argmax(np.diff(middle)) in (3, 4)
    angles = np.arccos(np.sqrt(schedule_within(BASE, "cosine", 9).alphas_cumulative))
    np.testing.assert_allclose(np.diff(angles, 2), 0, atol=1e-9)
    levels = schedule_within(BASE, "log-snr", 9).alphas_cumulative
    np.testing.assert_allclose(np.diff(np.log(levels / (1 - levels)), 2), 0, atol=1e-9)


def test_linear_with_all_steps_is_the_published_training_schedule():
    np.testing.assert_allclose(schedule_within(BASE, "linear", 50).betas, BASE.betas, rtol=1e-6)


def test_statistics_say_how_noisy_a_schedule_gets():
    """The published base schedule keeps 0.28 of the signal's power: it is not pure noise."""
    statistics = BASE.statistics()
    assert statistics.steps == 50
    assert statistics.last_alpha_cumulative == pytest.approx(0.280, abs=5e-4)
    assert statistics.first_snr_db == pytest.approx(40.0, abs=0.01)
    assert statistics.last_snr_db == pytest.approx(10 * np.log10(0.2797 / 0.7203), abs=0.01)


@pytest.mark.parametrize(
    "betas", [(), (0.0,), (1.0,), (0.1, -0.1), (0.1, float("nan")), (0.1, 2.0), (0.1,) * 1001]
)
def test_betas_outside_0_and_1_are_refused(betas):
    with pytest.raises(InputError, match="got"):
        NoiseSchedule(betas)


@pytest.mark.parametrize("betas", [(1e-5,), (1e-4, 0.9)])
def test_a_noise_level_that_the_checkpoint_never_saw_is_refused(betas):
    with pytest.raises(InputError, match="no training step matches step"):
        BASE.steps_of(NoiseSchedule(betas))


@pytest.mark.parametrize(("kind", "steps"), [("linear", 0), ("linear", 51), ("warp", 6)])
def test_an_impossible_request_is_refused(kind, steps):
    with pytest.raises(InputError, match=r"steps must be|unknown schedule"):
        schedule_within(BASE, kind, steps)
