"""Effects on loudness: compressor, limiter, gate, automatic gain control."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import numpy as np

from voirs_vocoder.runtime.effects.control import (
    BLOCK_SAMPLES,
    BlockGain,
    Levels,
    smoothed,
    to_db,
    to_gain,
)
from voirs_vocoder.runtime.effects.effect import Curves, Effect, EffectState, Samples

__all__ = ["Compressor", "GainControl", "Gate", "LevelEffect", "Limiter", "reduction_db"]

_ATTACK_MS = (0.1, 500.0)
_RELEASE_MS = (1.0, 5_000.0)


def reduction_db(level_db: Levels, threshold_db: float, ratio: float, knee_db: float) -> Levels:
    """By how many dB a compressor turns a level down.

    D. Giannoulis, M. Massberg and J. Reiss, Digital dynamic range compressor design, JAES 60(6), 2012, equation 4: the
    static curve with a quadratic knee.

    Args:
        level_db: Float64 [blocks].
        threshold_db: Where it begins, in the middle of the knee.
        ratio: Input change over output change above it.
        knee_db: Width of the knee.
    """
    above = level_db - threshold_db
    slope = 1.0 - 1.0 / ratio
    if knee_db == 0.0:
        return slope * np.maximum(above, 0.0)
    inside = np.clip(above + knee_db / 2.0, 0.0, knee_db)
    return slope * (inside**2 / (2.0 * knee_db) + np.maximum(above - knee_db / 2.0, 0.0))


class LevelEffect(Effect, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An effect whose gain follows the signal's own level."""

    def gains(self, sample_rate: int) -> Callable[[Levels], Levels]:
        """What turns the levels of the next blocks into gains, at the beginning of a signal."""
        raise NotImplementedError

    def open(self, sample_rate: int, channels: int) -> EffectState:
        """See `Effect.open`."""
        return _Following(BlockGain(self.gains(sample_rate), channels))

    def latency_samples(self, sample_rate: int) -> int:
        """See `Effect.latency_samples`."""
        del sample_rate
        return BLOCK_SAMPLES


class Compressor(LevelEffect, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Turns loud passages down: peaks of 1.5 ms, the curve of `reduction_db`, its result smoothed in dB."""

    NAME: ClassVar[str] = "compressor"
    RANGES: ClassVar[dict[str, tuple[float, float]]] = {
        "threshold_db": (-60.0, 0.0),
        "ratio": (1.0, 100.0),
        "knee_db": (0.0, 24.0),
        "attack_ms": _ATTACK_MS,
        "release_ms": _RELEASE_MS,
        "make_up_db": (0.0, 24.0),
    }

    threshold_db: float = -18.0
    ratio: float = 2.5
    knee_db: float = 6.0
    attack_ms: float = 5.0
    release_ms: float = 120.0
    make_up_db: float = 0.0

    def gains(self, sample_rate: int) -> Callable[[Levels], Levels]:
        """See `LevelEffect.gains`."""
        state = 0.0

        def follow(levels: Levels) -> Levels:
            nonlocal state
            wanted = reduction_db(to_db(levels), self.threshold_db, self.ratio, self.knee_db)
            made, state = smoothed(wanted, state, self.attack_ms, self.release_ms, sample_rate)
            return to_gain(self.make_up_db - made)

        return follow


class Gate(LevelEffect, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Turns pauses down by `range_db`.

    Opens above the threshold, closes when the level has been `hysteresis_db` below it for `hold_ms` on end.
    """

    NAME: ClassVar[str] = "gate"
    RANGES: ClassVar[dict[str, tuple[float, float]]] = {
        "threshold_db": (-100.0, 0.0),
        "hysteresis_db": (0.0, 24.0),
        "range_db": (0.0, 100.0),
        "hold_ms": (0.0, 2_000.0),
        "attack_ms": _ATTACK_MS,
        "release_ms": _RELEASE_MS,
    }

    threshold_db: float = -50.0
    hysteresis_db: float = 6.0
    range_db: float = 20.0
    hold_ms: float = 80.0
    attack_ms: float = 1.0
    release_ms: float = 100.0

    def gains(self, sample_rate: int) -> Callable[[Levels], Levels]:
        """See `LevelEffect.gains`."""
        hold_blocks = math.ceil(self.hold_ms * sample_rate / 1000.0 / BLOCK_SAMPLES)
        left_open = 0
        is_open = False
        state = -self.range_db

        def follow(levels: Levels) -> Levels:
            nonlocal left_open, is_open, state
            wanted = []
            for level_db in to_db(levels).tolist():
                if level_db >= self.threshold_db:
                    is_open, left_open = True, hold_blocks
                elif level_db < self.threshold_db - self.hysteresis_db:
                    left_open -= 1
                    is_open = is_open and left_open > 0
                else:
                    left_open = hold_blocks
                wanted.append(0.0 if is_open else -self.range_db)
            # Opening is a rise.
            made, state = smoothed(np.array(wanted), state, self.attack_ms, self.release_ms, sample_rate)
            return to_gain(made)

        return follow


class GainControl(LevelEffect, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Automatic gain control: brings the peaks of speech slowly to `target_db`, and lets pauses be.

    Up to `max_gain_db` either way; below `floor_db` the gain stays where it is.
    """

    NAME: ClassVar[str] = "gain_control"
    RANGES: ClassVar[dict[str, tuple[float, float]]] = {
        "target_db": (-40.0, 0.0),
        "max_gain_db": (0.0, 40.0),
        "floor_db": (-100.0, -20.0),
        "attack_ms": (1.0, 5_000.0),
        "release_ms": (10.0, 20_000.0),
    }

    target_db: float = -9.0
    max_gain_db: float = 18.0
    floor_db: float = -50.0
    attack_ms: float = 20.0
    release_ms: float = 1_500.0

    def gains(self, sample_rate: int) -> Callable[[Levels], Levels]:
        """See `LevelEffect.gains`."""
        state = self.target_db

        def follow(levels: Levels) -> Levels:
            nonlocal state
            level_db = to_db(levels)
            loud = level_db >= self.floor_db
            followed = np.full(level_db.size, state)
            followed[loud], ended = smoothed(
                level_db[loud], state, self.attack_ms, self.release_ms, sample_rate
            )
            # In pauses, what was followed before them.
            last = np.maximum.accumulate(np.where(loud, np.arange(loud.size), -1))
            followed = np.where(last >= 0, followed[np.maximum(last, 0)], state)
            state = ended
            return to_gain(np.clip(self.target_db - followed, -self.max_gain_db, self.max_gain_db))

        return follow


class Limiter(Effect, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Lets no sample beyond `ceiling_db`, and begins to turn down `look_ahead_ms` before one would be."""

    NAME: ClassVar[str] = "limiter"
    RANGES: ClassVar[dict[str, tuple[float, float]]] = {
        "ceiling_db": (-40.0, 0.0),
        "look_ahead_ms": (0.5, 50.0),
        "release_ms": _RELEASE_MS,
    }

    ceiling_db: float = -1.0
    look_ahead_ms: float = 5.0
    release_ms: float = 80.0

    def open(self, sample_rate: int, channels: int) -> EffectState:
        """See `Effect.open`."""
        return _Limiting(self, self._ahead_blocks(sample_rate), sample_rate, channels)

    def latency_samples(self, sample_rate: int) -> int:
        """See `Effect.latency_samples`."""
        return BLOCK_SAMPLES * (1 + self._ahead_blocks(sample_rate))

    def _ahead_blocks(self, sample_rate: int) -> int:
        return max(1, round(self.look_ahead_ms * sample_rate / 1000.0 / BLOCK_SAMPLES))


class _Following:
    """A signal on its way through a `LevelEffect`."""

    def __init__(self, gain: BlockGain) -> None:
        self._gain = gain

    def process(self, block: Samples, moving: Curves) -> Samples:
        """See `EffectState.process`."""
        del moving
        return self._gain.process(block, block)


class _Limiting:
    """A block's gain is the mean over W blocks of the least that any of the W blocks after each needs.

    Each of these minima covers the block and the one after it, so the straight line between two gains stays below what
    its block needs.
    """

    def __init__(self, limiter: Limiter, ahead_blocks: int, sample_rate: int, channels: int) -> None:
        self._ceiling = np.float32(10.0 ** (limiter.ceiling_db / 20.0))
        self._ahead = ahead_blocks
        self._recovery = math.exp(-1000.0 * BLOCK_SAMPLES / (limiter.release_ms * sample_rate))
        self._released = 1.0
        self._needed = np.ones(ahead_blocks)
        self._held = np.ones(ahead_blocks - 1)
        self._gain = BlockGain(self._gains, channels, ahead_blocks)

    def process(self, block: Samples, moving: Curves) -> Samples:
        """See `EffectState.process`."""
        del moving
        limited = self._gain.process(block, block)
        # Rounding to float32 may lift a sample by one step.
        return np.clip(limited, -self._ceiling, self._ceiling)

    def _gains(self, levels: Levels) -> Levels:
        ceiling = float(self._ceiling)
        needed = self._with_release(np.minimum(1.0, ceiling / np.maximum(levels, ceiling)))
        joined = np.concatenate((self._needed, needed))
        self._needed = joined[-self._ahead :]
        windows = np.lib.stride_tricks.sliding_window_view
        held = np.concatenate((self._held, windows(joined, self._ahead + 1).min(axis=1)))
        self._held = held[held.size - (self._ahead - 1) :]
        gains: Levels = windows(held, self._ahead).mean(axis=1)
        return gains

    def _with_release(self, needed: Levels) -> Levels:
        """At once down, slowly up again."""
        if self._released == 1.0 and (needed == 1.0).all():
            return needed
        made = []
        released = self._released
        for value in needed.tolist():
            recovered = 1.0 - self._recovery * (1.0 - released)
            released = min(value, recovered if recovered < 1.0 - 1e-6 else 1.0)
            made.append(released)
        self._released = released
        return np.array(made)
