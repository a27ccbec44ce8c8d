"""Playback on this machine's default output, through sounddevice (PortAudio)."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.errors import ProviderError
from voirs_vocoder.runtime.optional import import_optional

__all__ = ["Player"]


class Player:
    """Plays pieces of audio one after the other. Use it as a context manager.

    Args:
        sample_rate: Sample rate of the audio in Hz.
        channels: Number of channels of the audio.

    Raises:
        ProviderError: sounddevice is not installed, or no output plays this number of channels at this rate.
    """

    def __init__(self, sample_rate: int, channels: int = 1) -> None:
        """Open the output; nothing is played yet."""
        sounddevice = import_optional(
            "sounddevice",
            purpose="playing",
            package="sounddevice and PortAudio",
            extra="play",
            hint=" (on Linux also the package libportaudio2), or write to a file",
        )
        try:
            self._stream: Any = sounddevice.OutputStream(
                samplerate=sample_rate, channels=channels, dtype="float32"
            )
        except sounddevice.PortAudioError as error:
            raise ProviderError(
                f"no audio output plays {channels} channels at {sample_rate} Hz ({error}); write to a file"
            ) from error

    def write(self, samples: NDArray[np.float32]) -> None:
        """Play float32 [channels, samples], limited to [-1, 1]; waits until the output's buffer has room for them."""
        self._stream.write(np.ascontiguousarray(np.clip(samples.T, -1.0, 1.0)))

    def __enter__(self) -> Self:
        self._stream.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # stop() waits until everything written has been played, abort() does not.
        if kind is None:
            self._stream.stop()
        else:
            self._stream.abort()
        self._stream.close()
