"""Runs the utterances of a batch: at once where that is faster, one by one elsewhere, each failing for itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.audio import AudioBuffer
from voirs_vocoder.runtime.batch import BatchGraph, groups_within
from voirs_vocoder.runtime.config import VocodingConfig
from voirs_vocoder.runtime.drivers.driver import Driver
from voirs_vocoder.runtime.errors import VoirsVocoderError

__all__ = ["BatchResult", "Request", "run_batch"]


@dataclass(frozen=True, eq=False)
class Request:
    """One utterance.

    Attributes:
        mel: [n_mels, frames], checked.
        config: Checked.
    """

    mel: NDArray[np.float32]
    config: VocodingConfig


@dataclass(frozen=True, eq=False)
class BatchResult:
    """What became of the utterances, by position: each is in one of the two."""

    audios: dict[int, AudioBuffer]
    failures: dict[int, VoirsVocoderError]


def run_batch(
    driver: Driver,
    requests: Mapping[int, Request],
    alone: Callable[[Request], AudioBuffer],
    sample_rate: int,
) -> BatchResult:
    """Run utterances.

    Args:
        driver: What runs them at once.
        requests: By position.
        alone: Runs one.
        sample_rate: Of the audio, in Hz.

    Raises:
        ProviderError: A batch graph is asked for that the artifact does not have.
    """
    graph = driver.batch_graph()
    result = BatchResult({}, {})
    rows: dict[int, int] = {}
    for position, request in requests.items():
        frames = request.mel.shape[1]
        if graph is None or frames > graph.max_frames or not driver.batches(request.config):
            _guarded(result, [position], partial(_one, alone, request))
        else:
            rows[position] = frames
    if graph is not None:
        for group in groups_within(rows, graph.max_frames):
            members = [requests[position] for position in group]
            _guarded(result, group, partial(_together, driver, graph, members, sample_rate))
    return result


def _one(alone: Callable[[Request], AudioBuffer], request: Request) -> list[AudioBuffer]:
    return [alone(request)]


def _together(
    driver: Driver, graph: BatchGraph, requests: Sequence[Request], sample_rate: int
) -> list[AudioBuffer]:
    rows = [driver.batch_inputs(request.mel, request.config) for request in requests]
    made = graph.run(rows, [request.mel.shape[1] for request in requests])
    return [AudioBuffer(samples[np.newaxis], sample_rate) for samples in made]


def _guarded(result: BatchResult, positions: Sequence[int], run: Callable[[], Sequence[AudioBuffer]]) -> None:
    try:
        result.audios.update(zip(positions, run(), strict=True))
    except VoirsVocoderError as error:
        result.failures.update(dict.fromkeys(positions, error))
