"""Another sample rate, by soxr."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import soxr
from numpy.typing import NDArray

from voirs_vocoder.runtime.audio.buffer import array_blocks

__all__ = ["resample", "resampled_blocks", "resampled_length"]


def resampled_blocks(
    blocks: Iterable[NDArray[np.float32]], from_rate: int, to_rate: int
) -> Iterator[NDArray[np.float32]]:
    """Change the rate of mono audio that arrives in blocks (soxr, VHQ).

    Args:
        blocks: Consecutive [samples] of any length.
        from_rate: Their rate in Hz.
        to_rate: The rate wanted, in Hz.

    Yields:
        Consecutive [samples], together `resampled_length` of them, the same for any blocks.
    """
    if from_rate == to_rate:
        yield from blocks
        return
    stream = soxr.ResampleStream(from_rate, to_rate, 1, dtype="float32", quality="VHQ")
    for block in blocks:
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.empty(0, np.float32), last=True)


def resampled_length(samples: int, from_rate: int, to_rate: int) -> int:
    """How many samples `resampled_blocks` gives: rounded to nearest, halves up, as soxr does."""
    return (2 * samples * to_rate + from_rate) // (2 * from_rate)


def resample(samples: NDArray[np.float32], from_rate: int, to_rate: int) -> NDArray[np.float32]:
    """Change the rate of mono audio [samples] in memory."""
    blocks = (block[0] for block in array_blocks(samples[np.newaxis]))
    return np.concatenate([np.empty(0, np.float32), *resampled_blocks(blocks, from_rate, to_rate)])
