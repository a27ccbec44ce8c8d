"""The driver of flows: noise and mel in, audio out (WaveGlow)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.artifact.manifest import GraphEntry, Manifest
from voirs_vocoder.runtime.batch import BatchGraph
from voirs_vocoder.runtime.config import SessionConfig, VocodingConfig
from voirs_vocoder.runtime.drivers.denoiser import (
    DENOISER_DELAY_SAMPLES,
    SILENT_FRAMES,
    Denoiser,
    bias_spectrum,
    denoised,
)
from voirs_vocoder.runtime.drivers.driver import (
    BatchGraphs,
    SessionOpener,
    StreamGraphs,
    affordable_frames,
    refuse_latency,
)
from voirs_vocoder.runtime.drivers.settings import DEFAULT_SIGMA, FlowSettings, setting_names
from voirs_vocoder.runtime.drivers.window import MelReader, synthesize_windows
from voirs_vocoder.runtime.errors import ArtifactError
from voirs_vocoder.runtime.noise import grouped_noise
from voirs_vocoder.runtime.streaming.chunk_stream import ChunkStream
from voirs_vocoder.runtime.streaming.config import StreamingConfig
from voirs_vocoder.runtime.streaming.graph_stream import GraphStream, StreamGraph

__all__ = ["FlowDriver"]


class FlowDriver:
    """Runs the `offline` graph on a mel and noise of the same place in the utterance. See `Driver`."""

    roles: tuple[str, ...] = ("offline",)
    settings = setting_names(FlowSettings)

    def __init__(self, manifest: Manifest, opener: SessionOpener, config: SessionConfig) -> None:
        """Load the graph. Raises as `open_driver`."""
        self._session, entry = opener("offline")
        self._config = config
        self._streams = StreamGraphs(opener, manifest.hop_length)
        self._n_group = _groups(entry, manifest.hop_length)
        self._hop_length = manifest.hop_length
        self._n_mels = manifest.mel.n_mels
        self._bias: NDArray[np.float64] | None = None
        self.provider = self._session.provider
        self.backend = self._session.backend
        self._batches = BatchGraphs(manifest, opener, config, self.provider)
        self.context_frames = manifest.context_frames
        self.look_ahead_frames = manifest.look_ahead_frames
        context = self.context_frames + self.look_ahead_frames
        self.max_window_frames = affordable_frames(entry, config, self._session.max_frames, context)

    def vocode(self, mel: MelReader, config: VocodingConfig) -> Iterator[NDArray[np.float32]]:
        """See `Driver.vocode`."""
        audio = synthesize_windows(self, mel, self._hop_length, config)
        if not config.denoise:
            return audio
        return denoised(audio, self._bias_spectrum(), config.denoise)

    def synthesize(
        self, mel: NDArray[np.float32], first_frame: int, config: VocodingConfig
    ) -> NDArray[np.float32]:
        """See `WindowDriver.synthesize`."""
        per_frame = self._hop_length // self._n_group
        values = _scaled_noise(config, first_frame * per_frame, mel.shape[1] * per_frame, self._n_group)
        inputs = {"mel": np.ascontiguousarray(mel)[np.newaxis], "noise": values[np.newaxis]}
        return self._session.run(inputs)["audio"].reshape(-1)

    def _silence(self) -> NDArray[np.float32]:
        groups = SILENT_FRAMES * self._hop_length // self._n_group
        inputs = {
            "mel": np.zeros((1, self._n_mels, SILENT_FRAMES), np.float32),
            "noise": np.zeros((1, self._n_group, groups), np.float32),
        }
        return self._session.run(inputs)["audio"].reshape(-1)

    def batch_graph(self) -> BatchGraph | None:
        """See `Driver.batch_graph`."""
        return self._batches.get()

    def batch_inputs(
        self, mel: NDArray[np.float32], config: VocodingConfig
    ) -> dict[str, NDArray[np.float32]]:
        """See `Driver.batch_inputs`."""
        groups = mel.shape[1] * (self._hop_length // self._n_group)
        return {"mel": mel, "noise": _scaled_noise(config, 0, groups, self._n_group)}

    def batches(self, config: VocodingConfig) -> bool:
        """See `Driver.batches`."""
        return not config.denoise

    def open_stream(self, config: VocodingConfig, streaming: StreamingConfig) -> ChunkStream:
        """See `Driver.open_stream`."""
        refuse_latency(streaming, "a flow")
        bias = None
        if config.denoise:
            bias = self._bias_spectrum()
        return FlowStream(self._streams.get("stream"), self._config, config, self._n_group, bias)

    def close(self) -> None:
        """See `Driver.close`."""
        self._session.close()
        self._streams.close()
        self._batches.close()

    def _bias_spectrum(self) -> NDArray[np.float64]:
        if self._bias is None:
            self._bias = bias_spectrum(self._silence())
        return self._bias


class FlowStream:
    """One utterance through a flow's stream graph. See `ChunkStream`.

    Args:
        graph: Shared with other streams.
        session: The memory budget.
        config: Of the utterance.
        n_group: Audio samples that are the channels of one position.
        bias: What the denoiser takes off; None for none.
    """

    def __init__(
        self,
        graph: StreamGraph,
        session: SessionConfig,
        config: VocodingConfig,
        n_group: int,
        bias: NDArray[np.float64] | None,
    ) -> None:
        """A stream at the start of an utterance."""
        self.delay_samples = graph.delay_samples + (0 if bias is None else DENOISER_DELAY_SAMPLES)
        self.chunk_frames: int | None = None
        self.max_chunk_frames = graph.max_chunk_frames(session)
        self._stream = GraphStream(graph)
        self._config = config
        self._n_group = n_group
        self._per_frame = graph.hop_length // n_group
        self._bias = bias
        self._denoiser = self._new_denoiser()

    def push(self, mel: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `ChunkStream.push`."""
        frames = mel.shape[1]
        inputs = self._stream.inputs(frames)
        first, count = self._stream.frames * self._per_frame, frames * self._per_frame
        inputs["mel"][0] = mel
        inputs["noise"][0] = _scaled_noise(self._config, first, count, self._n_group)
        audio = self._stream.push(frames).reshape(-1)
        return audio if self._denoiser is None else self._denoiser.push(audio)

    def finish(self) -> NDArray[np.float32]:
        """See `ChunkStream.finish`."""
        audio = self._stream.finish().reshape(-1)
        if self._denoiser is None:
            return audio
        return np.concatenate((self._denoiser.push(audio), self._denoiser.finish()))

    def reset(self) -> None:
        """See `ChunkStream.reset`."""
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
