"""Audio in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.errors import InputError

__all__ = ["AudioBuffer", "array_blocks", "check_format", "mono"]

_MAX_CHANNELS = 64
_SAMPLE_RATES = range(1_000, 768_001)
_BLOCK_SAMPLES = 1 << 16


@dataclass(frozen=True, eq=False)
class AudioBuffer:
    """Audio in memory.

    Attributes:
        samples: Float32 [channels, samples], nominally in [-1, 1] and not clipped.
        sample_rate: Sample rate in Hz, 1,000 to 768,000.

    Raises:
        InputError: The samples have another type or shape, there are no channels or more than 64, or the sample rate
            is out of range.
    """

    samples: NDArray[np.float32]
    sample_rate: int

    def __post_init__(self) -> None:
        """Check type, shape and rate."""
        kind = getattr(self.samples, "dtype", type(self.samples).__name__)
        if kind != np.float32:
            raise InputError(f"audio must be a float32 array, got {kind}; convert with .astype(np.float32)")
        if self.samples.ndim != 2:
            raise InputError(f"audio must be [channels, samples], got shape {self.samples.shape}; reshape it")
        check_format(self.channels, self.sample_rate, "audio")

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(self.samples.shape[0])

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return float(self.samples.shape[1]) / self.sample_rate


def array_blocks(samples: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Cut [channels, samples] into views of at most 65,536 samples."""
    for start in range(0, samples.shape[1], _BLOCK_SAMPLES):
        yield samples[:, start : start + _BLOCK_SAMPLES]


def mono(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean of the channels: float32 [channels, samples] -> [samples]."""
    mean: NDArray[np.float32] = samples.mean(axis=0, dtype=np.float32)
    return mean


def check_format(channels: int, sample_rate: int, where: str) -> None:
    """Refuse a number of channels or a sample rate that no audio has.

    Args:
        channels: Number of channels, 1 to 64.
        sample_rate: Sample rate in Hz, 1,000 to 768,000.
        where: Beginning of the error message, such as the path of a file.

    Raises:
        InputError: The number of channels or the sample rate is out of range.
    """
    if not 1 <= channels <= _MAX_CHANNELS:
        raise InputError(
            f"{where}: audio must have 1 to {_MAX_CHANNELS} channels, got {channels}; mix it down"
        )
    if sample_rate not in _SAMPLE_RATES:
        low, high = _SAMPLE_RATES[0], _SAMPLE_RATES[-1]
        raise InputError(
            f"{where}: the rate must be {low} to {high} Hz, got {sample_rate}; resample the audio"
        )
