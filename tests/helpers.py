"""What tests of several files share besides fixtures: random mels, and streams of mels cut into pieces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime import StreamingConfig, Vocoder, VocodingConfig

__all__ = ["cut", "random_mel", "random_mels", "streamed"]


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
