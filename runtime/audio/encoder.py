"""Encoding: float samples in, bytes of a format out, to a file or a stream."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.audio.encoders.av import AvBackend
from voirs_vocoder.runtime.audio.encoders.backend import AudioTags, Backend, ByteTarget
from voirs_vocoder.runtime.audio.encoders.pcm import PcmBackend, endless_wav_header
from voirs_vocoder.runtime.audio.encoders.soundfile import SoundfileBackend
from voirs_vocoder.runtime.audio.formats import AudioFormat, SampleFormat
from voirs_vocoder.runtime.audio.pcm import PcmQuantizer
from voirs_vocoder.runtime.audio.resample import BlockResampler
from voirs_vocoder.runtime.errors import InputError

__all__ = ["AudioEncoder", "ResampledWarning"]


class ResampledWarning(UserWarning):
    """A format does not support the audio's sample rate, so the audio is resampled."""


class AudioEncoder:
    """Encodes audio that comes in blocks.

    Attributes:
        format: Format of the output.
        file_rate: Sample rate of the output in Hz; it differs from that of the audio where the format does not support
            the latter.
    """

    def __init__(
        self,
        audio_format: AudioFormat,
        sample_rate: int,
        channels: int = 1,
        *,
        samples: SampleFormat | None = None,
        dither_seed: int | None = None,
        tags: AudioTags | None = None,
        where: str = "audio",
    ) -> None:
        """Check the arguments; nothing is written yet.

        Args:
            audio_format: Format of the output.
            sample_rate: Sample rate of the audio in Hz; audio at a rate that the format does not support is resampled,
                with a `ResampledWarning`.
            channels: Number of channels of the audio.
            samples: Bits per sample, or `float`; None uses the format's default.
            dither_seed: Seed of TPDF dither, for 16 or 24 bits; None adds no dither.
            tags: Tags to write into the output; None writes none.
            where: Beginning of error messages, such as the path of the file.

        Raises:
            InputError: The format does not support these samples, or dither was asked for without 16 or 24 bits.
        """
        self.format = audio_format
        self._where = where
        self._channels = channels
        self._samples = audio_format.checked_samples(samples, where)
        self._tags = tags or AudioTags()
        self.file_rate = audio_format.rate_for(sample_rate)
        bits = self._samples if isinstance(self._samples, int) else None
        if dither_seed is not None and bits not in (16, 24):
            raise InputError(
                f"{where}: dither needs 16 or 24 bits, got {self._samples or 'a lossy format'}; leave dither_seed out"
            )
        self._quantizer = None if bits is None else PcmQuantizer(bits, dither_seed)
        self._saturated = 0
        self._resamplers = (
            [BlockResampler(sample_rate, self.file_rate) for _ in range(channels)]
            if self.file_rate != sample_rate
            else []
        )
        if self._resamplers:
            warnings.warn(
                f"{where}: {audio_format.name} has no {sample_rate} Hz, written at {self.file_rate} Hz",
                ResampledWarning,
                stacklevel=3,
            )

    @property
    def saturated_samples(self) -> int:
        """Number of samples so far that were beyond [-1, 1] and were limited."""
        return self._saturated + (0 if self._quantizer is None else self._quantizer.saturated_samples)

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample of one channel, before any compression."""
        return self._samples // 8 if isinstance(self._samples, int) else 4

    def open(self, target: ByteTarget, *, streamed: bool) -> None:
        """Begin to write.

        Args:
            target: Target of the bytes.
            streamed: Whether bytes that were written cannot be changed any more.

        Raises:
            InputError: The format does not support this number of channels, or its library is not installed.
        """
        self._backend = self._backend_for(target, streamed)

    def write(self, samples: NDArray[np.float32]) -> None:
        """Encode the next samples.

        Args:
            samples: Float32 [channels, samples], or [samples] for one channel.

        Raises:
            InputError: The samples are not finite, or have another shape.
        """
        block = samples[np.newaxis] if samples.ndim == 1 else samples
        if block.ndim != 2 or block.shape[0] != self._channels:
            raise InputError(
                f"{self._where}: samples must be [{self._channels}, samples], got shape {samples.shape}; reshape them"
            )
        if not np.isfinite(block).all():
            raise InputError(f"{self._where}: audio must be finite, got NaN or infinity; check the mel")
        if self._resamplers:
            rows = [
                resampler.push(np.ascontiguousarray(row))
                for resampler, row in zip(self._resamplers, block, strict=True)
            ]
            block = np.stack(rows)
        self._encode(block)

    def finish(self) -> None:
        """Encode the remaining samples and end the output."""
        if self._resamplers:
            self._encode(np.stack([resampler.finish() for resampler in self._resamplers]))
        self._backend.close()

    def _encode(self, block: NDArray[np.float32]) -> None:
        if not block.shape[1]:
            return
        if self._quantizer is not None:
            self._backend.write(self._quantizer.quantize(block))
        elif self._samples == "float":
            self._backend.write(block)
        else:
            self._saturated += int(np.count_nonzero(np.abs(block) > 1))
            self._backend.write(np.clip(block, -1.0, 1.0))

    def _backend_for(self, target: ByteTarget, streamed: bool) -> Backend:
        kind = self.format.library
        if kind == "av":
            return AvBackend(
                target, self.format, self.file_rate, self._channels, self._tags, streamed, self._where
            )
        if kind == "pcm" or (streamed and self.format.name == "wav"):
            layout = (self.file_rate, self._channels, self._samples)
            return PcmBackend(target, self._samples, b"" if kind == "pcm" else endless_wav_header(*layout))
        return SoundfileBackend(
            target, self.format, self.file_rate, self._channels, self._samples, self._tags, self._where
        )
