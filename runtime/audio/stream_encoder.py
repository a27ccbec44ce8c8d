"""Encoding of a live signal: bytes as soon as they are finished."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.audio.encoder import AudioEncoder
from voirs_vocoder.runtime.audio.encoders.backend import AudioTags
from voirs_vocoder.runtime.audio.formats import SampleFormat, format_named

__all__ = ["StreamEncoder"]


class StreamEncoder:
    """Encodes a live signal; each call returns the bytes that are finished. Not thread-safe.

    Example:
        encoder = StreamEncoder("opus", 22050)
        for chunk in chunks:
            send(encoder.encode(chunk.samples))
        send(encoder.finish())
    """

    def __init__(
        self,
        format_name: str,
        sample_rate: int,
        channels: int = 1,
        *,
        samples: SampleFormat | None = None,
        dither_seed: int | None = None,
        tags: AudioTags | None = None,
    ) -> None:
        """Begin a signal.

        Args:
            format_name: Name of the format, a key of `AUDIO_FORMATS`. A WAV header states an unknown length; MP4 is
                fragmented.
            sample_rate: Sample rate of the audio in Hz; audio at a rate that the format does not support is resampled,
                with a `ResampledWarning`.
            channels: Number of channels of the audio.
            samples: Bits per sample, or `float`; None uses the format's default.
            dither_seed: Seed of TPDF dither, for 16 or 24 bits; None adds no dither.
            tags: Tags to write into the output; None writes none. A streamed WAV has none.

        Raises:
            InputError: The format is unknown, does not support these samples or channels, or its library is not
                installed.
        """
        self._encoder = AudioEncoder(
            format_named(format_name),
            sample_rate,
            channels,
            samples=samples,
            dither_seed=dither_seed,
            tags=tags,
            where="stream",
        )
        self._spool = _Spool()
        self._encoder.open(self._spool, streamed=True)

    @property
    def file_rate(self) -> int:
        """Sample rate of the output in Hz."""
        return self._encoder.file_rate

    @property
    def saturated_samples(self) -> int:
        """Number of samples so far that were beyond [-1, 1] and were limited."""
        return self._encoder.saturated_samples

    def encode(self, samples: NDArray[np.float32]) -> bytes:
        """Encode the next samples.

        Args:
            samples: Float32 [channels, samples], or [samples] for one channel.

        Returns:
            The bytes that are finished, which may be none.

        Raises:
            InputError: The samples are not finite, or have another shape.
        """
        self._encoder.write(samples)
        return self._spool.drain()

    def finish(self) -> bytes:
        """End the signal; returns its remaining bytes."""
        self._encoder.finish()
        return self._spool.drain()


class _Spool:
    """Buffer between an encoder and the caller. Libraries seek back to complete headers; drained bytes stay."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._gone = 0
        self._position = 0

    def write(self, data: bytes) -> int:
        data = bytes(data)
        start = self._position - self._gone
        fresh = data[-start:] if start < 0 else data
        start = max(0, start)
        if fresh and self._position + len(data) > self._gone:
            self._kept[start : start + len(fresh)] = fresh
        self._position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._gone + len(self._kept)}[
            whence
        ]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def drain(self) -> bytes:
        data = bytes(self._kept)
        self._gone += len(data)
        self._kept.clear()
        return data
