"""Paired timing: candidates take turns within short rounds, so that what disturbs the machine disturbs them all."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.errors import InputError

__all__ = ["MIN_PAIRS", "Estimate", "Times", "interleaved_times", "median_estimate", "ratio_estimate"]

MIN_PAIRS = 15

# Longer than idle worker threads of ONNX Runtime, OpenMP or TBB spin, which would slow the next candidate down.
_PAUSE_S = 0.02
_RESAMPLES = 2000
_INTERVAL_PERCENT = (2.5, 97.5)

Times = dict[str, NDArray[np.float64]]


class Estimate(msgspec.Struct, frozen=True):
    """A median with its interval.

    Attributes:
        median: Median over the rounds.
        low: Lower end of the 95% interval of the median.
        high: Upper end of the 95% interval of the median.
        pairs: Number of rounds.
    """

    median: float
    low: float
    high: float
    pairs: int


def interleaved_times(
    candidates: Mapping[str, Callable[[], object]],
    *,
    pairs: int,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
    pause: Callable[[float], None] = time.sleep,
) -> Times:
    """Time candidates in rounds, every one once per round, each round in another order.

    Every candidate is called once beforehand, untimed.

    Args:
        candidates: Name to the call that is timed.
        pairs: Number of rounds, at least `MIN_PAIRS`.
        seed: Seed of the random orders.
        clock: Returns seconds; only differences count.
        pause: Called with seconds before every timed call.

    Returns:
        Name to seconds, float64 [pairs]; the same index is the same round.

    Raises:
        InputError: There are fewer than `MIN_PAIRS` pairs.
    """
    if pairs < MIN_PAIRS:
        raise InputError(f"a benchmark needs at least {MIN_PAIRS} pairs, got {pairs}; give pairs={MIN_PAIRS}")
    names = list(candidates)
    for call in candidates.values():
        call()
    rng = np.random.default_rng(seed)
    times = {name: np.empty(pairs) for name in names}
    for index in range(pairs):
        for choice in rng.permutation(len(names)):
            name = names[choice]
            pause(_PAUSE_S)
            started = clock()
            candidates[name]()
            times[name][index] = clock() - started
    return times


def median_estimate(values: NDArray[np.float64], seed: int = 0) -> Estimate:
    """The median with a 95% percentile-bootstrap interval.

    B. Efron, Bootstrap methods: another look at the jackknife, Annals of Statistics 7(1), 1979; 2,000 resamples.

    Args:
        values: Seconds of each round, float64 [pairs].
        seed: Seed of the resampling.
    """
    rng = np.random.default_rng(seed)
    resampled = np.median(rng.choice(values, (_RESAMPLES, values.size)), axis=1)
    low, high = np.percentile(resampled, _INTERVAL_PERCENT)
    return Estimate(float(np.median(values)), float(low), float(high), values.size)


def ratio_estimate(values: NDArray[np.float64], baseline: NDArray[np.float64], seed: int = 0) -> Estimate:
    """The median of the ratios within each round: what slows a whole round down cancels.

    Args:
        values: Seconds of each round, float64 [pairs].
        baseline: Seconds of the baseline in the same rounds, float64 [pairs], positive.
        seed: Seed of the resampling.
    """
    return median_estimate(values / baseline, seed)
