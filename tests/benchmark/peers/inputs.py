"""The mels that peers run on, and how long a run is in each mode. Importable without torch and every runtime."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.benchmark.peers.contract import BATCH_ROWS, CHUNK_FRAMES, Contender, Mode
from voirs_vocoder.export.bench.artifact import bench_mel
from voirs_vocoder.runtime.artifact.manifest import Manifest

__all__ = ["FULL", "QUICK", "Sizes", "audio_s", "first_audio", "mode_mels", "quality_inputs", "run_mode"]


@dataclass(frozen=True)
class Sizes:
    """Length of the runs.

    Attributes:
        frames: Mel frames of an utterance, in the modes `offline` and `batch`.
        chunks: Chunks of a live utterance.
        quality_frames: Mel frames of the excerpts that quality is measured on.
        recordings: Most recordings that quality is measured on.
    """

    frames: int
    chunks: int
    quality_frames: int
    recordings: int


# Four seconds, since PESQ scatters on shorter excerpts.
FULL = Sizes(frames=200, chunks=12, quality_frames=344, recordings=16)
QUICK = Sizes(frames=96, chunks=4, quality_frames=172, recordings=3)


def mode_mels(manifest: Manifest, mode: Mode, sizes: Sizes) -> NDArray[np.float32]:
    """The mels of a run in a mode, float32 [batch, n_mels, frames], the same every time.

    Args:
        manifest: Manifest of the model.
        mode: The mode.
        sizes: Length of the runs.
    """
    context = manifest.context_frames + manifest.look_ahead_frames
    frames = sizes.chunks * CHUNK_FRAMES + context if mode == "stream" else sizes.frames
    rows = BATCH_ROWS if mode == "batch" else 1
    return np.repeat(bench_mel(manifest.mel, frames)[np.newaxis], rows, axis=0)


def run_mode(contender: Contender, mode: Mode, mels: NDArray[np.float32], sizes: Sizes) -> None:
    """Run a peer once in a mode.

    Args:
        contender: The opened peer.
        mode: The mode.
        mels: Result of `mode_mels`.
        sizes: Length of the runs.
    """
    if mode == "stream":
        for _ in contender.chunks(mels[0], sizes.chunks):
            pass
    else:
        contender.vocode(mels)


def first_audio(contender: Contender, mode: Mode, mels: NDArray[np.float32]) -> None:
    """Run a peer until it has its first audio: a whole run, or the first chunk of a live utterance.

    Args:
        contender: The opened peer.
        mode: The mode.
        mels: Result of `mode_mels`.
    """
    if mode == "stream":
        contender.first_chunk(mels[0])
    else:
        contender.vocode(mels)


def audio_s(manifest: Manifest, mode: Mode, sizes: Sizes) -> float:
    """Seconds of audio of one run in a mode, all rows together.

    Args:
        manifest: Manifest of the model.
        mode: The mode.
        sizes: Length of the runs.
    """
    frames = sizes.chunks * CHUNK_FRAMES if mode == "stream" else sizes.frames
    rows = BATCH_ROWS if mode == "batch" else 1
    return rows * frames * manifest.hop_length / manifest.sample_rate


def quality_inputs(folder: Path) -> list[NDArray[np.float32]]:
    """The mels that quality is measured on, float32 [1, n_mels, frames] each, all of one length.

    Args:
        folder: Folder of the case.
    """
    with np.load(folder / "quality.npz") as arrays:
        mels = arrays["mels"]
    # All have the same strides, which torch.compile compiles for.
    return [mels[row : row + 1] for row in range(len(mels))]
