"""Samplers, each a function from a schedule to a plan.

Notation as in `schedule`; `next` is the noise level that a step leads to, 1 after the last. The clean audio in x is
x0 = (x - sqrt(1 - alpha_cumulative) eps) / sqrt(alpha_cumulative) (DDPM, equation 15), which gives e and f everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from voirs_vocoder.runtime.diffusion.plan import PlanStep, SamplerPlan
from voirs_vocoder.runtime.diffusion.schedule import NoiseSchedule
from voirs_vocoder.runtime.errors import InputError

__all__ = ["ADAPTIVE", "FAST", "SAMPLERS", "SAMPLER_CHOICES", "sampler_plan"]

FAST = "fast"
"""Name of the sampler that is `ddpm` on the checkpoint's published schedule for few steps."""

ADAPTIVE = "adaptive"
"""Name of the sampler that is `dpm-solver++`, stopped when the estimate of the clean audio has settled."""


@dataclass(frozen=True)
class _Level:
    """A noise level on the way to a cleaner one.

    Attributes:
        now: alpha_cumulative before the step.
        after: alpha_cumulative after the step; 1 for the last step.
        before: alpha_cumulative before the preceding step; None for the first step.
    """

    now: float
    after: float
    before: float | None

    @property
    def e(self) -> float:
        """The weight of x in the clean estimate."""
        return 1.0 / math.sqrt(self.now)

    @property
    def f(self) -> float:
        """The weight of eps in the clean estimate."""
        return -math.sqrt((1.0 - self.now) / self.now)


_Update = tuple[float, float, float, float]
"""Coefficients a, b, c and d of a step, d for unit temperature."""


def sampler_plan(
    sampler: str,
    training: NoiseSchedule,
    schedule: NoiseSchedule,
    *,
    eta: float = 0.0,
    temperature: float = 1.0,
) -> SamplerPlan:
    """Compile a sampler to a plan.

    Args:
        sampler: `ddpm`, `ddim` or `dpm-solver++`. The published fast sampling of DiffWave is `ddpm` on the checkpoint's
            own inference schedule.
        training: Schedule of the checkpoint, in whose steps the network takes the noise level.
        schedule: Noise levels to visit, from the last to the first.
        eta: Share of fresh noise at each step of `ddim`, in [0, 1]: 0 adds none, 1 as much as `ddpm`. 0 for the other
            samplers.
        temperature: Factor on all noise, in [0, 2].

    Raises:
        InputError: The sampler is unknown, `eta` is not 0 for a sampler other than `ddim`, or the schedule leaves the
            range of noise levels of the checkpoint's schedule.
    """
    if sampler not in SAMPLERS:
        raise InputError(f"unknown sampler {sampler!r}; known: {', '.join(SAMPLERS)}")
    if eta and sampler != "ddim":
        raise InputError(f"eta is a setting of the sampler ddim alone, got {eta} for {sampler}; leave it out")
    positions = training.steps_of(schedule)
    levels = [float(level) for level in schedule.alphas_cumulative]
    steps = []
    for n in reversed(range(len(levels))):
        level = _Level(levels[n], levels[n - 1] if n else 1.0, levels[n + 1] if n + 1 < len(levels) else None)
        a, b, c, d = SAMPLERS[sampler](level, eta)
        # DiffWave's published loop limits x at every step; the deterministic samplers pass through levels where x
        # rightly exceeds full scale, so they limit the result alone.
        clamps = sampler == "ddpm" or n == 0
        steps.append(PlanStep(float(positions[n]), a, b, c, d * temperature, level.e, level.f, clamps))
    return SamplerPlan(sampler, temperature, tuple(steps))


def _ddpm(level: _Level, eta: float) -> _Update:
    """DDPM, algorithm 2, with the variance of its equation 7; no noise after the last step."""
    del eta
    alpha = level.now / level.after
    beta = 1.0 - alpha
    d = math.sqrt((1.0 - level.after) / (1.0 - level.now) * beta)
    return 1.0 / math.sqrt(alpha), -beta / math.sqrt((1.0 - level.now) * alpha), 0.0, d


def _ddim(level: _Level, eta: float) -> _Update:
    """J. Song et al., Denoising Diffusion Implicit Models, arXiv 2010.02502, equations 12 and 16."""
    variance = (1.0 - level.after) / (1.0 - level.now) * (1.0 - level.now / level.after)
    d = eta * math.sqrt(variance)
    root = math.sqrt(level.after)
    b = math.sqrt(max(0.0, 1.0 - level.after - d * d)) + root * level.f
    return root * level.e, b, 0.0, d


def _dpm_solver(level: _Level, eta: float) -> _Update:
    """C. Lu et al., DPM-Solver++, arXiv 2211.01095, algorithm 2 (2M); first order at the first and last step."""
    del eta
    if level.after == 1.0:
        return level.e, level.f, 0.0, 0.0
    h = _half_log_snr(level.after) - _half_log_snr(level.now)
    gain = -math.sqrt(level.after) * math.expm1(-h)
    shrink = math.sqrt((1.0 - level.after) / (1.0 - level.now))
    extrapolation = 0.0
    if level.before is not None:
        h_before = _half_log_snr(level.now) - _half_log_snr(level.before)
        extrapolation = h / (2.0 * h_before)
    weight = gain * (1.0 + extrapolation)
    return shrink + weight * level.e, weight * level.f, -gain * extrapolation, 0.0


def _half_log_snr(alpha_cumulative: float) -> float:
    return 0.5 * math.log(alpha_cumulative / (1.0 - alpha_cumulative))


SAMPLERS: dict[str, Callable[[_Level, float], _Update]] = {
    "ddpm": _ddpm,
    "ddim": _ddim,
    "dpm-solver++": _dpm_solver,
}
"""Samplers by name."""

SAMPLER_CHOICES = (FAST, *SAMPLERS, ADAPTIVE)
"""Names of samplers that a caller may ask for."""
