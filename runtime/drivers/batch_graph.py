"""Several utterances: in one run of a graph where that is faster, one by one elsewhere, each failing by itself.

The graph zeroes the padding behind the end of each row after every layer, so a row equals its utterance run alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.audio import AudioBuffer
from voirs_vocoder.runtime.config import VocodingConfig
from voirs_vocoder.runtime.errors import VoirsVocoderError
from voirs_vocoder.runtime.providers.session import Session

__all__ = ["LENGTHS", "BatchGraph", "BatchResult", "Request", "groups_within", "run_batch"]

LENGTHS = "lengths"
"""Name of the input of a batch graph that states how many mel frames each row has."""


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


@dataclass(frozen=True, eq=False)
class BatchGraph:
    """A loaded `batch` graph.

    Attributes:
        session: Session that runs the graph.
        max_frames: Most mel frames of all rows together, padding included.
        hop_length: Audio samples per mel frame.
        row: Makes the inputs of one utterance's row: those of the offline graph without the batch axis, with time as
            the last axis.
    """

    session: Session
    max_frames: int
    hop_length: int
    row: Callable[[Request], Mapping[str, NDArray[np.float32]]]

    def run(self, requests: Sequence[Request]) -> list[NDArray[np.float32]]:
        """Run several utterances at once.

        Args:
            requests: The utterances, at least one.

        Returns:
            Audio of each utterance, float32 [samples].

        Raises:
            ProviderError: The provider failed.
        """
        rows = [self.row(request) for request in requests]
        lengths = [request.mel.shape[1] for request in requests]
        longest = max(lengths)
        inputs: dict[str, NDArray[np.generic]] = {LENGTHS: np.array(lengths, np.int64)}
        for name, values in rows[0].items():
            rate = values.shape[-1] // lengths[0]
            stacked = np.zeros((len(rows), *values.shape[:-1], longest * rate), np.float32)
            for place, row in enumerate(rows):
                stacked[place, ..., : row[name].shape[-1]] = row[name]
            inputs[name] = stacked
        audio = self.session.run(inputs)["audio"]
        return [audio[place, 0, : length * self.hop_length].copy() for place, length in enumerate(lengths)]


def run_batch(
    graph_for: Callable[[VocodingConfig], BatchGraph | None],
    requests: Mapping[int, Request],
    alone: Callable[[Request], AudioBuffer],
    sample_rate: int,
) -> BatchResult:
    """Run the utterances of a batch.

    Args:
        graph_for: Finds the graph that may run an utterance together with others; see `Driver.batch_graph`.
        requests: The utterances by position.
        alone: Runs one utterance.
        sample_rate: Sample rate of the audio in Hz.

    Returns:
        Audio or error of each utterance.

    Raises:
        ProviderError: `SessionConfig.batching` asks for a batch graph that the artifact does not have.
    """
    result = BatchResult({}, {})
    lengths: dict[int, int] = {}
    shared: BatchGraph | None = None
    for position, request in requests.items():
        frames = request.mel.shape[1]
        graph = graph_for(request.config)
        if graph is None or frames > graph.max_frames:
            _guarded(result, [position], partial(_one, alone, request))
        else:
            shared, lengths[position] = graph, frames
    if shared is not None:
        for group in groups_within(lengths, shared.max_frames):
            members = [requests[position] for position in group]
            _guarded(result, group, partial(_together, shared, members, sample_rate))
    return result


def groups_within(lengths: Mapping[int, int], max_frames: int) -> Iterator[list[int]]:
    """Group utterances of similar length.

    Args:
        lengths: Mel frames of each utterance by position.
        max_frames: Most mel frames of a group, each row padded to the longest; a longer utterance is a group by itself.

    Yields:
        Positions to run together; each position once.
    """
    group: list[int] = []
    for position in sorted(lengths, key=lambda place: lengths[place]):
        # Lengths ascend, so the last one is what the group is padded to.
        if group and (len(group) + 1) * lengths[position] > max_frames:
            yield group
            group = []
        group.append(position)
    if group:
        yield group


def _one(alone: Callable[[Request], AudioBuffer], request: Request) -> list[AudioBuffer]:
    return [alone(request)]


def _together(graph: BatchGraph, requests: Sequence[Request], sample_rate: int) -> list[AudioBuffer]:
    return [AudioBuffer(samples[np.newaxis], sample_rate) for samples in graph.run(requests)]


def _guarded(result: BatchResult, positions: Sequence[int], run: Callable[[], Sequence[AudioBuffer]]) -> None:
    try:
        result.audios.update(zip(positions, run(), strict=True))
    except VoirsVocoderError as error:
        result.failures.update(dict.fromkeys(positions, error))
