"""The driver of one-pass vocoders: mel in, audio out (HiFi-GAN)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.config import SessionConfig
from voirs_vocoder.runtime.drivers.driver import SessionOpener
from voirs_vocoder.runtime.errors import ArtifactError
from voirs_vocoder.runtime.manifest import Manifest

__all__ = ["DirectDriver"]


class DirectDriver:
    """Runs the `offline` graph. See `Driver`."""

    def __init__(self, manifest: Manifest, opener: SessionOpener, config: SessionConfig) -> None:
        """Load the graph. Raises as `open_driver`."""
        self._session, entry = opener("offline")
        per_frame = entry.details.get("activation_bytes_per_frame")
        if not isinstance(per_frame, int) or per_frame < 1:
            raise ArtifactError(
                f"{entry.file.path} must state activation_bytes_per_frame in the manifest, got {per_frame!r}; "
                "export the artifact again"
            )
        self.provider = self._session.provider
        self.backend = self._session.backend
        self.context_frames = manifest.context_frames
        self.look_ahead_frames = manifest.look_ahead_frames
        affordable = config.activation_budget_bytes // per_frame
        self.max_window_frames = min(affordable, self._session.max_frames or affordable)

    def synthesize(self, mel: NDArray[np.float32], first_frame: int) -> NDArray[np.float32]:
        """See `Driver.synthesize`. A direct graph does not care where in the utterance it is."""
        del first_frame
        audio = self._session.run({"mel": np.ascontiguousarray(mel)[np.newaxis]})["audio"]
        return audio.reshape(-1)

    def close(self) -> None:
        """See `Driver.close`."""
        self._session.close()
