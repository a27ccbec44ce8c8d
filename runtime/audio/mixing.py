"""Recordings of several channels as mono: by the speakers of the channels where they are known, or one channel."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.audio.buffer import mono
from voirs_vocoder.runtime.errors import InputError

__all__ = ["LAYOUTS", "MonoMixer", "RecordingWarning", "speakers_of"]

# Gains of a mono sum: ITU-R BS.775-4, annex 4, table 2 (3/2 to 1/0): the center, where speech is, keeps its level, the
# low-frequency effects are left out. A single rear channel has the gain of a front one, as in the row of 3/1.
_SIDE = math.sqrt(0.5)
_GAINS = {
    "FL": _SIDE,
    "FR": _SIDE,
    "FC": 1.0,
    "LFE": 0.0,
    "BL": 0.5,
    "BR": 0.5,
    "SL": 0.5,
    "SR": 0.5,
    "BC": _SIDE,
}
# Bits of WAV's channel mask, from the lowest; a speaker that is not named here has no gain of its own.
_MASK = ("FL", "FR", "FC", "LFE", "BL", "BR", "FLC", "FRC", "BC", "SL", "SR")

LAYOUTS: dict[str, dict[int, tuple[str, ...]]] = {
    # WAV, FLAC (RFC 9639, section 9.1.3) and FFmpeg.
    "wav": {
        3: ("FL", "FR", "FC"),
        4: ("FL", "FR", "BL", "BR"),
        5: ("FL", "FR", "FC", "BL", "BR"),
        6: ("FL", "FR", "FC", "LFE", "BL", "BR"),
        7: ("FL", "FR", "FC", "LFE", "BC", "SL", "SR"),
        8: ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
    },
    # Vorbis I specification, section 4.3.9, and Opus (RFC 7845, section 5.1.1.2).
    "vorbis": {
        3: ("FL", "FC", "FR"),
        4: ("FL", "FR", "BL", "BR"),
        5: ("FL", "FC", "FR", "BL", "BR"),
        6: ("FL", "FC", "FR", "BL", "BR", "LFE"),
        7: ("FL", "FC", "FR", "SL", "SR", "BC", "LFE"),
        8: ("FL", "FC", "FR", "SL", "SR", "BL", "BR", "LFE"),
    },
}
"""Speakers in the order of the channels, by the format's order and the number of channels."""

# A file whose format has no order: these numbers of channels are surround sound, others may be microphones.
_SURROUND = (6, 8)
# Mixed power below this part of the channels' mean power: 20 dB.
_CANCELLED = 0.01


class RecordingWarning(UserWarning):
    """A recording is used, but not all of it: its file was cut off, or its channels cancel."""


def speakers_of(channels: int, layout: str | None, mask: int) -> tuple[str, ...] | None:
    """Speakers of a recording's channels.

    Args:
        channels: Number of channels.
        layout: Order that the recording's format gives to channels, a key of `LAYOUTS`; None for none.
        mask: Channel mask of a WAV file; 0 for none.

    Returns:
        Names such as `FL`, one per channel; None where they are not known, or for one or two channels.
    """
    if channels <= 2:
        return None
    stated = tuple(name for bit, name in enumerate(_MASK) if mask >> bit & 1)
    if len(stated) == channels and mask < 1 << len(_MASK):
        return stated if all(name in _GAINS for name in stated) else None
    if layout is None and channels not in _SURROUND:
        return None
    return LAYOUTS[layout or "wav"].get(channels)


class MonoMixer:
    """Mixes blocks of a recording to mono: the mean of the channels, or the sum weighted by their speakers."""

    def __init__(
        self, channels: int, speakers: tuple[str, ...] | None, channel: int | None, where: str
    ) -> None:
        """Choose the gains.

        Args:
            channels: Number of channels.
            speakers: Speakers of the channels; None takes the mean of the channels.
            channel: Number of the only channel to take, 1 being the first; None mixes all.
            where: Beginning of messages, such as the path of the file.

        Raises:
            InputError: There is no such channel.
        """
        if channel is not None and not 1 <= channel <= channels:
            raise InputError(f"{where}: channel must be 1 to {channels}, got channel={channel}")
        self._channel = channel
        self._gains = None
        if speakers is not None:
            self._gains = np.array([_GAINS[name] for name in speakers], np.float32)
        self._where = where
        self._channel_energy = self._mixed_energy = 0.0

    def mix(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mix the next float32 [channels, samples] to [samples]."""
        if self._channel is not None or len(block) == 1:
            single: NDArray[np.float32] = block[(self._channel or 1) - 1]
            return single
        mixed = mono(block) if self._gains is None else (self._gains[:, None] * block).sum(axis=0)
        self._channel_energy += float(np.square(block, dtype=np.float64).sum()) / len(block)
        self._mixed_energy += float(np.square(mixed, dtype=np.float64).sum())
        return mixed

    def warning(self) -> str | None:
        """A message if the channels cancel in what was mixed so far; None otherwise."""
        if self._mixed_energy >= _CANCELLED * self._channel_energy:
            return None
        return (
            f"{self._where}: the channels cancel when they are mixed, as with one of them inverted; take one with "
            "channel=1"
        )
