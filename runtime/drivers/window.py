"""Long input in bounded memory: windows with the computed context, equal to one pass.

Each window goes through the graph with `context_frames` before it and `look_ahead_frames` after it, and only its own
audio is kept. At the true ends of the utterance nothing is added, so the graph's own zero padding applies there as it
does in one pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.config import VocodingConfig
from voirs_vocoder.runtime.errors import InputError

__all__ = ["MelReader", "RereadMel", "Window", "WindowDriver", "synthesize_windows", "window_size", "windows"]


class MelReader(Protocol):
    """Mel frames by position, read forwards."""

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Frames start to stop, [n_mels, count]; fewer than asked for only at the end of the input."""
        ...


class RereadMel:
    """A mel whose first frames were read already. See `MelReader`.

    Args:
        first: The first frames, [n_mels, count].
        rest: The mel, which has been read up to there.
    """

    def __init__(self, first: NDArray[np.float32], rest: MelReader) -> None:
        self._first = first
        self._rest = rest

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Frames start to stop; see `MelReader.read`."""
        count = self._first.shape[1]
        if stop <= count:
            return self._first[:, start:stop]
        rest = self._rest.read(max(start, count), stop)
        return np.concatenate((self._first[:, start:], rest), axis=1) if start < count else rest


@dataclass(frozen=True, eq=False)
class Window:
    """A part of an utterance with the context around it.

    Attributes:
        first_frame: Frame of the utterance at which `values` begin.
        values: Mel frames [n_mels, frames], context and look-ahead included.
        start: First frame of the utterance that is the window's own.
        stop: Frame of the utterance after the last one that is the window's own.
        at_end: Whether the utterance ends with this window.
    """

    first_frame: int
    values: NDArray[np.float32]
    start: int
    stop: int
    at_end: bool

    @property
    def frames(self) -> int:
        """Number of frames that are the window's own."""
        return self.stop - self.start

    def own(self, hop_length: int) -> slice:
        """Slice of the own frames' audio within the audio of all of `values`."""
        return slice(
            (self.start - self.first_frame) * hop_length, (self.stop - self.first_frame) * hop_length
        )


class WindowDriver(Protocol):
    """A driver whose graph turns one window of mel into audio.

    Attributes:
        context_frames: Frames before a window's first one that its audio depends on.
        look_ahead_frames: Frames after a window's last one that its audio depends on.
        max_window_frames: Most frames that fit the memory budget at once, context and look-ahead included.
    """

    context_frames: int
    look_ahead_frames: int
    max_window_frames: int

    def synthesize(
        self, mel: NDArray[np.float32], first_frame: int, config: VocodingConfig
    ) -> NDArray[np.float32]:
        """Synthesize one window.

        Args:
            mel: Mel of the window, [n_mels, frames], checked.
            first_frame: Frame of the utterance at which the window begins; noise is drawn by position from it.
            config: Settings of the utterance, equal for all its windows.

        Returns:
            Float32 audio [frames * hop_length]. The next call may overwrite it.

        Raises:
            ProviderError: The provider failed.
        """
        ...


def synthesize_windows(
    driver: WindowDriver,
    mel: MelReader,
    hop_length: int,
    config: VocodingConfig,
    longest_input_frames: int | None = None,
) -> Iterator[NDArray[np.float32]]:
    """Synthesize a whole utterance window by window.

    Args:
        driver: Driver that turns a window into audio.
        mel: Mel of the utterance.
        hop_length: Audio samples per mel frame.
        config: Settings of the utterance. A `window_frames` of None uses the driver's `max_window_frames`.
        longest_input_frames: Most frames that the graph takes at once, which no window exceeds; None for any number.

    Yields:
        Audio float32 [samples], in order; together frames * hop_length samples. The next piece may overwrite it.

    Raises:
        InputError: A window would be smaller than the context that it needs, or there are no frames.
        ProviderError: The provider failed.
    """
    size = window_size(config, driver.max_window_frames, longest_input_frames)
    before, after = driver.context_frames, driver.look_ahead_frames
    for window in windows(mel, before, after, size, fixed=config.window_frames is not None):
        if window.frames:
            audio = driver.synthesize(window.values, window.first_frame, config)
            yield audio[window.own(hop_length)]


def window_size(config: VocodingConfig, max_window_frames: int, longest_input_frames: int | None) -> int:
    """Choose the size of an utterance's windows in mel frames, context and look-ahead included.

    Args:
        config: `window_frames` asks for a size; None takes `max_window_frames`.
        max_window_frames: Most frames that fit the memory budget.
        longest_input_frames: Most frames that the graph takes at once, which no window exceeds; None for any number.
    """
    size = max_window_frames if config.window_frames is None else config.window_frames
    return size if longest_input_frames is None else min(size, longest_input_frames)


def windows(mel: MelReader, before: int, after: int, size: int, *, fixed: bool) -> Iterator[Window]:
    """Cut an utterance into windows that overlap by their context.

    Args:
        mel: Mel of the utterance.
        before: Frames of context before a window's own frames.
        after: Frames of look-ahead after a window's own frames.
        size: Frames of a window, context and look-ahead included.
        fixed: Whether a `size` too small for context, look-ahead and one frame is an error; otherwise it is raised to
            the smallest possible size.

    Yields:
        Windows whose own frames follow each other without a gap. Only the last one has `at_end` set; it may have no own
        frames.

    Raises:
        InputError: `size` is too small and fixed, or there are no frames.
    """
    smallest = before + after + 1
    if size < smallest:
        if fixed:
            raise InputError(
                f"window_frames must hold {before} frames of context, {after} of look-ahead and one more, "
                f"got {size}; use at least {smallest}"
            )
        size = smallest
    start = 0
    at_end = False
    while not at_end:
        first = max(0, start - before)
        # With one frame more, so that a window that just holds the rest is known to be the last one.
        values = mel.read(first, first + size + 1)
        at_end = values.shape[1] <= size
        values = values[:, :size]
        end = first + values.shape[1]
        if end == 0:
            raise InputError("the mel must have at least one frame, got 0")
        stop = end if at_end else end - after
        yield Window(first, values, start, stop, at_end)
        start = stop
