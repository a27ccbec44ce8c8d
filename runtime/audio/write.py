"""Writing of recordings, whole or not at all: a temporary sibling first, a rename when every byte is on disk."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.audio.buffer import AudioBuffer
from voirs_vocoder.runtime.audio.encoder import AudioEncoder
from voirs_vocoder.runtime.audio.encoders.backend import AudioTags
from voirs_vocoder.runtime.audio.formats import SampleFormat, format_of_file
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.files import draft_path, remove_draft

__all__ = ["AudioWriter", "write_audio"]

_WAV_MAX_BYTES = 2**32 - 2**16  # the RIFF size field, less room for the header


class AudioWriter:
    """Writes a recording piece by piece. Use it as a context manager. Not thread-safe.

    The target appears, or is replaced, only when the block ends without an exception; otherwise nothing is left
    behind and an existing target stays as it was.

    Example:
        with AudioWriter("speech.flac", 22050, bits=24) as writer:
            for chunk in chunks:
                writer.write(chunk)
    """

    def __init__(
        self,
        path: Path | str,
        sample_rate: int,
        channels: int = 1,
        *,
        bits: SampleFormat | None = None,
        dither_seed: int | None = None,
        tags: AudioTags | None = None,
    ) -> None:
        """Check the arguments; no file is created yet.

        Args:
            path: Path of the file, which ends in .wav, .flac, .ogg (Vorbis), .opus, .mp3, .m4a (AAC; needs the extra
                `codecs`), or .pcm or .raw (little-endian, interleaved, no header).
            sample_rate: Sample rate of the audio in Hz; audio at a rate that the format does not support is resampled,
                with a `ResampledWarning`.
            channels: Number of channels of the audio.
            bits: Bits per sample: 16, 24, 32 or `float` (FLAC: 16 or 24). None uses 16, and is the only choice for
                lossy formats.
            dither_seed: Seed of TPDF dither, for 16 or 24 bits; None adds no dither.
            tags: Tags to write into the file; None writes none.

        Raises:
            InputError: The ending or bit depth cannot be written, or the target is no regular file.
        """
        self._path = Path(path)
        self._channels = channels
        audio_format = format_of_file(self._path)
        self._encoder = AudioEncoder(
            audio_format,
            sample_rate,
            channels,
            samples=bits,
            dither_seed=dither_seed,
            tags=tags,
            where=str(self._path),
        )
        self._data_bytes = 0
        try:
            occupied = self._path.exists() and not self._path.is_file()
        except OSError as error:
            raise self._failure(error) from error
        if occupied:
            raise InputError(f"{self._path}: output must be a regular file; give the path of one")

    @property
    def file_rate(self) -> int:
        """Sample rate of the file, in Hz."""
        return self._encoder.file_rate

    @property
    def saturated_samples(self) -> int:
        """Number of samples so far that were beyond [-1, 1] and were limited."""
        return self._encoder.saturated_samples

    def __enter__(self) -> Self:
        self._temporary = draft_path(self._path)
        try:
            self._file = _WholeWrites(self._temporary)
        except OSError as error:
            raise self._failure(error) from error
        try:
            self._encoder.open(self._file, streamed=False)
        except OSError as error:
            self._discard()
            raise self._failure(error) from error
        except BaseException:
            self._discard()
            raise
        return self

    def write(self, samples: NDArray[np.float32]) -> None:
        """Append samples.

        Args:
            samples: Float32 [channels, samples], or [samples] for one channel; limited to [-1, 1] unless written as
                `float`.

        Raises:
            InputError: The samples are not finite or have another shape, or the file cannot be written, as on a full
                disk.
        """
        self._data_bytes += samples.size * self._encoder.sample_bytes
        if self._encoder.format.name == "wav" and self._data_bytes > _WAV_MAX_BYTES:
            raise InputError(f"{self._path}: a WAV file cannot exceed 4 GiB; write .flac or .raw")
        try:
            self._encoder.write(samples)
        except (InputError, MemoryError):
            raise
        except Exception as error:  # libraries raise errors of their own when the disk is full
            raise self._failure(error) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            # Ended first: collected later, it would write to a file that is no longer open.
            try:
                with suppress(Exception):
                    self._encoder.finish()
            finally:
                self._discard()
            return
        try:
            self._encoder.finish()
            self._file.close_synced()
            self._temporary.replace(self._path)
            remove_draft(self._temporary)
        except (InputError, MemoryError):
            self._discard()
            raise
        except Exception as failure:  # as in `write`
            self._discard()
            raise self._failure(failure) from failure
        except BaseException:
            self._discard()
            raise

    def _failure(self, error: BaseException) -> InputError:
        cause = error.strerror if isinstance(error, OSError) else str(error)
        return InputError(f"{self._path}: cannot be written: {cause}; free space or choose another path")

    def _discard(self) -> None:
        self._file.close()
        remove_draft(self._temporary)


class _WholeWrites:
    """The file that encoders write to: unbuffered, so that a full disk is seen at once, but never written in part."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb", buffering=0)

    def write(self, data: bytes) -> int:
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close_synced(self) -> None:
        os.fsync(self._file.fileno())
        self._file.close()

    def close(self) -> None:
        self._file.close()


def write_audio(
    path: Path | str,
    audio: AudioBuffer,
    bits: SampleFormat | None = None,
    *,
    dither_seed: int | None = None,
    tags: AudioTags | None = None,
) -> int:
    """Write a whole recording; on an error nothing is left behind and an existing file stays unchanged.

    Args:
        path: Path of the file, whose ending selects the format, as in `AudioWriter`.
        audio: The recording.
        bits: Bits per sample: 16, 24, 32 or `float`; None uses 16, and is the only choice for lossy formats.
        dither_seed: Seed of TPDF dither, for 16 or 24 bits; None adds no dither.
        tags: Tags to write into the file; None writes none.

    Returns:
        Number of samples that were beyond [-1, 1] and were limited.

    Raises:
        InputError: The ending, bit depth or samples cannot be written, or the target is no regular file or cannot be
            written, as on a full disk.
    """
    with AudioWriter(
        path, audio.sample_rate, audio.channels, bits=bits, dither_seed=dither_seed, tags=tags
    ) as writer:
        writer.write(audio.samples)
    return writer.saturated_samples
