"""The driver of flows: noise and mel in, audio out (WaveGlow)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.artifact.manifest import GraphEntry, Manifest
from voirs_vocoder.runtime.config import SessionConfig, VocodingConfig
from voirs_vocoder.runtime.drivers.batch_graph import BatchGraph
from voirs_vocoder.runtime.drivers.denoiser import (
    DENOISER_DELAY_SAMPLES,
    SILENT_FRAMES,
    Denoiser,
    bias_spectrum,
    denoised,
)
from voirs_vocoder.runtime.drivers.driver import SessionOpener, refuse_latency
from voirs_vocoder.runtime.drivers.offline_graph import OfflineGraphDriver
from voirs_vocoder.runtime.drivers.settings import DEFAULT_SIGMA, FlowSettings, setting_names
from voirs_vocoder.runtime.drivers.window import MelReader
from voirs_vocoder.runtime.errors import ArtifactError
from voirs_vocoder.runtime.noise import grouped_noise
from voirs_vocoder.runtime.streaming.chunk_stream import ChunkStream
from voirs_vocoder.runtime.streaming.config import StreamingConfig
from voirs_vocoder.runtime.streaming.fixed_chunk_stream import FixedChunkStream
from voirs_vocoder.runtime.streaming.graph_stream import GraphStream, StreamGraph

__all__ = ["FlowDriver"]


class FlowDriver(OfflineGraphDriver):
    """The driver `flow`: the graph takes the mel, and noise of the same place in the utterance."""

    settings = setting_names(FlowSettings)

    def __init__(self, manifest: Manifest, opener: SessionOpener, config: SessionConfig) -> None:
        """Load the graph."""
        super().__init__(manifest, opener, config)
        self._n_group = _groups(self._entry, manifest.hop_length)
        self._n_mels = manifest.mel.n_mels
        self._bias: NDArray[np.float64] | None = None

    def inputs(
        self, mel: NDArray[np.float32], first_frame: int, config: VocodingConfig
    ) -> dict[str, NDArray[np.float32]]:
        """Add the noise of the window's place, so that windows join without a seam."""
        per_frame = self._hop_length // self._n_group
        noise = _scaled_noise(config, first_frame * per_frame, mel.shape[1] * per_frame, self._n_group)
        return {"mel": mel, "noise": noise}

    def vocode(self, mel: MelReader, config: VocodingConfig) -> Iterator[NDArray[np.float32]]:
        """Synthesize an utterance window by window, and denoise it if asked for; see `Driver.vocode`."""
        audio = super().vocode(mel, config)
        if not config.denoise:
            return audio
        return denoised(audio, self._bias_spectrum(), config.denoise)

    def batch_graph(self, config: VocodingConfig) -> BatchGraph | None:
        """Find the batch graph; an utterance to be denoised runs alone. See `Driver.batch_graph`."""
        graph = super().batch_graph(config)
        return None if config.denoise else graph

    def open_stream(self, config: VocodingConfig, streaming: StreamingConfig) -> ChunkStream:
        """Begin a live utterance; see `Driver.open_stream`."""
        refuse_latency(streaming, "a flow")
        bias = None
        if config.denoise:
            bias = self._bias_spectrum()
        graph, stream = self._streams.get("stream"), self._streams.open("stream", streaming)
        return FlowStream(graph, stream, self._config, config, self._n_group, bias)

    def _bias_spectrum(self) -> NDArray[np.float64]:
        # Two threads may compute it at the same time; both get the same values.
        if self._bias is None:
            silence = super().vocode(_SilentMel(self._n_mels), VocodingConfig(sigma=0.0))
            self._bias = bias_spectrum(np.concatenate([piece.copy() for piece in silence]))
        return self._bias


class _SilentMel:
    """The mel that the bias spectrum is measured on. See `MelReader`."""

    def __init__(self, n_mels: int) -> None:
        self._n_mels = n_mels

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        return np.zeros((self._n_mels, max(0, min(stop, SILENT_FRAMES) - start)), np.float32)


class FlowStream:
    """One utterance through a flow's stream graph. See `ChunkStream`.

    Args:
        graph: Stream graph, shared with other streams.
        stream: An utterance in that graph, at its beginning.
        session: Memory budget.
        config: Settings of the utterance.
        n_group: Audio samples that are the channels of one position.
        bias: Bias spectrum that the denoiser subtracts, float64 [513]; None for no denoiser.
    """

    def __init__(
        self,
        graph: StreamGraph,
        stream: GraphStream | FixedChunkStream,
        session: SessionConfig,
        config: VocodingConfig,
        n_group: int,
        bias: NDArray[np.float64] | None,
    ) -> None:
        """Start at the beginning of an utterance."""
        self.delay_samples = graph.delay_samples + (0 if bias is None else DENOISER_DELAY_SAMPLES)
        self.chunk_frames: int | None = None
        self.max_chunk_frames = graph.max_chunk_frames(session)
        self._stream = stream
        self._config = config
        self._n_group = n_group
        self._per_frame = graph.hop_length // n_group
        self._bias = bias
        self._denoiser = self._new_denoiser()

    def push(self, mel: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take the next frames; see `ChunkStream.push`."""
        frames = mel.shape[1]
        inputs = self._stream.inputs(frames)
        first, count = self._stream.frames * self._per_frame, frames * self._per_frame
        inputs["mel"][0] = mel
        inputs["noise"][0] = _scaled_noise(self._config, first, count, self._n_group)
        audio = self._stream.push(frames).reshape(-1)
        return audio if self._denoiser is None else self._denoiser.push(audio)

    def finish(self) -> NDArray[np.float32]:
        """Return the rest of the utterance; see `ChunkStream.finish`."""
        audio = self._stream.finish().reshape(-1)
        if self._denoiser is None:
            return audio
        return np.concatenate((self._denoiser.push(audio), self._denoiser.finish()))

    def reset(self) -> None:
        """Begin a new utterance; see `ChunkStream.reset`."""
        self._stream.reset()
        self._denoiser = self._new_denoiser()

    def _new_denoiser(self) -> Denoiser | None:
        return None if self._bias is None else Denoiser(self._bias, self._config.denoise or 0.0)


def _scaled_noise(config: VocodingConfig, first: int, groups: int, n_group: int) -> NDArray[np.float32]:
    values = grouped_noise(config.seed or 0, 0, first, groups, n_group)
    values *= DEFAULT_SIGMA if config.sigma is None else config.sigma
    return values


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
