"""The driver of one-pass vocoders: mel in, audio out (HiFi-GAN)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.config import SessionConfig, VocodingConfig
from voirs_vocoder.runtime.drivers.driver import SessionOpener, affordable_frames
from voirs_vocoder.runtime.manifest import Manifest
from voirs_vocoder.runtime.window import MelReader, synthesize_windows

__all__ = ["DirectDriver"]


class DirectDriver:
    """Runs the `offline` graph. See `Driver`."""

    roles: tuple[str, ...] = ("offline",)
    settings: frozenset[str] = frozenset()

    def __init__(self, manifest: Manifest, opener: SessionOpener, config: SessionConfig) -> None:
        """Load the graph. Raises as `open_driver`."""
        self._session, entry = opener("offline")
        self._hop_length = manifest.hop_length
        self.provider = self._session.provider
        self.backend = self._session.backend
        self.context_frames = manifest.context_frames
        self.look_ahead_frames = manifest.look_ahead_frames
        context = self.context_frames + self.look_ahead_frames
        self.max_window_frames = affordable_frames(entry, config, self._session.max_frames, context)

    def vocode(self, mel: MelReader, config: VocodingConfig) -> Iterator[NDArray[np.float32]]:
        """See `Driver.vocode`."""
        return synthesize_windows(self, mel, self._hop_length, config)

    def synthesize(
        self, mel: NDArray[np.float32], first_frame: int, config: VocodingConfig
    ) -> NDArray[np.float32]:
        """See `WindowDriver.synthesize`. A direct graph does not care where in the utterance it is."""
        del first_frame, config
        audio = self._session.run({"mel": np.ascontiguousarray(mel)[np.newaxis]})["audio"]
        return audio.reshape(-1)

    def close(self) -> None:
        """See `Driver.close`."""
        self._session.close()
