"""The common part of drivers that turn mel into audio in one pass: windows, rows of a batch, loaded graphs."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.artifact.manifest import Manifest
from voirs_vocoder.runtime.config import SessionConfig, VocodingConfig
from voirs_vocoder.runtime.drivers.batch_graph import BatchGraph, OnePassBatchGraph, Request
from voirs_vocoder.runtime.drivers.driver import (
    Driver,
    SessionOpener,
    StreamGraphs,
    affordable_frames,
    session_buckets,
    warm_buckets,
)
from voirs_vocoder.runtime.drivers.row_graph import Row, RowGraph
from voirs_vocoder.runtime.drivers.window import MelReader, RereadMel, synthesize_windows
from voirs_vocoder.runtime.providers import runs_on_gpu

__all__ = ["OfflineGraphDriver"]


class OfflineGraphDriver(Driver):
    """A driver whose graph turns a window of mel, and what belongs to it, into audio.

    That is the `offline` graph, or the `batch` graph in buckets where the opener loads it in place of the other. A
    subclass makes the graph's inputs and opens streams.

    Args:
        manifest: Manifest of the artifact.
        opener: Loads the graph of a role.
        config: Memory budget, buckets, and whether batches use the artifact's batch graph.

    Attributes:
        context_frames: Mel frames before a window's first one that its audio depends on.
        look_ahead_frames: Mel frames after a window's last one that its audio depends on.
        max_window_frames: Most frames that fit the memory budget at once, context and look-ahead included.
    """

    roles = ("offline",)

    def __init__(self, manifest: Manifest, opener: SessionOpener, config: SessionConfig) -> None:
        """Load the graph."""
        session, self._entry = opener("offline")
        self._opener = opener
        self._config = config
        self._hop_length = manifest.hop_length
        self._streams = StreamGraphs(opener, manifest.hop_length, config)
        self.provider = session.provider
        self.backend = session.backend
        self.context_frames = manifest.context_frames
        self.look_ahead_frames = manifest.look_ahead_frames
        context = self.context_frames + self.look_ahead_frames
        self.max_window_frames = affordable_frames(self._entry, config, session, context)
        self._longest_input_frames = session.max_frames
        buckets = session_buckets(session, self._entry, config, self.max_window_frames, context)
        if buckets is not None:
            self.max_window_frames = self._longest_input_frames = buckets.longest
        self._graph = RowGraph(session, self._entry, manifest.hop_length, buckets)
        has_batch_graph = any(graph.role == "batch" for graph in manifest.graphs)
        self._batches = config.batching == "together" or (
            config.batching == "auto" and has_batch_graph and runs_on_gpu(self.provider)
        )
        self._padded_graph: RowGraph | None = None
        self._batch_graph: BatchGraph | None = None
        self._lock = threading.Lock()

    @abstractmethod
    def inputs(
        self, mel: NDArray[np.float32], first_frame: int, config: VocodingConfig
    ) -> dict[str, NDArray[np.float32]]:
        """Make the inputs of the graph for one window, without its length.

        Args:
            mel: Mel of the window, [n_mels, frames].
            first_frame: Mel frame of the utterance at which the window begins.
            config: Settings of the utterance.

        Returns:
            Arrays by input name, without the batch axis and with time as the last axis.
        """
        ...

    def vocode(self, mel: MelReader, config: VocodingConfig) -> Iterator[NDArray[np.float32]]:
        """Synthesize an utterance window by window; see `Driver.vocode`."""
        if self._graph.buckets is not None and runs_on_gpu(self.provider):
            first = mel.read(0, self._graph.buckets.longest)
            self._graph.make_fit(max(1, first.shape[1]))
            self.max_window_frames = self._longest_input_frames = self._graph.buckets.longest
            mel = RereadMel(first, mel)
        yield from synthesize_windows(self, mel, self._hop_length, config, self._longest_input_frames)

    def synthesize(
        self, mel: NDArray[np.float32], first_frame: int, config: VocodingConfig
    ) -> NDArray[np.float32]:
        """Synthesize one window; see `WindowDriver.synthesize`."""
        (audio,) = self._graph.run([self.inputs(mel, first_frame, config)], [mel.shape[1]])
        return audio.reshape(-1)

    def batch_graph(self, config: VocodingConfig) -> BatchGraph | None:
        """Find the batch graph, which the first batch loads; see `Driver.batch_graph`."""
        del config
        with self._lock:
            if self._batches and self._batch_graph is None:
                graph = self._graph
                if graph.buckets is None:
                    graph = self._padded_graph = RowGraph(*self._opener("batch"), self._hop_length, None)
                frames = affordable_frames(graph.entry, self._config, graph.session, 0)
                self._batch_graph = OnePassBatchGraph(graph, frames, self._row)
            return self._batch_graph

    def warm(self) -> None:
        """Prepare the buckets that `SessionConfig.warm` names; see `Driver.warm`."""
        warm_buckets(self._graph, self._config, together=self._batches)

    def close(self) -> None:
        """Free the loaded graphs; see `Driver.close`."""
        self._graph.session.close()
        self._streams.close()
        if self._padded_graph is not None:
            self._padded_graph.session.close()
        self._padded_graph = self._batch_graph = None

    def _row(self, request: Request) -> Row:
        return self.inputs(request.mel, 0, request.config)
