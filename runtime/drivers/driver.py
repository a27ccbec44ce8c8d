"""The contract of a driver."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.artifact.manifest import GraphEntry, Manifest
from voirs_vocoder.runtime.batch import BatchGraph
from voirs_vocoder.runtime.config import SessionConfig, VocodingConfig
from voirs_vocoder.runtime.drivers.window import MelReader
from voirs_vocoder.runtime.errors import ArtifactError, InputError
from voirs_vocoder.runtime.providers.session import Session
from voirs_vocoder.runtime.streaming.chunk_stream import ChunkStream
from voirs_vocoder.runtime.streaming.config import StreamingConfig
from voirs_vocoder.runtime.streaming.graph_stream import StreamGraph

__all__ = ["BatchGraphs", "Driver", "SessionOpener", "StreamGraphs", "affordable_frames", "refuse_latency"]

_LEAST_SHARE = 2
_GPU_PROVIDERS = frozenset({"cuda", "tensorrt", "tensorrt-engine"})

SessionOpener = Callable[[str], tuple[Session, GraphEntry]]
"""From a graph's role to a session that runs it, and its manifest entry."""


class Driver(Protocol):
    """Turns the mel of an utterance into audio.

    Attributes:
        provider: What runs it, such as `cpu`.
        backend: The same with its version.
        roles: Of the graphs that it runs.
        settings: Which optional fields of `VocodingConfig` it honours; the others must be left at None.
    """

    provider: str
    backend: str
    roles: tuple[str, ...]
    settings: frozenset[str]

    def vocode(self, mel: MelReader, config: VocodingConfig) -> Iterator[NDArray[np.float32]]:
        """Audio of a whole utterance of any length, in bounded memory.

        Args:
            mel: The input, checked.
            config: Of the utterance; what it sets is among `settings`.

        Yields:
            Audio [samples], in order; together frames * hop_length. Each may be overwritten by the next.

        Raises:
            InputError: The setting's value does not suit the model, or there are no frames.
        """
        ...

    def batch_graph(self) -> BatchGraph | None:
        """What runs several utterances at once; None where they had better run one by one.

        Raises:
            ProviderError: `SessionConfig.batching` asks for the batch graph, and the artifact has none.
        """
        ...

    def batch_inputs(
        self, mel: NDArray[np.float32], config: VocodingConfig
    ) -> dict[str, NDArray[np.float32]]:
        """The inputs of one utterance's row in `batch_graph`, without the batch axis.

        Args:
            mel: [n_mels, frames], checked.
            config: Of the utterance, which `batches` allows.
        """
        ...

    def batches(self, config: VocodingConfig) -> bool:
        """Whether an utterance may be a row of `batch_graph`."""
        ...

    def open_stream(self, config: VocodingConfig, streaming: StreamingConfig) -> ChunkStream:
        """Begin a live utterance.

        Args:
            config: Of the utterance; what it sets is among `settings`.
            streaming: Its latency.

        Raises:
            InputError: A setting has no finite look-ahead, or the latency cannot be kept.
            ProviderError: The artifact has no stream graph, or it cannot be loaded.
        """
        ...

    def close(self) -> None:
        """Free what the driver holds."""
        ...


class StreamGraphs:
    """A driver's stream graphs, loaded when the first stream asks for them.

    Args:
        opener: Loads the graph of a role.
        hop_length: Audio samples per mel frame.
    """

    def __init__(self, opener: SessionOpener, hop_length: int) -> None:
        """Nothing is loaded yet."""
        self._opener = opener
        self._hop_length = hop_length
        self._lock = threading.Lock()
        self._graphs: dict[str, StreamGraph] = {}

    def get(self, role: str) -> StreamGraph:
        """The graph of a role. Raises as `Driver.open_stream`."""
        with self._lock:
            if role not in self._graphs:
                session, entry = self._opener(role)
                self._graphs[role] = StreamGraph(session, entry, self._hop_length)
            return self._graphs[role]

    def close(self) -> None:
        """Free the graphs."""
        for graph in self._graphs.values():
            graph.session.close()
        self._graphs = {}


class BatchGraphs:
    """A driver's batch graph, loaded when the first batch asks for it.

    Args:
        manifest: Of the artifact.
        opener: Loads the graph of a role.
        config: Says whether to use it.
        provider: What runs the driver's other graphs.
    """

    def __init__(
        self, manifest: Manifest, opener: SessionOpener, config: SessionConfig, provider: str
    ) -> None:
        """Nothing is loaded yet."""
        exists = any(graph.role == "batch" for graph in manifest.graphs)
        on_gpu = provider in _GPU_PROVIDERS
        self._wanted = config.batching == "together" or (config.batching == "auto" and on_gpu and exists)
        self._opener = opener
        self._config = config
        self._hop_length = manifest.hop_length
        self._lock = threading.Lock()
        self._graph: BatchGraph | None = None

    def get(self) -> BatchGraph | None:
        """See `Driver.batch_graph`."""
        with self._lock:
            if self._wanted and self._graph is None:
                session, entry = self._opener("batch")
                frames = affordable_frames(entry, self._config, session.max_frames, 0)
                self._graph = BatchGraph(session, frames, self._hop_length)
            return self._graph

    def close(self) -> None:
        """Free the graph."""
        if self._graph is not None:
            self._graph.session.close()
            self._graph = None


def refuse_latency(streaming: StreamingConfig, family: str) -> None:
    """Refuse a latency budget for a model whose streams are exact only.

    Raises:
        InputError: There is one.
    """
    name = streaming.latency_setting
    if name is not None:
        raise InputError(
            f"{name} is for one-pass models such as HiFi-GAN, {family} needs its whole look-ahead, got "
            f"{getattr(streaming, name)}; leave it out"
        )


def affordable_frames(
    entry: GraphEntry,
    config: SessionConfig,
    max_frames: int | None,
    context_frames: int,
    least_share: int = _LEAST_SHARE,
) -> int:
    """Most mel frames that a graph may take at once.

    Args:
        entry: Of the graph, which states what a frame costs.
        config: The memory budget. Exceeded where a window would hold less than `least_share` times its context, since
            every frame would then be computed several times.
        max_frames: The session's own limit; None for none.
        context_frames: Frames of context and look-ahead in every window.
        least_share: See above.

    Raises:
        ArtifactError: The entry does not state it.
    """
    per_frame = entry.details.get("activation_bytes_per_frame")
    if not isinstance(per_frame, int) or per_frame < 1:
        raise ArtifactError(
            f"{entry.file.path} must state activation_bytes_per_frame in the manifest, got {per_frame!r}; "
            "export the artifact again"
        )
    affordable = max(config.activation_budget_bytes // per_frame, least_share * context_frames)
    return min(affordable, max_frames or affordable)
