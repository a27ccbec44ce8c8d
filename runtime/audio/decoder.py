"""Decoding by libsndfile, and what every decoder offers."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

import numpy as np
import soundfile
from numpy.typing import NDArray

from voirs_vocoder.runtime.audio.containers import Container
from voirs_vocoder.runtime.audio.foreign_output import mpg123_errors
from voirs_vocoder.runtime.content import HEAD_BYTES, content_remedy
from voirs_vocoder.runtime.errors import InputError

__all__ = ["Decoder", "RelayedFile", "SequentialSoundFile", "SndfileDecoder"]

_UNKNOWN_LENGTH = 2**63 - 1  # libsndfile's SF_COUNT_MAX, for streamed FLAC


class Decoder(Protocol):
    """A recording that is decoded from its beginning to its end.

    Attributes:
        sample_rate: Sample rate in Hz.
        channels: Number of channels.
        declared_samples: Number of samples per channel that the header declares; None where it declares none, or one
            that is not reliable.
        layout: Order of the channels of this format if there are more than two, a key of `mixing.LAYOUTS`; None where
            the format has no order of its own.
    """

    sample_rate: int
    channels: int
    declared_samples: int | None
    layout: str | None

    def decode(self, samples: int) -> tuple[NDArray[np.float32], str | None]:
        """Decode the next samples.

        Args:
            samples: Largest number of samples per channel.

        Returns:
            Float32 [channels, samples], fewer than wanted only at the end or before damage; and the reason why nothing
            behind them can be decoded, None at the end of the recording or before more samples.
        """
        ...

    def close(self) -> None:
        """Free the decoder; the file stays open."""
        ...


class SequentialSoundFile(soundfile.SoundFile):  # type: ignore[misc]  # soundfile is not checked
    """A sound file without seeking.

    soundfile otherwise seeks after every read and write to keep its position, which fails at the end of a FLAC stream
    of unknown length, and costs time.
    """

    def seekable(self) -> bool:
        """Whether soundfile may seek in the file: never."""
        return False


class RelayedFile:
    """A file that libsndfile reads or writes through Python, with the exceptions that it raises.

    libsndfile cannot pass on an exception, such as that of a full disk or a signal: it would be printed and forgotten.
    """

    def __init__(self, file: Any) -> None:
        """Wrap a file.

        Args:
            file: File in binary mode.
        """
        self._file = file
        self._error: BaseException | None = None

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer; returns how many bytes, 0 at the end and after an exception."""
        return self._kept(self._file.readinto, buffer)

    def write(self, data: bytes) -> int:
        """Write; returns how many bytes, 0 after an exception."""
        return self._kept(self._file.write, data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Change the position; returns it, or 0 after an exception."""
        return self._kept(self._file.seek, offset, whence)

    def tell(self) -> int:
        """Position, or 0 after an exception."""
        return self._kept(self._file.tell)

    @contextmanager
    def raised(self) -> Iterator[None]:
        """Context for calls of the library, which raises the first exception of the file instead of the library's.

        Raises:
            BaseException: The file raised it.
        """
        try:
            yield
        finally:
            if self._error is not None:
                raise self._error

    def _kept(self, function: Callable[..., int], *arguments: Any) -> int:
        try:
            return function(*arguments)
        except BaseException as error:
            if self._error is None:
                self._error = error
            return 0


class SndfileDecoder:
    """Decoder of WAV, FLAC, Ogg Vorbis, Opus, MP3 and the other formats of libsndfile."""

    def __init__(self, container: Container, head: bytes, where: str) -> None:
        """Read the header.

        Args:
            container: Container of the recording.
            head: First bytes of the file, for the error message.
            where: Beginning of the error message, such as the path of the file.

        Raises:
            InputError: The file is no audio that libsndfile reads.
        """
        file: Any = container.file
        self._relayed: Callable[[], AbstractContextManager[None]] = nullcontext
        if isinstance(file, io.BufferedReader):
            # A descriptor saves the calls back into Python, but takes no part in the reader's buffer.
            file = file.fileno()
            os.lseek(file, 0, os.SEEK_SET)
        else:
            file = RelayedFile(file)
            self._relayed = file.raised
        try:
            # Whether the file is MPEG audio is only known when libmpg123 has looked at it.
            with mpg123_errors(), self._relayed():
                self._sound = SequentialSoundFile(file, closefd=False)
        except (soundfile.SoundFileError, TypeError, ValueError) as error:
            raise InputError(f"{where}: {_refusal(error, container, head)}") from error
        self._is_mpeg = "MPEG" in self._sound.subtype
        self.sample_rate = int(self._sound.samplerate)
        self.channels = int(self._sound.channels)
        frames = int(self._sound.frames)
        known = frames != _UNKNOWN_LENGTH and self._sound.format != "MP3"
        self.declared_samples: int | None = frames if known else None
        self.layout: str | None = {"FLAC": "wav", "OGG": "vorbis"}.get(self._sound.format)
        self._decoded = 0

    def decode(self, samples: int) -> tuple[NDArray[np.float32], str | None]:
        """Decode the next samples, as `Decoder.decode` states."""
        buffer = np.empty((samples, self.channels), np.float32)
        reason = None
        try:
            with self._errors() as errors, self._relayed():
                count = len(self._sound.read(samples, out=buffer))
            if errors:
                # libmpg123 goes on, with noise or silence in the place of a damaged frame.
                return np.empty((self.channels, 0), np.float32), errors[0]
        except soundfile.LibsndfileError as error:
            # What was decoded before the damage is in the buffer.
            count = max(0, self._sound.tell() - self._decoded)
            reason = error.error_string.strip() or "libsndfile gives no reason"
        self._decoded += count
        return np.ascontiguousarray(buffer[:count].T), reason

    def close(self) -> None:
        """Free the decoder; the file stays open."""
        self._sound.close()

    def _errors(self) -> AbstractContextManager[list[str]]:
        return mpg123_errors() if self._is_mpeg else nullcontext([])


def _refusal(error: Exception, container: Container, head: bytes) -> str:
    remedy = content_remedy(head[:HEAD_BYTES])
    if remedy is not None:
        return f"not audio: {remedy}"
    if container.cut is not None:
        return f"cut off: {container.cut}; get the whole file"
    if head[:4] in (b"RIFF", b"RIFX", b"RF64") and not int.from_bytes(head[24:28], "little"):
        return "the header declares a rate of 0 Hz; write the file again with its sample rate"
    reason = getattr(error, "error_string", str(error)).strip().rstrip(".")
    return f"not audio that libsndfile reads ({reason}); give WAV, FLAC, OGG, Opus or MP3"
