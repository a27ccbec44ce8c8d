"""Uncompressed samples: raw PCM, and WAV of unknown length."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.audio.encoders.backend import ByteTarget
from voirs_vocoder.runtime.audio.formats import SampleFormat
from voirs_vocoder.runtime.audio.pcm import packed

__all__ = ["PcmBackend", "endless_wav_header"]

_UNKNOWN_SIZE = 0xFFFFFFFF


class PcmBackend:
    """The backend for uncompressed samples, with or without a header before them."""

    def __init__(self, target: ByteTarget, samples: SampleFormat | None, header: bytes) -> None:
        """Write the header, which may be empty."""
        self._target = target
        self._samples = samples
        if header:
            target.write(header)

    def write(self, values: NDArray[np.int32] | NDArray[np.float32]) -> None:
        """Write the next [channels, samples]: int32 in the range of the sample format, or float32."""
        if self._samples in (16, 24, 32):
            self._target.write(packed(values.astype(np.int32, copy=False), self._samples))
        else:
            self._target.write(np.ascontiguousarray(values.T).astype("<f4").tobytes())

    def close(self) -> None:
        """Do nothing: every sample is written already."""


def endless_wav_header(rate: int, channels: int, samples: SampleFormat | None) -> bytes:
    """A WAV header with the sizes that players interpret as unknown length.

    Args:
        rate: Sample rate in Hz.
        channels: Number of channels.
        samples: Sample format; None is 16 bits.
    """
    code, bits = (3, 32) if samples == "float" else (1, samples or 16)
    width = channels * int(bits) // 8
    chunk = struct.pack("<HHIIHH", code, channels, rate, rate * width, width, int(bits))
    return (
        struct.pack("<4sI4s4sI", b"RIFF", _UNKNOWN_SIZE, b"WAVE", b"fmt ", len(chunk))
        + chunk
        + struct.pack("<4sI", b"data", _UNKNOWN_SIZE)
    )
