"""Sampling that stops when the estimate of the clean audio no longer changes.

Whether the estimate has settled is decided on the whole utterance, which is therefore kept in memory: this sampler
serves neither streams nor the unrolled graph, and its driver refuses longer utterances.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.diffusion.plan import SamplerPlan
from voirs_vocoder.runtime.diffusion.stage import PredictNoise, Stage, Track

__all__ = ["MAX_ADAPTIVE_FRAMES", "SETTLED_DB", "adaptive_audio", "has_settled"]

MAX_ADAPTIVE_FRAMES = 4096
"""Longest utterance in mel frames: 48 s at 22,050 Hz and a hop of 256, where DiffWave's conditioner takes 335 MB."""

SETTLED_DB = -30.0
"""Largest change in dB, relative to its own level, that a step makes to an estimate that has settled."""

_SILENCE = 1e-12


def adaptive_audio(
    plan: SamplerPlan,
    predict: PredictNoise,
    conditioner: Track,
    *,
    seed: int,
    before: int,
    after: int,
    most: int,
) -> tuple[NDArray[np.float32], int]:
    """Follow a plan until the estimate of the clean audio has settled.

    Args:
        plan: Sampler plan; the estimate of the clean audio is compared after every step.
        predict: Network that predicts the noise.
        conditioner: Conditioner of the whole utterance.
        seed: Seed of the noise.
        before: Samples of past that an evaluation reads.
        after: Samples of future that an evaluation reads.
        most: Most samples to evaluate at once.

    Returns:
        Audio float32 [samples], and the number of steps that it took.
    """
    noisy = clean = np.empty(0, np.float32)
    for number, step in enumerate(plan.steps):
        stage = Stage(step, number, seed, plan.start_scale)
        if number:
            stage.receive(noisy, clean)
        made = list(stage.advance(predict, conditioner, before=before, after=after, most=most, at_end=True))
        earlier = clean
        noisy, clean = (np.concatenate(parts) for parts in zip(*made, strict=True))
        if number and has_settled(earlier, clean):
            return np.clip(clean, -1.0, 1.0), number + 1
    return noisy, len(plan.steps)


def has_settled(earlier: NDArray[np.float32], now: NDArray[np.float32]) -> bool:
    """Whether an estimate of the clean audio changes no more.

    Args:
        earlier: Estimate of the step before, float32 [samples] of the whole utterance.
        now: Estimate of this step, of the shape of `earlier`.
    """
    change = float(np.mean(np.square(now - earlier, dtype=np.float64)))
    level = float(np.mean(np.square(now, dtype=np.float64)))
    return float(10 * np.log10((change + _SILENCE) / (level + _SILENCE))) <= SETTLED_DB
