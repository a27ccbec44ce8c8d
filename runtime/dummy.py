"""A vocoder for testing pipelines: sines that follow the mel's energy. Nothing but its name selects it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.artifact.metadata import VocoderFeature, VocoderMetadata
from voirs_vocoder.runtime.config import VocodingConfig
from voirs_vocoder.runtime.drivers.driver import Driver
from voirs_vocoder.runtime.drivers.window import MelReader, synthesize_windows
from voirs_vocoder.runtime.mel.compression import compressed, nepers_per_unit
from voirs_vocoder.runtime.mel.convention import MelConvention, get_convention
from voirs_vocoder.runtime.streaming import ChunkStream, StreamingConfig
from voirs_vocoder.runtime.vocoder import Vocoder

__all__ = ["DummyVocoder"]

_TONE_HZ = 220.0
_FULL_SCALE_LN = 2.0  # about the loudest log mel of speech at full scale


class _SineDriver(Driver):
    """A driver without a graph. The phase follows the absolute sample, so windows join without a seam."""

    provider = "dummy"
    backend = "numpy"
    context_frames = 0
    look_ahead_frames = 0
    max_window_frames = 1024
    roles: tuple[str, ...] = ()
    settings: frozenset[str] = frozenset()

    def __init__(self, convention: MelConvention) -> None:
        self._convention = convention

    def vocode(self, mel: MelReader, config: VocodingConfig) -> Iterator[NDArray[np.float32]]:
        return synthesize_windows(self, mel, self._convention.hop_length, config)

    def synthesize(
        self, mel: NDArray[np.float32], first_frame: int, config: VocodingConfig
    ) -> NDArray[np.float32]:
        del config
        hop_length = self._convention.hop_length
        loudness = mel.mean(axis=0)
        if self._convention.compression != "db-unit":
            full_scale = float(compressed(math.exp(_FULL_SCALE_LN), self._convention))
            below = np.minimum(loudness - full_scale, 0.0)
            loudness = np.exp(below * nepers_per_unit(self._convention))
        samples = first_frame * hop_length + np.arange(mel.shape[1] * hop_length)
        tone = np.sin(2 * np.pi * _TONE_HZ / self._convention.sample_rate * samples)
        return (np.repeat(np.clip(loudness, 0.0, 1.0), hop_length) * tone).astype(np.float32)

    def open_stream(self, config: VocodingConfig, streaming: StreamingConfig) -> ChunkStream:
        del streaming
        return _SineStream(self, config)

    def close(self) -> None:
        """Free nothing."""


class _SineStream:
    """A `ChunkStream` without delay."""

    delay_samples = 0
    chunk_frames: int | None = None
    max_chunk_frames = _SineDriver.max_window_frames

    def __init__(self, driver: _SineDriver, config: VocodingConfig) -> None:
        self._driver = driver
        self._config = config
        self._frames = 0

    def push(self, mel: NDArray[np.float32]) -> NDArray[np.float32]:
        audio = self._driver.synthesize(mel, self._frames, self._config)
        self._frames += mel.shape[1]
        return audio

    def finish(self) -> NDArray[np.float32]:
        return np.empty(0, np.float32)

    def reset(self) -> None:
        self._frames = 0


class DummyVocoder(Vocoder):
    """Sines behind the interface of `Vocoder`, for tests of the code around a vocoder. The audio is not speech."""

    def __init__(self, convention: str | MelConvention = "hifigan-22k") -> None:
        """Make a vocoder for mels of one convention.

        Args:
            convention: Mel convention: its name or its parameters.

        Raises:
            InputError: The name of the convention is unknown.
        """
        resolved = get_convention(convention) if isinstance(convention, str) else convention
        driver = _SineDriver(resolved)
        metadata = VocoderMetadata(
            family="dummy",
            variant="sine",
            precision="fp32",
            provider=driver.provider,
            backend=driver.backend,
            sample_rate=resolved.sample_rate,
            hop_length=resolved.hop_length,
            convention=resolved,
            look_ahead_frames=0,
            licence=None,
        )
        super().__init__(metadata, driver, frozenset({VocoderFeature.STREAMING}))
