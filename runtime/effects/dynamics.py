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
    """Gain reduction of a compressor in dB, not negative.

    D. Giannoulis, M. Massberg and J. Reiss, Digital dynamic range compressor design, JAES 60(6), 2012, equation 4: the
    static curve with a quadratic knee.

    Args:
        level_db: Levels in dB, float64 [blocks].
        threshold_db: Level in dB at the middle of the knee.
        ratio: Change of the input level over that of the output level, above the knee.
        knee_db: Width of the knee in dB; 0 is a sharp bend.

    Returns:
        Reduction of each level in dB, float64 [blocks].
    """
    above = level_db - threshold_db
    slope = 1.0 - 1.0 / ratio
    if knee_db == 0.0:
        return slope * np.maximum(above, 0.0)
    inside = np.clip(above + knee_db / 2.0, 0.0, knee_db)
    return slope * (inside**2 / (2.0 * knee_db) + np.maximum(above - knee_db / 2.0, 0.0))


class LevelEffect(Effect, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An effect whose gain follows the level of the signal itself."""

    def gains(self, sample_rate: int) -> Callable[[Levels], Levels]:
        """Make a function from the levels of the next blocks to their gains, for a signal that begins."""
        raise NotImplementedError

    def open(self, sample_rate: int, channels: int) -> EffectState:
        """Begin a signal; any sample rate and any number of channels will do."""
        return _Following(BlockGain(self.gains(sample_rate), channels))

    def latency_samples(self, sample_rate: int) -> int:
        """Latency in samples: one block."""
        del sample_rate
        return BLOCK_SAMPLES


class Compressor(LevelEffect, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Reduces the level of loud passages: the peaks of blocks pass the curve of `reduction_db`, smoothed in dB.

    Attributes:
        threshold_db: Level in dB above which the signal is reduced, in the middle of the knee.
        ratio: Change of the input level over that of the output level, above the knee.
        knee_db: Width in dB of the bend around the threshold; 0 is a sharp bend.
        attack_ms: Time constant in ms with which the reduction rises.
        release_ms: Time constant in ms with which the reduction falls.
        make_up_db: Constant gain in dB after the reduction.
    """

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
        """Make a function from the levels of the next blocks to the gains of the compressor."""
        state = 0.0

        def follow(levels: Levels) -> Levels:
            nonlocal state
            wanted = reduction_db(to_db(levels), self.threshold_db, self.ratio, self.knee_db)
            made, state = smoothed(wanted, state, self.attack_ms, self.release_ms, sample_rate)
            return to_gain(self.make_up_db - made)

        return follow


class Gate(LevelEffect, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Reduces the level of pauses.

    The gate opens when the level reaches the threshold, and closes when it has stayed more than `hysteresis_db` below
    the threshold for `hold_ms`.

    Attributes:
        threshold_db: Level in dB at which the gate opens.
        hysteresis_db: Distance in dB from the threshold down to the level below which the gate may close.
        range_db: Reduction in dB while the gate is closed.
        hold_ms: Time in ms for which the level must stay low before the gate closes.
        attack_ms: Time constant of the opening in ms.
        release_ms: Time constant of the closing in ms.
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
        """Make a function from the levels of the next blocks to the gains of the gate."""
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
            # Opening raises the gain, so the attack is its time constant.
            made, state = smoothed(np.array(wanted), state, self.attack_ms, self.release_ms, sample_rate)
            return to_gain(made)

        return follow


class GainControl(LevelEffect, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Automatic gain control: brings the peaks of speech slowly to a level; the gain is kept during pauses.

    Attributes:
        target_db: Peak level in dB that speech is brought to.
        max_gain_db: Largest gain and largest reduction in dB.
        floor_db: Level in dB below which a block counts as a pause.
        attack_ms: Time constant in ms with which the measured level rises.
        release_ms: Time constant in ms with which the measured level falls.
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
        """Make a function from the levels of the next blocks to the gains that bring them to the target."""
        state = self.target_db

        def follow(levels: Levels) -> Levels:
            nonlocal state
            level_db = to_db(levels)
            loud = level_db >= self.floor_db
            followed = np.full(level_db.size, state)
            followed[loud], ended = smoothed(
                level_db[loud], state, self.attack_ms, self.release_ms, sample_rate
            )
            # A pause keeps the level that was measured before it.
            last = np.maximum.accumulate(np.where(loud, np.arange(loud.size), -1))
            followed = np.where(last >= 0, followed[np.maximum(last, 0)], state)
            state = ended
            return to_gain(np.clip(self.target_db - followed, -self.max_gain_db, self.max_gain_db))

        return follow


class Limiter(Effect, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits the magnitude of every sample, with a gain that falls before the peak that needs it.

    Attributes:
        ceiling_db: Largest magnitude of a sample in dB relative to full scale.
        look_ahead_ms: Time in ms over which the gain falls before a peak, and the latency but for one block.
        release_ms: Time constant in ms with which the gain rises again.
    """

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
        """Begin a signal; any sample rate and any number of channels will do."""
        return _Limiting(self, self._ahead_blocks(sample_rate), sample_rate, channels)

    def latency_samples(self, sample_rate: int) -> int:
        """Latency in samples: the look-ahead in whole blocks, and one block."""
        return BLOCK_SAMPLES * (1 + self._ahead_blocks(sample_rate))

    def _ahead_blocks(self, sample_rate: int) -> int:
        return max(1, round(self.look_ahead_ms * sample_rate / 1000.0 / BLOCK_SAMPLES))


class _Following:
    """State of a `LevelEffect` for one signal."""

    def __init__(self, gain: BlockGain) -> None:
        self._gain = gain

    def process(self, block: Samples, moving: Curves) -> Samples:
        del moving
        return self._gain.process(block, block)


class _Limiting:
    """State of a `Limiter` for one signal, with a look-ahead of W blocks.

    A block needs the gain that brings its peak down to the ceiling. The gain that it gets is a moving average, over W
    blocks, of moving minima, over W + 1 blocks, of the gains needed.
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
        del moving
        limited = self._gain.process(block, block)
        # Rounding to float32 may lift a sample by one step.
        return np.clip(limited, -self._ceiling, self._ceiling)

    def _gains(self, levels: Levels) -> Levels:
        # Each minimum ranges over a block and the W blocks after it, and the average over the minima of a block and of
        # the W - 1 blocks before it. So all W minima in the average contain the block and the one after it: the average
        # is at most what either needs, and so is each point of the straight line between two gains.
        # The average falls over W blocks before a peak instead of at once. Two tails, of W needed gains and of W - 1
        # minima, are all that is kept between calls.
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
        """Let the gain fall at once and rise with the time constant of the release."""
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
