"""This project's artifact in its own runtime, in every precision and on every provider for a CPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from tests.benchmark.peers.contract import (
    CHUNK_FRAMES,
    Arithmetic,
    CaseFacts,
    Contender,
    Mode,
    OpenRequest,
    Peer,
    artifact_folder,
)
from voirs_vocoder.runtime import Artifact, SessionConfig, StreamingConfig, Vocoder, VocoderStream
from voirs_vocoder.runtime.errors import InputError

__all__ = ["OUR_PEERS"]

_MOST_FRAMES = 4096


class _OurVocoder:
    """An artifact in our runtime; live utterances run through its stream graph. See `Contender`."""

    def __init__(self, vocoder: Vocoder) -> None:
        self._vocoder = vocoder
        self._stream: VocoderStream | None = None

    def vocode(self, mels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run `Vocoder.vocode`, or `vocode_batch` for several; see `Contender.vocode`."""
        if len(mels) == 1:
            return self._vocoder.vocode(mels[0]).samples
        return np.concatenate([audio.samples for audio in self._vocoder.vocode_batch(list(mels))])

    def first_chunk(self, mel: NDArray[np.float32]) -> None:
        """Push chunks until there is audio, the mel from its beginning again if need be; see `Contender.first_chunk`.

        Raises:
            InputError: There is still none after 4096 frames.
        """
        stream = self._opened()
        stream.reset()
        pushed, size = 0, mel.shape[1] // CHUNK_FRAMES * CHUNK_FRAMES
        while not stream.push(mel[:, pushed % size : pushed % size + CHUNK_FRAMES]).samples.size:
            pushed += CHUNK_FRAMES
            if pushed > _MOST_FRAMES:
                raise InputError(f"the stream must give audio within {_MOST_FRAMES} frames, got none")

    def chunks(self, mel: NDArray[np.float32], count: int) -> Iterator[NDArray[np.float32]]:
        """Push further chunks of the live utterance, so that all sampling steps take part; see `Contender.chunks`."""
        stream = self._opened()
        for start in range(0, count * CHUNK_FRAMES, CHUNK_FRAMES):
            yield stream.push(mel[:, start : start + CHUNK_FRAMES]).samples[0]

    def _opened(self) -> VocoderStream:
        if self._stream is None:
            self._stream = self._vocoder.open_stream(streaming=StreamingConfig(chunk_frames=None))
        return self._stream


def _open(provider: str, precision: str, bf16_floats: bool, request: OpenRequest) -> Contender:
    session = SessionConfig(threads=request.threads, bf16_floats=bf16_floats)
    root = artifact_folder(request.folder)
    return _OurVocoder(Vocoder.load(root, provider=provider, precision=precision, session=session))


def _files(precision: str, target: str | None, folder: Path, facts: CaseFacts) -> Sequence[Path]:
    root = artifact_folder(folder)
    return [
        root / graph.file.path
        for graph in Artifact.open(root).manifest.graphs
        if (graph.role, graph.precision) in {(role, precision) for role in facts.roles}
        and graph.target in (None, target)
    ]


def _cannot(precision: str, facts: CaseFacts, mode: Mode) -> str | None:
    del mode
    if precision in facts.precisions:
        return None
    return f"the artifact has no graphs of precision {precision}"


def _row(precision: str, provider: str, target: str | None, *, bf16_floats: bool = False) -> Peer:
    floats, how = ("-bf16", " with floats in BF16") if bf16_floats else ("", "")
    return Peer(
        name=f"ours-{precision}{floats}-{provider}",
        how=f"our artifact, {precision.upper()}{how}, provider {provider}",
        arithmetic=cast("Arithmetic", precision),
        open=partial(_open, provider, precision, bf16_floats),
        files=partial(_files, precision, target),
        cannot=partial(_cannot, precision),
        ours=True,
        gate=(precision, target),
    )


OUR_PEERS = (
    _row("fp32", "cpu", None),
    _row("fp32", "openvino", None),
    _row("int8", "cpu", "cpu"),
    _row("int8", "openvino", "tensorrt"),
    _row("int8", "openvino", "tensorrt", bf16_floats=True),
    _row("bf16", "openvino", None),
)
"""Our artifact in its variants."""
