"""Gaussian noise by position: the same seed gives the same audio however the input is split or batched."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.errors import InputError

__all__ = ["grouped_noise", "noise"]

_MAX_KEY = (1 << 64) - 1
_BLOCK = 4096
_MANTISSA_BITS = 53


def noise(seed: int, draw: int, start: int, count: int) -> NDArray[np.float32]:
    """Draw standard normal values of absolute positions.

    Block b = n // 4096 comes from the counter-based generator Philox 4x64-10 (J. Salmon et al., Parallel random
    numbers: as easy as 1, 2, 3, 2011) with key (seed, draw) and counter (0, 0, 0, b). Two neighboring words become two
    neighboring values by the transform of Box and Muller (1958), in float64.

    Args:
        seed: Seed of the utterance, in [0, 2^64).
        draw: Index of an independent sequence, in [0, 2^64): 0 is the noise that sampling starts from, k is the noise
            added after step k.
        start: First position, at least 0.
        count: Number of values, at least 0.

    Returns:
        Float32 [count].

    Raises:
        InputError: An argument is out of range.
    """
    if not 0 <= seed <= _MAX_KEY or not 0 <= draw <= _MAX_KEY:
        raise InputError(f"seed and draw must be in [0, 2^64), got {seed} and {draw}")
    if min(start, count) < 0:
        raise InputError(f"noise needs start and count of at least 0, got {start} and {count}")
    if count == 0:
        return np.empty(0, np.float32)
    first, last = start // _BLOCK, (start + count - 1) // _BLOCK
    blocks = [_block(seed, draw, number) for number in range(first, last + 1)]
    offset = start - first * _BLOCK
    return np.concatenate(blocks)[offset : offset + count]


def grouped_noise(seed: int, draw: int, first_group: int, groups: int, n_group: int) -> NDArray[np.float32]:
    """Draw noise for a flow, whose element [channel, t] is position t * n_group + channel.

    Args:
        seed: Seed of the utterance, in [0, 2^64).
        draw: Index of an independent sequence, in [0, 2^64).
        first_group: First group of positions, at least 0.
        groups: Number of groups, at least 0.
        n_group: Positions in a group.

    Returns:
        Float32 [n_group, groups], contiguous.

    Raises:
        InputError: An argument is out of range.
    """
    values = noise(seed, draw, first_group * n_group, groups * n_group)
    return np.ascontiguousarray(values.reshape(groups, n_group).T)


def _block(seed: int, draw: int, number: int) -> NDArray[np.float32]:
    # Lists would pass through float64 and lose the low bits of a large seed.
    key = np.array([seed, draw], np.uint64)
    generator = np.random.Philox(key=key, counter=np.array([0, 0, 0, number], np.uint64))
    words = generator.random_raw(_BLOCK) >> np.uint64(64 - _MANTISSA_BITS)
    uniform = words.astype(np.float64) * 2.0**-_MANTISSA_BITS
    # 1 - u is in (0, 1], whose logarithm is finite.
    radius = np.sqrt(-2.0 * np.log(1.0 - uniform[0::2]))
    angle = 2.0 * np.pi * uniform[1::2]
    values = np.empty(_BLOCK)
    values[0::2], values[1::2] = radius * np.cos(angle), radius * np.sin(angle)
    return values.astype(np.float32)
