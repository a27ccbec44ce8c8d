"""Sampling that stops when the estimate of the clean audio no longer changes.

Whether it has settled is seen on the whole utterance, so the whole utterance is held: this sampler serves neither
streams nor the unrolled graph, and refuses what would take more memory than it may.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.diffusion.plan import SamplerPlan
from voirs_vocoder.runtime.diffusion.stage import PredictNoise, Stage, Track

__all__ = ["MAX_ADAPTIVE_FRAMES", "SETTLED_DB", "adaptive_audio"]

MAX_ADAPTIVE_FRAMES = 4096
"""Longest utterance: 48 s at 22,050 Hz and a hop of 256, for which DiffWave's conditioner takes 335 MB."""

SETTLED_DB = -30.0
"""The estimate has settled when a step changes it by no more than this, relative to its own level."""

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
    """Follow a plan until it changes nothing any more.

    Args:
        plan: Every step's estimate of the clean audio is looked at.
        predict: The network.
        conditioner: Of the whole utterance.
        seed: Of the noise.
        before: Samples of past that an evaluation reads.
        after: Samples of future likewise.
        most: Samples to evaluate at once.

    Returns:
        Audio [samples], and the number of steps that it took.
    """
    noisy = clean = np.empty(0, np.float32)
    for number, step in enumerate(plan.steps):
        stage = Stage(step, number, seed, plan.start_scale)
        if number:
            stage.receive(noisy, clean)
        made = list(stage.advance(predict, conditioner, before=before, after=after, most=most, at_end=True))
        earlier = clean
        noisy, clean = (np.concatenate(parts) for parts in zip(*made, strict=True))
        if number and _change_db(earlier, clean) <= SETTLED_DB:
            return np.clip(clean, -1.0, 1.0), number + 1
    return noisy, len(plan.steps)


def _change_db(earlier: NDArray[np.float32], now: NDArray[np.float32]) -> float:
    change = float(np.mean(np.square(now - earlier, dtype=np.float64)))
    level = float(np.mean(np.square(now, dtype=np.float64)))
    return float(10 * np.log10((change + _SILENCE) / (level + _SILENCE)))
