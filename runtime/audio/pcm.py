"""Integer samples: rounding, saturation, dither, packing."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.errors import InputError

__all__ = ["BitDepth", "PcmQuantizer", "float_from_pcm", "packed", "pcm_from_float", "unpacked"]

BitDepth = Literal[16, 24, 32]
_DEPTHS = (16, 24, 32)


class PcmQuantizer:
    """Converts float samples that come in blocks to integers.

    round(x 2^(bits-1)), halves to the even number, limited to [-2^(bits-1), 2^(bits-1) - 1]. With dither, triangular
    noise of two steps' width is added before rounding, which makes the error noise that does not depend on the signal
    (S. Lipshitz, R. Wannamaker and J. Vanderkooy, Quantization and dither, JAES 40(5), 1992). It is drawn sample by
    sample, so the result does not depend on the blocks.

    Attributes:
        bits: Bits of an integer: 16, 24 or 32.
        saturated_samples: Number of samples so far that were beyond [-1, 1] and were limited.
    """

    def __init__(self, bits: BitDepth, dither_seed: int | None = None) -> None:
        """Begin a signal.

        Args:
            bits: Bits of an integer: 16, 24 or 32.
            dither_seed: Seed of the dither, not negative; None adds no dither.

        Raises:
            InputError: An argument is out of range.
        """
        _require_depth(bits)
        if dither_seed is not None and dither_seed < 0:
            raise InputError(f"dither_seed must not be negative, got {dither_seed}")
        self.bits = bits
        self.saturated_samples = 0
        self._random = None if dither_seed is None else np.random.default_rng(dither_seed)

    def quantize(self, samples: NDArray[np.float32]) -> NDArray[np.int32]:
        """Convert the next samples.

        Args:
            samples: Float32 [channels, samples], finite.

        Returns:
            Int32 [channels, samples] in the range of `bits` bits.
        """
        self.saturated_samples += int(np.count_nonzero(np.abs(samples) > 1))
        full_scale = 2.0 ** (self.bits - 1)
        scaled = samples.astype(np.float64) * full_scale
        if self._random is not None:
            channels, count = samples.shape
            draws = self._random.random((count, channels, 2))
            scaled += (draws[..., 0] - draws[..., 1]).T
        limited = np.clip(np.rint(scaled), -full_scale, full_scale - 1)
        whole: NDArray[np.int32] = limited.astype(np.int32)
        return whole


def pcm_from_float(
    samples: NDArray[np.float32], bits: BitDepth, dither_seed: int | None = None
) -> NDArray[np.int32]:
    """Convert a whole signal to integers, as `PcmQuantizer` does.

    Args:
        samples: Float32 [channels, samples], finite.
        bits: Bits of an integer: 16, 24 or 32.
        dither_seed: Seed of TPDF dither, not negative; None adds no dither.

    Returns:
        Int32 [channels, samples] in the range of `bits` bits.

    Raises:
        InputError: An argument is out of range.
    """
    return PcmQuantizer(bits, dither_seed).quantize(samples)


def float_from_pcm(values: NDArray[np.integer], bits: BitDepth) -> NDArray[np.float32]:
    """Convert integers to float samples: x / 2^(bits-1), exact for 16 and 24 bits.

    Args:
        values: Integers of any shape, in the range of `bits` bits.
        bits: Bits of an integer: 16, 24 or 32.

    Returns:
        Float32 of the same shape, in [-1, 1].

    Raises:
        InputError: `bits` is out of range.
    """
    _require_depth(bits)
    samples: NDArray[np.float32] = (values / 2.0 ** (bits - 1)).astype(np.float32)
    return samples


def packed(values: NDArray[np.int32], bits: BitDepth) -> bytes:
    """Pack integers as raw PCM: little-endian, channels interleaved, 24 bits in three bytes.

    Args:
        values: Int32 [channels, samples] in the range of `bits` bits.
        bits: Bits of an integer: 16, 24 or 32.

    Returns:
        Raw PCM.

    Raises:
        InputError: `bits` is out of range.
    """
    _require_depth(bits)
    interleaved = np.ascontiguousarray(values.T)
    if bits == 16:
        return interleaved.astype("<i2").tobytes()
    if bits == 32:
        return interleaved.astype("<i4").tobytes()
    return interleaved.astype("<i4").reshape(-1, 1).view(np.uint8)[:, :3].tobytes()


def unpacked(data: bytes, bits: BitDepth, channels: int = 1) -> NDArray[np.int32]:
    """Unpack raw PCM to integers; the inverse of `packed`.

    Args:
        data: Raw PCM: whole samples of all channels.
        bits: Bits of an integer: 16, 24 or 32.
        channels: Number of interleaved channels.

    Returns:
        Int32 [channels, samples].

    Raises:
        InputError: The data ends within a sample, or `bits` is out of range.
    """
    _require_depth(bits)
    width = bits // 8
    if len(data) % (width * channels):
        raise InputError(
            f"raw PCM of {bits} bits and {channels} channels comes in units of {width * channels} bytes, got "
            f"{len(data)}; give whole samples"
        )
    raw = np.frombuffer(data, np.uint8).reshape(-1, width)
    # The bytes fill the top of 32 bits; an arithmetic shift down extends the sign.
    wide = np.zeros((len(raw), 4), np.uint8)
    wide[:, 4 - width :] = raw
    values = wide.view("<i4")[:, 0] >> (32 - bits)
    return values.reshape(-1, channels).T.astype(np.int32)


def _require_depth(bits: int) -> None:
    if bits not in _DEPTHS:
        raise InputError(f"bits must be {', '.join(map(str, _DEPTHS))}, got {bits}")
