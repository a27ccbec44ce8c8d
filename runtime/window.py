"""Long input in bounded memory: windows with the computed context, equal to one pass.

Each window goes through the graph with `context_frames` before it and `look_ahead_frames` after it, and only its own
audio is kept. At the true ends of the utterance nothing is added, so the graph's own zero padding applies there as it
does in one pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.config import OPTIONAL_SETTINGS, VocodingConfig
from voirs_vocoder.runtime.drivers.driver import Driver
from voirs_vocoder.runtime.errors import InputError

__all__ = ["MelReader", "synthesize_windows"]


class MelReader(Protocol):
    """Mel frames by position, read forwards."""

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Frames start to stop, [n_mels, count]; fewer than asked for only at the end of the input."""
        ...


def synthesize_windows(
    driver: Driver, mel: MelReader, hop_length: int, config: VocodingConfig
) -> Iterator[NDArray[np.float32]]:
    """Audio of a whole utterance, window by window.

    Args:
        driver: What turns a window into audio.
        mel: The input.
        hop_length: Audio samples per frame.
        config: Of the utterance. Its `window_frames` are the most frames at once, context included; None takes the
            driver's `max_window_frames`.

    Yields:
        Audio [samples], in order; together frames * hop_length. Each may be overwritten by the next.

    Raises:
        InputError: A window would be smaller than the context that it needs, there are no frames, or the driver does
            not know a setting.
    """
    _require_known_settings(driver, config)
    window_frames = config.window_frames
    size = driver.max_window_frames if window_frames is None else window_frames
    before, after = driver.context_frames, driver.look_ahead_frames
    smallest = before + after + 1
    if size < smallest:
        if window_frames is not None:
            raise InputError(
                f"window_frames must hold {before} frames of context, {after} of look-ahead and one more, "
                f"got {size}; use at least {smallest}"
            )
        size = smallest
    start = 0
    while True:
        first = max(0, start - before)
        values = mel.read(first, first + size)
        end = first + values.shape[1]
        at_end = values.shape[1] < size
        stop = end if at_end else end - after
        if stop > start:
            audio = driver.synthesize(values, first, config)
            yield audio[(start - first) * hop_length : (stop - first) * hop_length]
        if at_end:
            break
        start = stop
    if end == 0:
        raise InputError("the mel must have at least one frame, got 0")


def _require_known_settings(driver: Driver, config: VocodingConfig) -> None:
    for name in OPTIONAL_SETTINGS:
        if getattr(config, name) is not None and name not in driver.settings:
            known = ", ".join(sorted(driver.settings)) or "none"
            raise InputError(
                f"{name} means nothing to this model, which knows these settings: {known}; leave {name} out"
            )
