"""Several utterances: in one run of a graph where that is faster, one by one elsewhere, each failing by itself.

The graph zeroes the padding behind the end of each row after every layer, so a row equals its utterance run alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.audio import AudioBuffer
from voirs_vocoder.runtime.config import VocodingConfig
from voirs_vocoder.runtime.drivers.buckets import Buckets
from voirs_vocoder.runtime.drivers.row_graph import Row, RowGraph
from voirs_vocoder.runtime.errors import DeviceMemoryError, VoirsVocoderError

__all__ = ["BatchGraph", "BatchResult", "OnePassBatchGraph", "Request", "groups_within", "run_batch"]


@dataclass(frozen=True, eq=False)
class Request:
    """One utterance of a batch.

    Attributes:
        mel: Checked mel, float32 [n_mels, frames].
        config: Checked settings of the utterance.
    """

    mel: NDArray[np.float32]
    config: VocodingConfig


@dataclass(frozen=True, eq=False)
class BatchResult:
    """Outcome of a batch by position of the utterance; each position is in one of the two.

    Attributes:
        audios: Audio of the utterances that succeeded.
        failures: Error of each utterance that failed.
    """

    audios: dict[int, AudioBuffer]
    failures: dict[int, VoirsVocoderError]


class BatchGraph(Protocol):
    """Runs several utterances together."""

    @property
    def max_frames(self) -> int:
        """Longest utterance that may run together with others, in mel frames."""
        ...

    def groups(self, lengths: Mapping[int, int]) -> Iterator[list[int]]:
        """Group utterances that run together.

        Args:
            lengths: Mel frames of each utterance by position, at most `max_frames` each.

        Yields:
            Positions to run together; each position once.
        """
        ...

    def run(self, requests: Sequence[Request]) -> list[NDArray[np.float32]]:
        """Run a group of utterances.

        Args:
            requests: The utterances, at least one.

        Returns:
            Audio of each utterance, float32 [samples].

        Raises:
            ProviderError: The provider failed.
        """
        ...


class OnePassBatchGraph(BatchGraph):
    """The `batch` graph of a model that turns mel into audio in one pass.

    Args:
        graph: The loaded graph.
        max_frames: Most mel frames of all rows together, padding included.
        row: Makes the inputs of one utterance's row.
    """

    def __init__(self, graph: RowGraph, max_frames: int, row: Callable[[Request], Row]) -> None:
        self._graph = graph
        self._most = max_frames
        self._row = row

    @property
    def max_frames(self) -> int:
        """Longest utterance that may run together with others; see `BatchGraph.max_frames`."""
        return self._most if self._graph.buckets is None else self._graph.buckets.longest

    def groups(self, lengths: Mapping[int, int]) -> Iterator[list[int]]:
        """Group utterances of similar length; see `BatchGraph.groups`."""
        return groups_within(lengths, self._most, self._graph.buckets)

    def run(self, requests: Sequence[Request]) -> list[NDArray[np.float32]]:
        """Run a group of utterances; see `BatchGraph.run`."""
        audios = self._graph.run(
            [self._row(request) for request in requests], [request.mel.shape[1] for request in requests]
        )
        return [audio.reshape(-1) for audio in audios]


def run_batch(
    graph_for: Callable[[VocodingConfig], BatchGraph | None],
    requests: Mapping[int, Request],
    alone: Callable[[Request], AudioBuffer],
    sample_rate: int,
    parallel_runs: int = 1,
) -> BatchResult:
    """Run the utterances of a batch.

    Args:
        graph_for: Finds the graph that may run an utterance together with others; see `Driver.batch_graph`.
        requests: The utterances by position.
        alone: Runs one utterance.
        sample_rate: Sample rate of the audio in Hz.
        parallel_runs: Number of utterances that run one by one at the same time, in threads of their own; 1 runs them
            in the calling thread.

    Returns:
        Audio or error of each utterance.

    Raises:
        ProviderError: `SessionConfig.batching` asks for a batch graph that the artifact does not have.
    """
    result = BatchResult({}, {})
    lengths: dict[int, int] = {}
    lone: list[int] = []
    shared: BatchGraph | None = None
    for position, request in requests.items():
        frames = request.mel.shape[1]
        graph = graph_for(request.config)
        if graph is None or frames > graph.max_frames:
            lone.append(position)
        else:
            shared, lengths[position] = graph, frames
    # The longest first, so that no thread ends long after the others.
    lone.sort(key=lambda position: -requests[position].mel.shape[1])
    _spread(
        [partial(_guarded, result, [place], partial(_one, alone, requests[place])) for place in lone],
        parallel_runs,
    )
    if shared is not None:
        for group in shared.groups(lengths):
            members = [requests[position] for position in group]
            _guarded(result, group, partial(_together, shared, members, alone, sample_rate))
    return result


def groups_within(
    lengths: Mapping[int, int], max_frames: int, buckets: Buckets | None = None
) -> Iterator[list[int]]:
    """Group utterances of similar length.

    Args:
        lengths: Mel frames of each utterance by position.
        max_frames: Most mel frames of a group, each row padded to the longest; a longer utterance is a group by itself.
            Not used with `buckets`.
        buckets: Shapes of which a group fills one; None for a graph that takes any shape.

    Yields:
        Positions to run together; each position once.
    """
    group: list[int] = []
    for position in sorted(lengths, key=lambda place: lengths[place]):
        # Lengths ascend, so the last one is what the group is padded to.
        if buckets is None:
            most_rows = max_frames // lengths[position]
        else:
            most_rows = buckets.batches_for(buckets.frames_for(lengths[position]))[-1]
        if group and len(group) + 1 > most_rows:
            yield group
            group = []
        group.append(position)
    if group:
        yield group


def _spread(jobs: Sequence[Callable[[], None]], parallel_runs: int) -> None:
    """Do the jobs in order, as many at the same time as may run."""
    if parallel_runs == 1 or len(jobs) < 2:
        for job in jobs:
            job()
        return
    from concurrent.futures import ThreadPoolExecutor  # its import takes as long as a chunk of a stream

    with ThreadPoolExecutor(min(parallel_runs, len(jobs))) as pool:
        for done in [pool.submit(job) for job in jobs]:
            done.result()


def _one(alone: Callable[[Request], AudioBuffer], request: Request) -> list[AudioBuffer]:
    return [alone(request)]


def _together(
    graph: BatchGraph, requests: Sequence[Request], alone: Callable[[Request], AudioBuffer], sample_rate: int
) -> list[AudioBuffer]:
    try:
        audios = graph.run(requests)
    except DeviceMemoryError:
        # Alone, an utterance is cut into windows that fit.
        return [alone(request) for request in requests]
    return [AudioBuffer(samples[np.newaxis], sample_rate) for samples in audios]


def _guarded(result: BatchResult, positions: Sequence[int], run: Callable[[], Sequence[AudioBuffer]]) -> None:
    try:
        result.audios.update(zip(positions, run(), strict=True))
    except VoirsVocoderError as error:
        result.failures.update(dict.fromkeys(positions, error))
