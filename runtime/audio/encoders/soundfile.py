"""Encoding by libsndfile: WAV, FLAC, Ogg Vorbis, Opus, MP3."""

from __future__ import annotations

import numpy as np
import soundfile
from numpy.typing import NDArray

from voirs_vocoder.runtime.audio.decoder import RelayedFile, SequentialSoundFile
from voirs_vocoder.runtime.audio.encoders.backend import AudioTags, ByteTarget
from voirs_vocoder.runtime.audio.formats import AudioFormat, SampleFormat
from voirs_vocoder.runtime.errors import InputError

__all__ = ["SoundfileBackend"]

_INT_BITS = 32
_BLOCK_SAMPLES = 1 << 16


class SoundfileBackend:
    """The backend for the formats of libsndfile."""

    def __init__(
        self,
        target: ByteTarget,
        audio_format: AudioFormat,
        rate: int,
        channels: int,
        samples: SampleFormat | None,
        tags: AudioTags,
        where: str,
    ) -> None:
        """Write the header.

        Raises:
            InputError: libsndfile refuses the sample rate or the number of channels.
        """
        self._samples = samples
        self._where = where
        written = "FLOAT" if samples == "float" else f"PCM_{samples}"
        subtype = audio_format.codec if samples is None else written
        file = RelayedFile(target)
        self._relayed = file.raised
        try:
            with self._relayed():
                self._sound = SequentialSoundFile(
                    file,
                    "w",
                    samplerate=rate,
                    channels=channels,
                    format=audio_format.container,
                    subtype=subtype,
                )
        except (soundfile.SoundFileError, ValueError) as error:
            raise InputError(
                f"{where}: {audio_format.name} cannot hold {channels} channels at {rate} Hz ({error}); "
                "choose another format"
            ) from error
        for name in ("title", "artist", "comment", "software"):
            text = getattr(tags, name)
            if text:
                setattr(self._sound, name, text)

    def write(self, values: NDArray[np.int32] | NDArray[np.float32]) -> None:
        """Encode the next [channels, samples]: int32 in the range of the sample format, or float32 in [-1, 1]."""
        # libsndfile's own conversion of floats does not round to nearest. It takes integers at the top of 32 bits.
        if self._samples in (16, 24, 32):
            values = np.left_shift(values, _INT_BITS - int(self._samples))
        # libsndfile's Vorbis encoder uses stack in proportion to the samples of one call.
        for start in range(0, values.shape[1], _BLOCK_SAMPLES):
            with self._relayed():
                self._sound.write(np.ascontiguousarray(values[:, start : start + _BLOCK_SAMPLES].T))

    def close(self) -> None:
        """Encode the remaining samples and complete the header."""
        with self._relayed():
            self._sound.close()
