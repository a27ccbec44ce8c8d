"""Gains that follow a level, on a grid of their own, so that it does not matter how the signal is cut."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.effects.effect import Samples

__all__ = ["BLOCK_SAMPLES", "BlockGain", "Delay", "Levels", "smoothed", "to_db", "to_gain"]

BLOCK_SAMPLES = 32
"""A level, and a gain, for so many samples: 1.5 ms at 22,050 Hz."""

_FLOOR = 1e-10
_SHARES = np.arange(1, BLOCK_SAMPLES + 1, dtype=np.float32) / np.float32(BLOCK_SAMPLES)

Levels = NDArray[np.float64]
"""One number for each block: float64 [blocks]."""


def to_db(level: Levels) -> Levels:
    """Amplitudes in dB relative to 1, silence being -200."""
    return 20.0 * np.log10(np.maximum(level, _FLOOR))


def to_gain(level_db: Levels) -> Levels:
    """The reverse."""
    return 10.0 ** (level_db / 20.0)


def smoothed(
    values: Levels, state: float, attack_ms: float, release_ms: float, sample_rate: int
) -> tuple[Levels, float]:
    """One pole that follows rises in `attack_ms` and falls in `release_ms`, to 1 - 1/e.

    D. Giannoulis, M. Massberg and J. Reiss, Digital dynamic range compressor design, JAES 60(6), 2012, equation 16
    (the branching detector), on blocks.

    Args:
        values: What is followed.
        state: Where the last block ended.
        attack_ms: For rises.
        release_ms: For falls.
        sample_rate: In Hz.

    Returns:
        The smooth values and the state after them.
    """
    rise = math.exp(-1000.0 * BLOCK_SAMPLES / (attack_ms * sample_rate))
    fall = math.exp(-1000.0 * BLOCK_SAMPLES / (release_ms * sample_rate))
    made = []
    for value in values.tolist():
        pole = rise if value > state else fall
        state = value + pole * (state - value)
        made.append(state)
    return np.array(made), state


class BlockGain:
    """Applies a gain for each block of the signal, on straight lines between blocks.

    A block's gain is known when the block is complete, so the signal waits for it: `BLOCK_SAMPLES` late, and as many
    blocks later as the gains look ahead.
    """

    def __init__(self, gains: Callable[[Levels], Levels], channels: int, ahead_blocks: int = 0) -> None:
        """At the beginning of a signal.

        Args:
            gains: From the levels of the next blocks to gains; the first `ahead_blocks` gains that it ever gives are
                for the blocks before the signal.
            channels: Of the signal.
            ahead_blocks: How many blocks of levels it takes before it gives the gain of the first.
        """
        self._gains = gains
        self._followed = np.empty((1, 0), np.float32)
        self._signal = Delay(channels, BLOCK_SAMPLES * (1 + ahead_blocks))
        self._ready = np.empty(0, np.float32)
        self._last_gain: float | None = None
        self._skipped_blocks = ahead_blocks
        self._lead_samples = BLOCK_SAMPLES * (1 + ahead_blocks)

    def process(self, block: Samples, followed: Samples) -> Samples:
        """The signal, late and with its gains.

        Args:
            block: [channels, samples].
            followed: [channels, samples], whose peaks are the levels.
        """
        return self._signal.process(block) * self.gain(followed)

    def gain(self, followed: Samples) -> NDArray[np.float32]:
        """The gains alone, as late as the signal would be: float32 [samples]."""
        self._followed = np.concatenate(
            (self._followed, np.max(np.abs(followed), axis=0)[np.newaxis]), axis=1
        )
        whole = self._followed.shape[1] // BLOCK_SAMPLES
        if whole:
            used, self._followed = np.split(self._followed, [whole * BLOCK_SAMPLES], axis=1)
            # Blocks side by side, since numpy is slow at many short maxima.
            columns = np.ascontiguousarray(used.reshape(whole, BLOCK_SAMPLES).T)
            self._take(self._gains(columns.max(axis=0).astype(np.float64)))
        count = followed.shape[1]
        lead = min(count, self._lead_samples)
        self._lead_samples -= lead
        gain = np.concatenate((np.ones(lead, np.float32), self._ready[: count - lead]))
        self._ready = self._ready[count - lead :]
        return gain

    def _take(self, gains: Levels) -> None:
        skipped = min(self._skipped_blocks, gains.size)
        self._skipped_blocks -= skipped
        gains = gains[skipped:]
        if not gains.size:
            return
        before = np.concatenate(([gains[0] if self._last_gain is None else self._last_gain], gains[:-1]))
        self._last_gain = float(gains[-1])
        lines = (gains - before).astype(np.float32)[:, np.newaxis] * _SHARES
        lines += before.astype(np.float32)[:, np.newaxis]
        self._ready = np.concatenate((self._ready, lines.ravel()))


class Delay:
    """The same signal later."""

    def __init__(self, channels: int, samples: int) -> None:
        """With silence in it.

        Args:
            channels: Of the signal.
            samples: By how much.
        """
        self._kept = np.zeros((channels, samples), np.float32)

    def process(self, block: Samples) -> Samples:
        """A block as long, from before."""
        if not self._kept.shape[1]:
            return block
        joined = np.concatenate((self._kept, block), axis=1)
        late, self._kept = joined[:, : block.shape[1]], joined[:, block.shape[1] :]
        return late
