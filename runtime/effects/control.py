"""Gains that follow a level, on a fixed grid of blocks, so that the result does not depend on how the signal is cut."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.effects.effect import Samples

__all__ = ["BLOCK_SAMPLES", "BlockGain", "Delay", "Levels", "smoothed", "to_db", "to_gain"]

BLOCK_SAMPLES = 32
"""Samples per level and gain: 1.5 ms at 22,050 Hz."""

_FLOOR = 1e-10
_SHARES = np.arange(1, BLOCK_SAMPLES + 1, dtype=np.float32) / np.float32(BLOCK_SAMPLES)

Levels = NDArray[np.float64]
"""Levels or gains, one for each block: float64 [blocks]."""


def to_db(level: Levels) -> Levels:
    """Convert amplitudes to dB relative to 1; at least -200."""
    return 20.0 * np.log10(np.maximum(level, _FLOOR))


def to_gain(level_db: Levels) -> Levels:
    """Convert levels in dB relative to 1 to amplitudes."""
    return 10.0 ** (level_db / 20.0)


def smoothed(
    values: Levels, state: float, attack_ms: float, release_ms: float, sample_rate: int
) -> tuple[Levels, float]:
    """Smooth levels with one pole that covers 1 - 1/e of a rise in `attack_ms` and of a fall in `release_ms`.

    D. Giannoulis, M. Massberg and J. Reiss, Digital dynamic range compressor design, JAES 60(6), 2012, equation 16
    (the branching detector), on blocks.

    Args:
        values: Levels of the next blocks, float64 [blocks].
        state: Smoothed value of the block before them.
        attack_ms: Time constant of rises in ms.
        release_ms: Time constant of falls in ms.
        sample_rate: Sample rate of the signal in Hz.

    Returns:
        The smoothed values, float64 [blocks], and the last of them.
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
    """Applies one gain for each block of the signal, with straight lines between the gains.

    The gain of a block is known when the block is complete, so the output is late by `BLOCK_SAMPLES`, and by the number
    of blocks that the gains look ahead.
    """

    def __init__(self, gains: Callable[[Levels], Levels], channels: int, ahead_blocks: int = 0) -> None:
        """Begin a signal.

        Args:
            gains: Function from the levels of the next blocks to as many gains; the first `ahead_blocks` gains belong
                to blocks before the signal.
            channels: Number of channels of the signal.
            ahead_blocks: Number of blocks by which a gain follows the level of its block.
        """
        self._gains = gains
        self._followed = np.empty((1, 0), np.float32)
        self._signal = Delay(channels, BLOCK_SAMPLES * (1 + ahead_blocks))
        self._ready = np.empty(0, np.float32)
        self._last_gain: float | None = None
        self._skipped_blocks = ahead_blocks
        self._lead_samples = BLOCK_SAMPLES * (1 + ahead_blocks)

    def process(self, block: Samples, followed: Samples) -> Samples:
        """Delay the next samples and apply their gains.

        Args:
            block: Samples of the signal, float32 [channels, samples].
            followed: Float32 [channels, samples], whose peaks in each block are the levels.

        Returns:
            Float32 [channels, samples], as many samples as went in.
        """
        return self._signal.process(block) * self.gain(followed)

    def gain(self, followed: Samples) -> NDArray[np.float32]:
        """Gains of the next samples, with the latency of `process`.

        Args:
            followed: Float32 [channels, samples], whose peaks in each block are the levels.

        Returns:
            Float32 [samples], one gain for each sample that went in.
        """
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
    """Delays a signal."""

    def __init__(self, channels: int, samples: int) -> None:
        """Begin a signal; silence comes before it.

        Args:
            channels: Number of channels of the signal.
            samples: Delay in samples.
        """
        self._kept = np.zeros((channels, samples), np.float32)

    def process(self, block: Samples) -> Samples:
        """Delay the next samples, float32 [channels, samples]; returns as many as went in."""
        if not self._kept.shape[1]:
            return block
        joined = np.concatenate((self._kept, block), axis=1)
        late, self._kept = joined[:, : block.shape[1]], joined[:, block.shape[1] :]
        return late
