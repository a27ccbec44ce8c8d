"""Reading of recordings, whole or in blocks, as they are or as mono, from untrusted files."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.audio.buffer import AudioBuffer, check_format
from voirs_vocoder.runtime.audio.containers import Container, container_of
from voirs_vocoder.runtime.audio.containers.mp4 import is_mp4
from voirs_vocoder.runtime.audio.decoder import Decoder, SndfileDecoder
from voirs_vocoder.runtime.audio.decoder_av import AvDecoder
from voirs_vocoder.runtime.audio.mixing import MonoMixer, RecordingWarning, speakers_of
from voirs_vocoder.runtime.content import HEAD_BYTES
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.files import open_regular

__all__ = ["AudioInfo", "audio_blocks", "audio_info", "mono_blocks", "read_audio", "read_mono", "reading"]

_MAX_VALUES = 2**28  # 1 GiB of float32: 3.4 hours of mono at 22,050 Hz
_BLOCK_SAMPLES = 1 << 16
# 30 dB above full scale: no level that audio has, but that of integers stored as floats.
_MAX_PEAK = 32.0


@dataclass(frozen=True)
class AudioInfo:
    """Size of a recording, found by decoding it.

    Attributes:
        sample_rate: Sample rate in Hz.
        channels: Number of channels.
        samples: Number of samples per channel, counted and not taken from the header.
    """

    sample_rate: int
    channels: int
    samples: int


@dataclass(frozen=True)
class _Recording:
    path: Path
    container: Container
    decoder: Decoder
    allow_truncated: bool


@dataclass(frozen=True)
class _Defaults:
    allow_truncated: bool = False
    channel: int | None = None


_NO_DEFAULTS = _Defaults()
_defaults: ContextVar[_Defaults] = ContextVar("voirs_vocoder_reading", default=_NO_DEFAULTS)


@contextmanager
def reading(*, allow_truncated: bool | None = None, channel: int | None = None) -> Iterator[None]:
    """Choose how recordings are read within a `with` block, for functions that read many and take no such arguments.

    Args:
        allow_truncated: Whether a recording that was cut off is used as far as it goes, with a `RecordingWarning`;
            None leaves it as it is.
        channel: Number of the only channel to take of a recording as mono, 1 being the first; None leaves it as it is.
    """
    now = _defaults.get()
    token = _defaults.set(
        _Defaults(
            now.allow_truncated if allow_truncated is None else allow_truncated,
            now.channel if channel is None else channel,
        )
    )
    try:
        yield
    finally:
        _defaults.reset(token)


def read_audio(path: Path | str, *, allow_truncated: bool | None = None) -> AudioBuffer:
    """Read a recording: WAV, FLAC, OGG, Opus, MP3 or another format of libsndfile, or AAC in MP4 (extra `codecs`).

    The format is recognized by the content, regardless of the name.

    Args:
        path: Path of a regular file.
        allow_truncated: True uses a recording that was cut off as far as it goes, with a `RecordingWarning`; False
            refuses it; None takes the value of `reading`, by default False.

    Returns:
        The whole recording, not clipped.

    Raises:
        InputError: The file is missing, empty, not audio, damaged, cut off, without samples, holds NaN, infinity or
            samples above 32, has a number of channels or a sample rate out of range, or is longer than 2^28 samples
            over all channels.
    """
    with _opened(Path(path), allow_truncated) as recording:
        limit = f"{_MAX_VALUES} samples over all channels"
        blocks = list(_bounded(_blocks(recording), recording.path, _MAX_VALUES, limit))
        return AudioBuffer(np.concatenate(blocks, axis=1), recording.decoder.sample_rate)


def read_mono(
    path: Path | str,
    *,
    channel: int | None = None,
    allow_truncated: bool | None = None,
    longest_s: float | None = None,
) -> AudioBuffer:
    """Read a recording as mono; see `mono_blocks`.

    Args:
        path: Path of a regular file.
        channel: Number of the only channel to take, 1 being the first; None takes the value of `reading`, by
            default a mix of all.
        allow_truncated: True uses a recording that was cut off as far as it goes, with a `RecordingWarning`; False
            refuses it; None takes the value of `reading`, by default False.
        longest_s: Longest recording that is read, in seconds; None allows 2^28 samples.

    Returns:
        The whole recording, one channel.

    Raises:
        InputError: There is no such channel, the recording is longer than allowed, or `read_audio` would refuse it.
    """
    with _opened(Path(path), allow_truncated) as recording:
        rate = recording.decoder.sample_rate
        most, limit = _MAX_VALUES, f"{_MAX_VALUES} samples"
        if longest_s is not None and longest_s * rate < most:
            most, limit = int(longest_s * rate), f"{longest_s:g} s"
        blocks = list(_bounded(_mono_blocks(recording, channel), recording.path, most, limit))
        return AudioBuffer(np.concatenate(blocks)[None], rate)


def audio_info(path: Path | str, *, allow_truncated: bool | None = None) -> AudioInfo:
    """Decode a recording from beginning to end to find its size.

    Args:
        path: Path of a regular file.
        allow_truncated: True counts a recording that was cut off as far as it goes, with a `RecordingWarning`; False
            refuses it; None takes the value of `reading`, by default False.

    Raises:
        InputError: `audio_blocks` refuses the recording.
    """
    with _opened(Path(path), allow_truncated) as recording:
        samples = sum(block.shape[1] for block in _blocks(recording))
        return AudioInfo(recording.decoder.sample_rate, recording.decoder.channels, samples)


def audio_blocks(path: Path | str, *, allow_truncated: bool | None = None) -> Iterator[NDArray[np.float32]]:
    """Decode a recording in blocks. That it was cut off is known, and refused, behind the last block.

    Args:
        path: Path of a regular file.
        allow_truncated: True uses a recording that was cut off as far as it goes, with a `RecordingWarning`; False
            refuses it; None takes the value of `reading`, by default False.

    Yields:
        Consecutive float32 [channels, samples], at least one sample each.

    Raises:
        InputError: The file is missing, empty, not audio, damaged, cut off, without samples, holds NaN, infinity or
            samples above 32, or has a number of channels or a sample rate out of range.
    """
    with _opened(Path(path), allow_truncated) as recording:
        yield from _blocks(recording)


def mono_blocks(
    path: Path | str, *, channel: int | None = None, allow_truncated: bool | None = None
) -> Iterator[NDArray[np.float32]]:
    """Decode a recording in blocks of mono.

    Two channels, and channels whose speakers are not known, are averaged. Surround sound is mixed by the speakers of
    its channels as in ITU-R BS.775, so that the center keeps its level. Channels that cancel give a
    `RecordingWarning` at the end.

    Args:
        path: Path of a regular file.
        channel: Number of the only channel to take, 1 being the first; None takes the value of `reading`, by
            default a mix of all.
        allow_truncated: True uses a recording that was cut off as far as it goes, with a `RecordingWarning`; False
            refuses it; None takes the value of `reading`, by default False.

    Yields:
        Consecutive float32 [samples], at least one sample each.

    Raises:
        InputError: There is no such channel, or `audio_blocks` would refuse the recording.
    """
    with _opened(Path(path), allow_truncated) as recording:
        yield from _mono_blocks(recording, channel)


def _mono_blocks(recording: _Recording, channel: int | None) -> Iterator[NDArray[np.float32]]:
    decoder = recording.decoder
    speakers = speakers_of(decoder.channels, decoder.layout, recording.container.channel_mask)
    chosen = _defaults.get().channel if channel is None else channel
    mixer = MonoMixer(decoder.channels, speakers, chosen, str(recording.path))
    yield from map(mixer.mix, _blocks(recording))
    message = mixer.warning()
    if message is not None:
        warnings.warn(message, RecordingWarning, stacklevel=1)


def _blocks(recording: _Recording) -> Iterator[NDArray[np.float32]]:
    path, decoder = recording.path, recording.decoder
    position = 0
    reason = None
    while reason is None:
        block, reason = decoder.decode(_BLOCK_SAMPLES)
        if block.shape[1] == 0:
            break
        _check_samples(block, position, path)
        position += block.shape[1]
        yield block
    cut = recording.container.cut
    declared = decoder.declared_samples
    if cut is None and reason is not None:
        if not recording.container.read_to_end():
            raise InputError(f"{path}: damaged after sample {position} ({reason}); replace the file")
        cut = f"the last data cannot be decoded ({reason})"
    if cut is None and declared is not None and position < declared:
        cut = f"its header declares {declared} samples"
    if cut is not None:
        if not recording.allow_truncated:
            raise InputError(
                f"{path}: cut off after sample {position}: {cut}; get the whole file, or use what is there with "
                "allow_truncated=True"
            )
        warnings.warn(f"{path}: cut off after sample {position}: {cut}", RecordingWarning, stacklevel=1)
    if position == 0:
        raise InputError(f"{path}: the recording has no samples; give one with audio")


def _check_samples(block: NDArray[np.float32], position: int, path: Path) -> None:
    peak = float(np.abs(block).max())
    if not np.isfinite(peak):
        sample = position + int(np.argmax(~np.isfinite(block).all(axis=0)))
        raise InputError(f"{path}: audio must be finite, sample {sample} is NaN or infinite; fix the file")
    if peak > _MAX_PEAK:
        raise InputError(
            f"{path}: float samples reach {peak:g}, full scale is 1; divide them by that of their integers, "
            "such as 32768"
        )


def _bounded(
    blocks: Iterator[NDArray[np.float32]], path: Path, most_values: int, limit: str
) -> Iterator[NDArray[np.float32]]:
    values = 0
    for block in blocks:
        values += block.size
        if values > most_values:
            raise InputError(f"{path}: longer than {limit}; split the recording")
        yield block


@contextmanager
def _opened(path: Path, allow_truncated: bool | None) -> Iterator[_Recording]:
    if allow_truncated is None:
        allow_truncated = _defaults.get().allow_truncated
    if path.suffix.lower() in (".raw", ".pcm"):
        raise InputError(f"{path}: raw PCM declares no rate or channels; wrap it in a .wav file")
    with open_regular(path) as file:
        head = file.read(HEAD_BYTES)
        container = container_of(file, str(path))
        decoder: Decoder = (
            AvDecoder(container, str(path)) if is_mp4(head) else SndfileDecoder(container, head, str(path))
        )
        try:
            check_format(decoder.channels, decoder.sample_rate, str(path))
            yield _Recording(path, container, decoder, allow_truncated)
        finally:
            decoder.close()
