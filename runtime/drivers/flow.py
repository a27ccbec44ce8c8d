"""The driver of flows: noise and mel in, audio out (WaveGlow)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.config import SessionConfig, VocodingConfig
from voirs_vocoder.runtime.denoiser import SILENT_FRAMES, bias_spectrum, denoised
from voirs_vocoder.runtime.drivers.driver import SessionOpener, affordable_frames
from voirs_vocoder.runtime.errors import ArtifactError
from voirs_vocoder.runtime.manifest import GraphEntry, Manifest
from voirs_vocoder.runtime.noise import grouped_noise
from voirs_vocoder.runtime.window import MelReader, synthesize_windows

__all__ = ["DEFAULT_SIGMA", "FlowDriver"]

# What the official README of WaveGlow infers with (github.com/NVIDIA/waveglow at 8afb643).
DEFAULT_SIGMA = 0.6


class FlowDriver:
    """Runs the `offline` graph on a mel and noise of the same place in the utterance. See `Driver`."""

    roles: tuple[str, ...] = ("offline",)
    settings = frozenset({"seed", "sigma", "denoise"})

    def __init__(self, manifest: Manifest, opener: SessionOpener, config: SessionConfig) -> None:
        """Load the graph. Raises as `open_driver`."""
        self._session, entry = opener("offline")
        self._n_group = _groups(entry, manifest.hop_length)
        self._hop_length = manifest.hop_length
        self._n_mels = manifest.mel.n_mels
        self._bias: NDArray[np.float64] | None = None
        self.provider = self._session.provider
        self.backend = self._session.backend
        self.context_frames = manifest.context_frames
        self.look_ahead_frames = manifest.look_ahead_frames
        context = self.context_frames + self.look_ahead_frames
        self.max_window_frames = affordable_frames(entry, config, self._session.max_frames, context)

    def vocode(self, mel: MelReader, config: VocodingConfig) -> Iterator[NDArray[np.float32]]:
        """See `Driver.vocode`."""
        audio = synthesize_windows(self, mel, self._hop_length, config)
        if not config.denoise:
            return audio
        if self._bias is None:
            self._bias = bias_spectrum(self._silence())
        return denoised(audio, self._bias, config.denoise)

    def synthesize(
        self, mel: NDArray[np.float32], first_frame: int, config: VocodingConfig
    ) -> NDArray[np.float32]:
        """See `WindowDriver.synthesize`."""
        per_frame = self._hop_length // self._n_group
        values = grouped_noise(
            config.seed or 0, 0, first_frame * per_frame, mel.shape[1] * per_frame, self._n_group
        )
        values *= DEFAULT_SIGMA if config.sigma is None else config.sigma
        inputs = {"mel": np.ascontiguousarray(mel)[np.newaxis], "noise": values[np.newaxis]}
        return self._session.run(inputs)["audio"].reshape(-1)

    def _silence(self) -> NDArray[np.float32]:
        groups = SILENT_FRAMES * self._hop_length // self._n_group
        inputs = {
            "mel": np.zeros((1, self._n_mels, SILENT_FRAMES), np.float32),
            "noise": np.zeros((1, self._n_group, groups), np.float32),
        }
        return self._session.run(inputs)["audio"].reshape(-1)

    def close(self) -> None:
        """See `Driver.close`."""
        self._session.close()


def _groups(entry: GraphEntry, hop_length: int) -> int:
    for tensor in entry.inputs:
        if tensor.name == "noise" and len(tensor.shape) == 3:
            n_group = tensor.shape[1]
            if isinstance(n_group, int) and n_group >= 1 and hop_length % n_group == 0:
                return n_group
    raise ArtifactError(
        f"{entry.file.path} must take noise [batch, n_group, groups] with n_group dividing {hop_length}; "
        "export the artifact again"
    )
