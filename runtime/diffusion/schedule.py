"""Noise schedules, and how one is expressed in the steps of another.

In the notation of J. Ho et al., Denoising Diffusion Probabilistic Models, arXiv 2006.11239: beta is the variance that
a step adds, alpha_cumulative the product of all 1 - beta so far. A network is trained on
pairs of alpha_cumulative and step alone, so another schedule is mapped by alpha_cumulative, never by index.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.errors import InputError

__all__ = [
    "DEFAULT_SCHEDULE",
    "MAX_STEPS",
    "SCHEDULES",
    "NoiseSchedule",
    "ScheduleStatistics",
    "schedule_within",
]

MAX_STEPS = 1000
"""Most steps that a schedule may have."""

DEFAULT_SCHEDULE = "log-snr"
"""Key of `SCHEDULES` that sampling takes unless the caller chooses another one."""

# The sigmoid runs over this range, as in the schedule of that name in huggingface/diffusers.
_SIGMOID_REACH = 6.0
_BISECTIONS = 100
_LARGEST_BETA = 0.999
# Error of alpha_cumulative: float64 loses about this much in a product of a thousand factors.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class ScheduleStatistics:
    """Effect of a schedule on a signal.

    Attributes:
        steps: Number of steps.
        first_alpha_cumulative: alpha_cumulative after the first step; near 1 the signal is nearly clean.
        last_alpha_cumulative: alpha_cumulative after the last step; near 0 the signal is nearly pure noise.
        first_snr_db: Signal-to-noise ratio in dB after the first step, for a signal of unit power.
        last_snr_db: Signal-to-noise ratio in dB after the last step, for a signal of unit power.
    """

    steps: int
    first_alpha_cumulative: float
    last_alpha_cumulative: float
    first_snr_db: float
    last_snr_db: float


@dataclass(frozen=True)
class NoiseSchedule:
    """How much noise each step adds.

    Attributes:
        betas: Variances, each strictly between 0 and 1, in the order of the forward process.

    Raises:
        InputError: There are no betas, more than `MAX_STEPS`, or one is out of range.
    """

    betas: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check the number and the range of the betas."""
        if not 1 <= len(self.betas) <= MAX_STEPS:
            raise InputError(f"a schedule has 1 to {MAX_STEPS} steps, got {len(self.betas)}")
        for index, beta in enumerate(self.betas):
            if not 0.0 < beta < 1.0:
                raise InputError(
                    f"a schedule's betas must lie strictly between 0 and 1, got {beta} at step {index}; "
                    "give variances, not their roots or sums"
                )

    @cached_property
    def alphas_cumulative(self) -> NDArray[np.float64]:
        """Products of 1 - beta so far, float64 [steps], strictly falling."""
        products: NDArray[np.float64] = np.cumprod(1.0 - np.array(self.betas, np.float64), dtype=np.float64)
        return products

    @classmethod
    def from_alphas_cumulative(cls, values: Sequence[float] | NDArray[np.float64]) -> NoiseSchedule:
        """Make the schedule with these products.

        Args:
            values: alpha_cumulative of each step, strictly falling within (0, 1).

        Raises:
            InputError: The values do not fall strictly, or lie outside (0, 1).
        """
        levels = np.concatenate(([1.0], np.asarray(values, np.float64)))
        return cls(tuple(float(beta) for beta in 1.0 - levels[1:] / levels[:-1]))

    def statistics(self) -> ScheduleStatistics:
        """Compute the effect of the schedule on a signal."""
        first, last = float(self.alphas_cumulative[0]), float(self.alphas_cumulative[-1])
        return ScheduleStatistics(len(self.betas), first, last, _snr_db(first), _snr_db(last))

    def steps_of(self, other: NoiseSchedule) -> NDArray[np.float64]:
        """Express another schedule's noise levels in steps of this one, the checkpoint's.

        Between two steps, the position is interpolated in the root of alpha_cumulative, as the published fast sampling
        of DiffWave does (github.com/lmnt-com/diffwave at 0594106, inference.py).

        Args:
            other: Schedule to express.

        Returns:
            Fractional step of each noise level, float64 [steps of the other], in [0, steps of this - 1].

        Raises:
            InputError: A noise level lies outside those of this schedule.
        """
        mine = self.alphas_cumulative
        levels = other.alphas_cumulative
        high, low = float(mine[0]), float(mine[-1])
        outside = (levels > high + _ROUNDING) | (levels < low - _ROUNDING)
        if outside.any():
            index = int(np.flatnonzero(outside)[0])
            raise InputError(
                f"no training step matches step {index} of the schedule, whose cumulative alpha is "
                f"{levels[index]:.6g}: the checkpoint was trained on {low:.6g} to {high:.6g}; "
                "choose betas whose products stay within"
            )
        roots = np.sqrt(np.clip(levels, low, high))
        # np.interp wants rising abscissae.
        steps: NDArray[np.float64] = np.interp(-roots, -np.sqrt(mine), np.arange(len(mine), dtype=np.float64))
        return steps


def schedule_within(training: NoiseSchedule, kind: str, steps: int) -> NoiseSchedule:
    """Make a schedule of a published shape that ends at the last noise level of the checkpoint's own.

    A shape is fitted by its last beta (linear, quadratic, sigmoid) or by the part of its curve (cosine, log-snr), so
    that sampling starts where the network was trained to start.

    Args:
        training: Schedule of the checkpoint.
        kind: Key of `SCHEDULES`.
        steps: Number of steps, from 1 to that of the checkpoint.

    Raises:
        InputError: The kind is unknown, there are too few or too many steps, or the shape cannot reach the last noise
            level in so few steps.
    """
    if kind not in SCHEDULES:
        raise InputError(f"unknown schedule {kind!r}; known: {', '.join(SCHEDULES)}")
    if not 1 <= steps <= len(training.betas):
        raise InputError(f"steps must be between 1 and the checkpoint's {len(training.betas)}, got {steps}")
    if steps == 1:
        return NoiseSchedule.from_alphas_cumulative(training.alphas_cumulative[-1:])
    return SCHEDULES[kind](training, steps)


def _linear(start: float, end: float, steps: int) -> NDArray[np.float64]:
    return np.linspace(start, end, steps)


def _quadratic(start: float, end: float, steps: int) -> NDArray[np.float64]:
    roots = np.linspace(np.sqrt(start), np.sqrt(end), steps)
    return roots * roots


def _sigmoid(start: float, end: float, steps: int) -> NDArray[np.float64]:
    rise = 1.0 / (1.0 + np.exp(-np.linspace(-_SIGMOID_REACH, _SIGMOID_REACH, steps)))
    # Scaled so that it starts and ends exactly where asked.
    values: NDArray[np.float64] = start + (end - start) * (rise - rise[0]) / (rise[-1] - rise[0])
    return values


def _fitted(
    shape: Callable[[float, float, int], NDArray[np.float64]],
) -> Callable[[NoiseSchedule, int], NoiseSchedule]:
    """The shape whose first beta is the checkpoint's and whose last gives its final noise level, by bisection."""

    def schedule(training: NoiseSchedule, steps: int) -> NoiseSchedule:
        start, target = training.betas[0], float(training.alphas_cumulative[-1])
        low, high = start, _LARGEST_BETA
        if np.prod(1.0 - shape(start, high, steps)) > target:
            raise InputError(
                f"a schedule of {steps} steps cannot reach the checkpoint's last cumulative alpha {target:.3g} in this "
                "shape; use more steps, or the shape cosine or log-snr"
            )
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            low, high = (
                (middle, high) if np.prod(1.0 - shape(start, middle, steps)) > target else (low, middle)
            )
        # The end of the interval whose product is not below the target: inside the checkpoint's range.
        return NoiseSchedule(tuple(float(beta) for beta in shape(start, low, steps)))

    return schedule


def _cosine(training: NoiseSchedule, steps: int) -> NoiseSchedule:
    """alpha_cumulative = cos(u)^2 (Nichol and Dhariwal, equation 17), u even between the checkpoint's ends."""
    first, last = np.arccos(np.sqrt(training.alphas_cumulative[[0, -1]]))
    return NoiseSchedule.from_alphas_cumulative(np.cos(np.linspace(first, last, steps)) ** 2)


def _log_snr(training: NoiseSchedule, steps: int) -> NoiseSchedule:
    """Even in half the logarithm of the SNR, as DPM-Solver steps (C. Lu et al., arXiv 2206.00927, section 3.4)."""
    ends = training.alphas_cumulative[[0, -1]]
    first, last = np.log(ends / (1.0 - ends)) / 2
    levels = 1.0 / (1.0 + np.exp(-2.0 * np.linspace(first, last, steps)))
    return NoiseSchedule.from_alphas_cumulative(levels)


def _training(training: NoiseSchedule, steps: int) -> NoiseSchedule:
    """The checkpoint's own noise levels, evenly thinned; all of them when so many steps are asked for."""
    picked = np.round(np.linspace(0, len(training.betas) - 1, steps)).astype(int)
    return NoiseSchedule.from_alphas_cumulative(training.alphas_cumulative[picked])


SCHEDULES: dict[str, Callable[[NoiseSchedule, int], NoiseSchedule]] = {
    "training": _training,
    "linear": _fitted(_linear),
    "quadratic": _fitted(_quadratic),
    "sigmoid": _fitted(_sigmoid),
    "cosine": _cosine,
    "log-snr": _log_snr,
}
"""Functions from the checkpoint's schedule and a number of steps to a schedule, by name of the shape."""


def _snr_db(alpha_cumulative: float) -> float:
    return float(10.0 * np.log10(alpha_cumulative / (1.0 - alpha_cumulative)))
