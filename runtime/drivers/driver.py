"""The contract of a driver."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.artifact.manifest import GraphEntry
from voirs_vocoder.runtime.config import SessionConfig, VocodingConfig
from voirs_vocoder.runtime.drivers.batch_graph import BatchGraph
from voirs_vocoder.runtime.drivers.buckets import Buckets, buckets_for
from voirs_vocoder.runtime.drivers.row_graph import RowGraph, takes_lengths
from voirs_vocoder.runtime.drivers.window import MelReader
from voirs_vocoder.runtime.errors import ArtifactError, InputError
from voirs_vocoder.runtime.providers import activation_bytes, prepares_shapes, runs_on_gpu
from voirs_vocoder.runtime.providers.session import Session
from voirs_vocoder.runtime.streaming.chunk_stream import ChunkStream
from voirs_vocoder.runtime.streaming.config import StreamingConfig
from voirs_vocoder.runtime.streaming.fixed_chunk_stream import FixedChunkStream, OwnRuns
from voirs_vocoder.runtime.streaming.graph_stream import GraphStream, StreamGraph
from voirs_vocoder.runtime.streaming.stream_pool import StreamPool

__all__ = [
    "Driver",
    "SessionOpener",
    "StreamGraphs",
    "affordable_frames",
    "refuse_latency",
    "session_buckets",
    "warm_buckets",
]

_LEAST_SHARE = 2
# Padding takes as long as speech on a CPU: on the average of all lengths it adds 9%, with two buckets 18%.
_CPU_BUCKETS_PER_DOUBLING = 4

SessionOpener = Callable[[str], tuple[Session, GraphEntry]]
"""Loads the graph of a role, or the graph of `BATCH_ROLES` in its place, which computes the same for rows of different
lengths: from the role to a session that runs the graph, and the manifest entry of the loaded graph."""


class Driver(Protocol):
    """Turns the mel of an utterance into audio.

    A driver may be used by several threads at once.

    Attributes:
        provider: Name of the provider that runs the graphs, such as `cpu`.
        backend: Name and version of the library behind the provider.
        roles: Roles of the graphs that an offline pass runs.
        settings: Names of the optional fields of `VocodingConfig` that the driver reads; the others must be None.
    """

    provider: str
    backend: str
    roles: tuple[str, ...]
    settings: frozenset[str]

    def vocode(self, mel: MelReader, config: VocodingConfig) -> Iterator[NDArray[np.float32]]:
        """Synthesize a whole utterance of any length in bounded memory.

        Args:
            mel: The input, checked.
            config: Settings of the utterance; those that are not None are among `settings`.

        Yields:
            Audio float32 [samples], in order; together frames * hop_length samples. A piece may be overwritten when the
            next one is taken.

        Raises:
            InputError: The value of a setting does not suit the model, or there are no frames.
            ProviderError: The provider failed.
        """
        ...

    def batch_graph(self, config: VocodingConfig) -> BatchGraph | None:
        """Find the graph that may run an utterance together with others.

        Args:
            config: Settings of the utterance.

        Returns:
            The graph, one and the same for all utterances; None where the utterance is to run alone, as it is for every
            driver that does not implement this.

        Raises:
            ProviderError: `SessionConfig.batching` asks for a batch graph, and the artifact has none.
        """
        del config
        return None

    def open_stream(self, config: VocodingConfig, streaming: StreamingConfig) -> ChunkStream:
        """Begin a live utterance.

        Args:
            config: Settings of the utterance; those that are not None are among `settings`.
            streaming: Chunks and latency of the stream.

        Returns:
            A stream for one thread at a time, independent of other streams.

        Raises:
            InputError: A setting has no finite look-ahead, or the latency cannot be kept.
            ProviderError: The artifact has no stream graph, or the graph cannot be loaded.
        """
        ...

    def warm(self) -> None:
        """Prepare the shapes that `SessionConfig.warm` names; does nothing in a driver that does not implement this.

        Raises:
            InputError: `SessionConfig.warm` names a length that no bucket holds.
            ProviderError: The provider failed.
        """
        return

    def close(self) -> None:
        """Free the loaded graphs. No other call may run at the time, and none may follow."""
        ...


class StreamGraphs:
    """A driver's stream graphs, each loaded when the first stream asks for it.

    Args:
        opener: Loads the graph of a role.
        hop_length: Audio samples per mel frame.
        config: Memory budget, warming, and how many streams run together.
    """

    def __init__(self, opener: SessionOpener, hop_length: int, config: SessionConfig) -> None:
        """Load nothing."""
        self._opener = opener
        self._hop_length = hop_length
        self._config = config
        self._lock = threading.Lock()
        self._graphs: dict[str, StreamGraph] = {}
        self._pools: dict[str, StreamPool] = {}

    def get(self, role: str) -> StreamGraph:
        """Find or load the graph of a role.

        Raises:
            ProviderError: The artifact has no graph of this role, or it cannot be loaded.
        """
        with self._lock:
            if role not in self._graphs:
                session, entry = self._opener(role)
                self._graphs[role] = StreamGraph(session, entry, self._hop_length)
            return self._graphs[role]

    def open(self, role: str, streaming: StreamingConfig) -> GraphStream | FixedChunkStream:
        """Begin an utterance in the graph of a role.

        Where `SessionConfig.stream_rows` is above 1, it runs together with others. On a provider that prepares every
        new shape, all chunks have one length, the last one too.

        Args:
            role: Role of the graph.
            streaming: Chunks of the stream. A stream whose chunks have no fixed length runs by itself, in any length.

        Raises:
            ProviderError: The artifact has no graph of this role, it cannot be loaded, or warming it failed.
        """
        graph = self.get(role)
        prepares = prepares_shapes(graph.session.provider)
        rows, frames = self._config.stream_rows, streaming.chunk_frames
        if frames is None or streaming.adaptive or (rows == 1 and not prepares):
            return GraphStream(graph)
        frames = min(frames, graph.max_chunk_frames(self._config))
        if rows == 1:
            alone = OwnRuns(graph)
            if self._config.warm:
                alone.warm(frames)
            return FixedChunkStream(alone, frames)
        with self._lock:
            if role not in self._pools:
                self._pools[role] = StreamPool(graph, rows, fixed_rows=prepares)
            pool = self._pools[role]
        if self._config.warm and prepares:
            pool.warm(frames)
        return FixedChunkStream(pool, frames)

    def close(self) -> None:
        """Free the graphs."""
        for graph in self._graphs.values():
            graph.session.close()
        self._graphs, self._pools = {}, {}


def refuse_latency(streaming: StreamingConfig, family: str) -> None:
    """Refuse a latency setting for a model that has exact streams only.

    Args:
        streaming: Chunks and latency of the stream.
        family: The kind of model with its article, for the message.

    Raises:
        InputError: A latency setting is given.
    """
    name = streaming.latency_setting
    if name is not None:
        raise InputError(
            f"{name} is for one-pass models such as HiFi-GAN, {family} needs its whole look-ahead, got "
            f"{getattr(streaming, name)}; leave it out"
        )


def session_buckets(
    session: Session, entry: GraphEntry, config: SessionConfig, affordable: int, context_frames: int
) -> Buckets | None:
    """Choose the buckets of a loaded graph; see `buckets_for`.

    Args:
        session: Session that runs the graph.
        entry: Manifest entry of the graph.
        config: Buckets to use.
        affordable: Most mel frames that the memory budget and the session allow at once.
        context_frames: Mel frames of context and look-ahead of every window.

    Returns:
        The buckets; None for a graph that takes no lengths, whose inputs run in their own shapes.

    Raises:
        InputError: The lengths of `SessionConfig.buckets` do not suit the model or the session.
    """
    if not takes_lengths(entry):
        return None
    per_doubling = 1 if runs_on_gpu(session.provider) else _CPU_BUCKETS_PER_DOUBLING
    return buckets_for(
        config, affordable, context_frames, session.max_frames, session.max_batch, per_doubling=per_doubling
    )


def warm_buckets(graph: RowGraph, config: SessionConfig, *, together: bool) -> None:
    """Prepare the buckets of a graph that `SessionConfig.warm` names.

    Args:
        graph: The loaded graph.
        config: `warm` names the lengths.
        together: Whether buckets of several rows are prepared too.

    Raises:
        InputError: No bucket holds one of the lengths.
        ProviderError: The provider failed.
    """
    if config.warm:
        only_frames = None if isinstance(config.warm, bool) else config.warm
        graph.warm(together=together, only_frames=only_frames)


def affordable_frames(
    entry: GraphEntry,
    config: SessionConfig,
    session: Session,
    context_frames: int,
    least_share: int = _LEAST_SHARE,
) -> int:
    """Compute the most mel frames that a graph may take at once.

    Args:
        entry: Manifest entry of the graph, which states the memory that a frame needs.
        config: The memory budget. It is exceeded where a window would hold less than `least_share` times its context,
            since every frame would then be computed several times.
        session: Session that runs the graph, whose device and longest input count.
        context_frames: Frames of context and look-ahead in every window.
        least_share: Smallest ratio of a window to its context.

    Raises:
        ArtifactError: The entry does not state the memory of a frame.
    """
    per_frame = entry.facts.activation_bytes_per_frame
    if per_frame is None:
        raise ArtifactError(
            f"{entry.file.path} must state activation_bytes_per_frame in the manifest, got none; export the artifact "
            "again"
        )
    budget = activation_bytes(session.provider, config)
    affordable = max(budget // per_frame, least_share * context_frames)
    return min(affordable, session.max_frames or affordable)
