"""The table of the formats that audio is written in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from voirs_vocoder.runtime.audio.pcm import BitDepth
from voirs_vocoder.runtime.errors import InputError

__all__ = ["AUDIO_FORMATS", "AudioFormat", "SampleFormat", "format_named", "format_of_file"]

SampleFormat = BitDepth | Literal["float"]
"""Bits of integer samples, or `float` for float32."""

_MPEG_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)


@dataclass(frozen=True)
class AudioFormat:
    """A format that audio is written in.

    Attributes:
        name: Name of the format, such as `flac`.
        endings: Endings of its files, such as `.flac`; the format is chosen by them.
        samples: Sample formats that it supports, the default first; empty for a lossy format.
        library: Library that writes it; `pcm` needs none.
        container: Name of the container in that library.
        codec: Name of a lossy format's codec in that library; empty for a lossless format.
        rates: Sample rates in Hz that it supports, in order; None supports every rate up to `highest_rate`.
        highest_rate: Highest sample rate in Hz where `rates` is None.
    """

    name: str
    endings: tuple[str, ...]
    samples: tuple[SampleFormat, ...]
    library: Literal["pcm", "soundfile", "av"]
    container: str
    codec: str = ""
    rates: tuple[int, ...] | None = None
    highest_rate: int = 655_350

    def rate_for(self, sample_rate: int) -> int:
        """Sample rate of a file in Hz: that of the audio if supported, else the next higher one, else the highest."""
        if self.rates is None:
            return min(sample_rate, self.highest_rate)
        higher = [rate for rate in self.rates if rate >= sample_rate]
        return higher[0] if higher else self.rates[-1]

    def checked_samples(self, samples: SampleFormat | None, where: str) -> SampleFormat | None:
        """Sample format of a file.

        Args:
            samples: Sample format that is wanted; None uses the format's default.
            where: Beginning of the error message, such as the path of the file.

        Returns:
            The sample format; None for a lossy format.

        Raises:
            InputError: The format does not support the sample format.
        """
        if samples is None:
            return self.samples[0] if self.samples else None
        if samples not in self.samples:
            allowed = (
                f"bits of {', '.join(map(str, self.samples))}" if self.samples else "no bits, it is lossy"
            )
            raise InputError(
                f"{where}: {self.name} takes {allowed}, got bits={samples}; choose among them or use wav"
            )
        return samples


_FORMATS = (
    AudioFormat("wav", (".wav",), (16, 24, 32, "float"), "soundfile", "WAV"),
    AudioFormat("pcm", (".pcm", ".raw"), (16, 24, 32, "float"), "pcm", "RAW"),
    AudioFormat("flac", (".flac",), (16, 24), "soundfile", "FLAC"),
    # Above 200 kHz libsndfile's Vorbis encoder crashes.
    AudioFormat("ogg", (".ogg",), (), "soundfile", "OGG", "VORBIS", highest_rate=192_000),
    AudioFormat("opus", (".opus",), (), "soundfile", "OGG", "OPUS", (8_000, 12_000, 16_000, 24_000, 48_000)),
    AudioFormat("mp3", (".mp3",), (), "soundfile", "MP3", "MPEG_LAYER_III", _MPEG_RATES),
    AudioFormat("m4a", (".m4a",), (), "av", "mp4", "aac", (*_MPEG_RATES, 64_000, 88_200, 96_000)),
)

AUDIO_FORMATS: dict[str, AudioFormat] = {each.name: each for each in _FORMATS}
"""Formats by their names."""


def format_named(name: str) -> AudioFormat:
    """Get a format by its name, a key of `AUDIO_FORMATS`.

    Raises:
        InputError: No format has this name.
    """
    if name not in AUDIO_FORMATS:
        raise InputError(f"unknown audio format {name!r}; known: {', '.join(AUDIO_FORMATS)}")
    return AUDIO_FORMATS[name]


def format_of_file(path: Path) -> AudioFormat:
    """Get the format of a file by the ending of its name.

    Raises:
        InputError: No format has this ending.
    """
    ending = path.suffix.lower()
    for each in _FORMATS:
        if ending in each.endings:
            return each
    known = ", ".join(ending for each in _FORMATS for ending in each.endings)
    raise InputError(f"{path}: cannot write {ending or 'a file without ending'}; use {known}")
