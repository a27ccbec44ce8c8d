"""What tests of several files share besides fixtures: random mels, and streams of mels cut into pieces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime import StreamingConfig, Vocoder, VocodingConfig
from voirs_vocoder.runtime.artifact.axes import axis_size
from voirs_vocoder.runtime.artifact.manifest import GraphEntry

__all__ = ["cut", "graph_feed", "random_mel", "random_mels", "streamed"]


def random_mels(lengths: Sequence[int], seed: int = 0, n_mels: int = 10) -> list[NDArray[np.float32]]:
    """Standard normal mels [n_mels, frames] of these lengths in frames; the default suits the tiny artifacts."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((n_mels, frames), np.float32) for frames in lengths]


def random_mel(vocoder: Vocoder, frames: int, seed: int = 0) -> NDArray[np.float32]:
    """A mel [n_mels, frames] of values that the vocoder's convention allows."""
    convention = vocoder.metadata.convention
    if convention.compression == "db-unit":
        return np.random.default_rng(seed).random((convention.n_mels, frames), np.float32)
    (mel,) = random_mels([frames], seed, convention.n_mels)
    return mel


def graph_feed(
    entry: GraphEntry, hop_length: int, frames: int = 37, batch: int = 2
) -> dict[str, NDArray[np.generic]]:
    """Inputs of any graph: standard normal values, and lengths and bounds that differ between the utterances."""
    rng = np.random.default_rng(0)
    rows = np.arange(batch)
    integers = {"lengths": frames - 7 * rows, "begin": 5 * rows - 3, "end": frames - 9 * rows}
    feed: dict[str, NDArray[np.generic]] = {}
    for info in entry.inputs:
        shape = [axis_size(axis, batch=batch, frames=frames, hop_length=hop_length) for axis in info.shape]
        if info.dtype == "int64":
            feed[info.name] = integers[info.name].astype(np.int64)
        elif info.name == "step":
            feed[info.name] = (2.0 * rows + 1).astype(np.float32)
        else:
            feed[info.name] = rng.standard_normal(shape, np.float32)
    return feed


def cut(mel: NDArray[np.float32], sizes: Sequence[int]) -> list[NDArray[np.float32]]:
    """Pieces of a mel [n_mels, frames], whose lengths in frames are these sizes in turn."""
    pieces, start, turn = [], 0, 0
    while start < mel.shape[1]:
        size = sizes[turn % len(sizes)]
        pieces.append(mel[:, start : start + size])
        start += size
        turn += 1
    return pieces


def streamed(
    vocoder: Vocoder,
    mel: NDArray[np.float32],
    sizes: Sequence[int],
    config: VocodingConfig | None = None,
    streaming: StreamingConfig | None = None,
) -> NDArray[np.float32]:
    """Samples [samples] of a mel that is streamed in pieces of these sizes."""
    pieces = vocoder.vocode_stream(cut(mel, sizes), config, streaming)
    return np.concatenate([np.empty(0, np.float32), *(piece.samples[0] for piece in pieces)])
