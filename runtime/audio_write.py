"""Writing recordings, all or nothing: a temporary sibling first, a rename when every byte is on disk."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import soundfile
from numpy.typing import NDArray

from voirs_vocoder.runtime.audio import AudioBuffer, SequentialSoundFile, array_blocks
from voirs_vocoder.runtime.errors import InputError

__all__ = ["AudioWriter", "write_audio"]

# Ending -> libsndfile's format and the bit depths that it can hold; none for the lossy ones.
_FORMATS: dict[str, tuple[str, tuple[int, ...]]] = {
    ".wav": ("WAV", (16, 24, 32)),
    ".flac": ("FLAC", (16, 24)),
    ".ogg": ("OGG", ()),
    ".mp3": ("MP3", ()),
    ".pcm": ("RAW", (16, 24, 32)),
    ".raw": ("RAW", (16, 24, 32)),
}
_LOSSY_SUBTYPES = {"OGG": "VORBIS", "MP3": "MPEG_LAYER_III"}
_DEFAULT_BITS = 16
_WAV_MAX_BYTES = 2**32 - 2**16  # the RIFF size field, less room for the header


class AudioWriter:
    """Writes a recording piece by piece. Use it as a context manager.

    The target appears, or is replaced, only when the block ends without an exception; otherwise nothing is left
    behind and an existing target stays as it was.

    Attributes:
        saturated_samples: How many samples so far were beyond [-1, 1] and were clipped to it.

    Example:
        with AudioWriter("speech.flac", 22050, bits=24) as writer:
            for chunk in chunks:
                writer.write(chunk)
    """

    def __init__(
        self, path: Path | str, sample_rate: int, channels: int = 1, *, bits: int | None = None
    ) -> None:
        """Check what is asked for; nothing is created yet.

        Args:
            path: Ends in .wav, .flac, .ogg (Vorbis), .mp3, or .pcm or .raw (little-endian, interleaved, no header).
            sample_rate: In Hz.
            channels: Number of channels.
            bits: 16, 24 or 32 (FLAC: 16 or 24); None takes 16, and is the only choice for OGG and MP3.

        Raises:
            InputError: The ending or bit depth cannot be written, or the target is no regular file.
        """
        self._path = Path(path)
        self._sample_rate = sample_rate
        self._channels = channels
        self._format, self._subtype = _format_of(self._path, bits)
        self._sample_bytes = (bits or _DEFAULT_BITS) // 8
        self._data_bytes = 0
        self.saturated_samples = 0
        try:
            occupied = self._path.exists() and not self._path.is_file()
        except OSError as error:
            raise self._failure(error) from error
        if occupied:
            raise InputError(f"{self._path}: output must be a regular file; give the path of one")

    def __enter__(self) -> Self:
        self._temporary = self._path.with_name(f".voirs-{secrets.token_hex(8)}.part")
        try:
            self._file = _RecordingFile(self._temporary)
        except OSError as error:
            raise self._failure(error) from error
        try:
            self._sound = SequentialSoundFile(
                self._file,
                "w",
                samplerate=self._sample_rate,
                channels=self._channels,
                format=self._format,
                subtype=self._subtype,
                endian="LITTLE" if self._format == "RAW" else None,
            )
        except (soundfile.SoundFileError, ValueError) as error:
            self._discard()
            self._raise_recorded()
            raise InputError(
                f"{self._path}: {self._format} cannot hold {self._channels} channels at {self._sample_rate} Hz "
                f"({error}); choose another format"
            ) from error
        return self

    def write(self, samples: NDArray[np.float32]) -> None:
        """Append samples.

        Args:
            samples: Float32 [channels, samples], or [samples] for one channel; clipped to [-1, 1].

        Raises:
            InputError: The samples are not finite or have another shape, or the file cannot be written, as on a full
                disk.
        """
        block = samples[np.newaxis] if samples.ndim == 1 else samples
        if block.ndim != 2 or block.shape[0] != self._channels:
            raise InputError(
                f"{self._path}: samples must be [{self._channels}, samples], got shape {samples.shape}; reshape them"
            )
        if not np.isfinite(block).all():
            raise InputError(f"{self._path}: audio must be finite, got NaN or infinity; check the mel")
        self._data_bytes += block.size * self._sample_bytes
        if self._format == "WAV" and self._data_bytes > _WAV_MAX_BYTES:
            raise InputError(f"{self._path}: a WAV file cannot exceed 4 GiB; write .flac or .raw")
        self.saturated_samples += int(np.count_nonzero(np.abs(block) > 1))
        # libsndfile's Vorbis encoder needs stack in proportion to what it is given at once.
        for part in array_blocks(block):
            try:
                self._sound.write(np.clip(part.T, -1, 1).astype(np.float32))
            except (soundfile.SoundFileError, AssertionError) as error:
                raise self._failure(self._file.error or error) from error
            self._raise_recorded()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            # Closed first: collected later, it would write to a file that is no longer open.
            with suppress(soundfile.SoundFileError):
                self._sound.close()
            self._discard()
            return
        try:
            self._sound.close()
            self._raise_recorded()
            self._file.close_synced()
            self._temporary.replace(self._path)
        except (soundfile.SoundFileError, OSError) as failure:
            self._discard()
            raise self._failure(failure) from failure
        except BaseException:
            self._discard()
            raise

    def _raise_recorded(self) -> None:
        if self._file.error is not None:
            raise self._failure(self._file.error) from self._file.error

    def _failure(self, error: BaseException) -> InputError:
        cause = error.strerror if isinstance(error, OSError) else str(error)
        return InputError(f"{self._path}: cannot be written: {cause}; free space or choose another path")

    def _discard(self) -> None:
        self._file.close()
        self._temporary.unlink(missing_ok=True)


class _RecordingFile:
    """The file that libsndfile writes to, which keeps the error that libsndfile would hide.

    An exception in one of soundfile's callbacks is printed and forgotten, and a failed write at close goes unnoticed.
    """

    def __init__(self, path: Path) -> None:
        self.error: OSError | None = None
        self._file = path.open("xb", buffering=0)

    def write(self, data: bytes) -> int:
        view = memoryview(data)
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            self.error = error
            return 0
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


def write_audio(path: Path | str, audio: AudioBuffer, bits: int | None = None) -> int:
    """Write a whole recording.

    Args:
        path: As in `AudioWriter`.
        audio: What to write.
        bits: As in `AudioWriter`.

    Returns:
        How many samples were beyond [-1, 1] and were clipped.

    Raises:
        InputError: As `AudioWriter`.
    """
    with AudioWriter(path, audio.sample_rate, audio.channels, bits=bits) as writer:
        writer.write(audio.samples)
    return writer.saturated_samples


def _format_of(path: Path, bits: int | None) -> tuple[str, str]:
    ending = path.suffix.lower()
    if ending not in _FORMATS:
        raise InputError(
            f"{path}: cannot write {ending or 'a file without ending'}; use {', '.join(_FORMATS)}"
        )
    name, depths = _FORMATS[ending]
    if bits is not None and bits not in depths:
        allowed = f"{', '.join(map(str, depths))} bits" if depths else "no bit depth"
        raise InputError(f"{path}: {ending} takes {allowed}, got {bits}; choose among them or use .wav")
    return name, _LOSSY_SUBTYPES.get(name, f"PCM_{bits or _DEFAULT_BITS}")
