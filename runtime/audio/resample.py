"""Conversion of the sample rate, by soxr."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import soxr
from numpy.typing import NDArray

from voirs_vocoder.runtime.audio.buffer import array_blocks

__all__ = ["BlockResampler", "resample", "resampled_blocks", "resampled_length"]


class BlockResampler:
    """Resamples mono audio that comes in blocks (soxr, VHQ); the result does not depend on the blocks."""

    def __init__(self, from_rate: int, to_rate: int) -> None:
        """Begin a signal.

        Args:
            from_rate: Sample rate of the input in Hz.
            to_rate: Sample rate of the output in Hz; that of the input changes nothing.
        """
        self._stream = (
            None
            if from_rate == to_rate
            else soxr.ResampleStream(from_rate, to_rate, 1, dtype="float32", quality="VHQ")
        )

    def push(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Resample the next samples, float32 [samples]; returns those that are finished, [samples]."""
        if self._stream is None:
            return block
        ready: NDArray[np.float32] = self._stream.resample_chunk(block)
        return ready

    def finish(self) -> NDArray[np.float32]:
        """End the signal; returns its remaining samples, float32 [samples]."""
        rest: NDArray[np.float32] = np.empty(0, np.float32)
        if self._stream is not None:
            rest = self._stream.resample_chunk(rest, last=True)
        return rest


def resampled_blocks(
    blocks: Iterable[NDArray[np.float32]], from_rate: int, to_rate: int
) -> Iterator[NDArray[np.float32]]:
    """Resample mono audio that arrives in blocks (soxr, VHQ).

    Args:
        blocks: Consecutive blocks, float32 [samples], of any length.
        from_rate: Sample rate of the blocks in Hz.
        to_rate: Sample rate of the result in Hz.

    Yields:
        Consecutive blocks, float32 [samples], with `resampled_length` samples in all. Their values do not depend on how
        the input was cut.
    """
    if from_rate == to_rate:
        yield from blocks
        return
    resampler = BlockResampler(from_rate, to_rate)
    for block in blocks:
        yield resampler.push(block)
    yield resampler.finish()


def resampled_length(samples: int, from_rate: int, to_rate: int) -> int:
    """Number of samples that `resampled_blocks` gives for `samples` samples at `from_rate` Hz."""
    # soxr rounds to the nearest integer in float64, with this ratio; at some rates an exact half falls below it.
    return int(samples / (from_rate / to_rate) + 0.5)


def resample(samples: NDArray[np.float32], from_rate: int, to_rate: int) -> NDArray[np.float32]:
    """Resample mono audio in memory (soxr, VHQ): float32 [samples] -> float32 [samples]. Rates are in Hz."""
    blocks = (block[0] for block in array_blocks(samples[np.newaxis]))
    return np.concatenate([np.empty(0, np.float32), *resampled_blocks(blocks, from_rate, to_rate)])
