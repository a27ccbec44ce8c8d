"""What the benchmark knows of a model, and what a peer is: the contract of every row of the table of peers.

Importable without torch, onnx and every runtime: a worker process imports only what its own peer needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from tests.benchmark.inverse_transform import InverseTransform
from voirs_vocoder.runtime.artifact.manifest import Manifest

__all__ = [
    "BATCH_ROWS",
    "CHUNK_FRAMES",
    "MODES",
    "Arithmetic",
    "CaseFacts",
    "Contender",
    "Feed",
    "Mode",
    "Network",
    "OpenRequest",
    "Peer",
    "PeerFiles",
    "artifact_folder",
    "peer_folder",
    "read_facts",
    "stock_graph",
    "write_facts",
]

Mode = Literal["offline", "stream", "batch"]
"""`offline`: one utterance in one pass; `stream`: chunks of 8 frames; `batch`: eight utterances of one length."""

MODES: dict[Mode, str] = {
    "offline": "one utterance",
    "stream": "chunks of 8 frames",
    "batch": "8 utterances",
}
"""Every mode and its title, in the order of measuring: the first one measures quality too."""

CHUNK_FRAMES = 8
BATCH_ROWS = 8
_FACTS = "case.json"

Arithmetic = Literal["fp32", "bf16", "int8"]
Feed = Mapping[str, NDArray[np.generic]]
Network = Callable[[Feed], Mapping[str, NDArray[np.float32]]]
"""One graph of a model: named inputs to named outputs, with any number of rows."""


class CaseFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What was made of a case, for processes that load neither torch nor the table of cases.

    Attributes:
        key: Key of the case.
        family: Model family.
        driver: Name of the runtime's driver: `direct`, `flow` or `diffusion`.
        roles: Roles of the graphs of one pass, such as `offline`.
        checkpoint: File of the weights, its configuration beside it.
        trained: Whether the weights are trained; quality is judged on speech only then.
        precisions: Precisions of our artifact.
        gflop_per_s: Billions of multiplications and additions of the convolutions and matrix products per second of
            audio, in all sampling steps, of the network as it was published.
        transform: What users compute outside of the graph, from its outputs `real` and `imaginary`; None where the
            graph gives the audio.
        settings: What the files were made with; other settings make them again.
    """

    key: str
    family: str
    driver: str
    roles: tuple[str, ...]
    checkpoint: str
    trained: bool
    precisions: tuple[str, ...]
    gflop_per_s: float
    transform: InverseTransform | None = None
    settings: str = ""


class Contender(Protocol):
    """A model that a peer has opened."""

    def vocode(self, mels: NDArray[np.float32]) -> NDArray[np.float32]:
        """From mels [batch, n_mels, frames] to audio [batch, frames * hop_length]."""
        ...

    def first_chunk(self, mel: NDArray[np.float32]) -> None:
        """Feed a new live utterance from a mel [n_mels, frames] until its first audio is there."""
        ...

    def chunks(self, mel: NDArray[np.float32], count: int) -> Iterator[NDArray[np.float32]]:
        """Synthesize `count` chunks of `CHUNK_FRAMES` frames one after the other, each as audio [samples].

        They continue the live utterance that `first_chunk` began, or begin one where it was not called.

        Args:
            mel: Float32 [n_mels, frames] with `count` chunks, and the context and look-ahead of the model around them.
            count: Number of chunks.
        """
        ...


@dataclass(frozen=True)
class OpenRequest:
    """What a peer opens.

    Attributes:
        folder: Folder of the case, with everything that was made of the model.
        facts: Facts of the case.
        manifest: Manifest of our artifact, which states context, sampling and mel convention.
        threads: Number of threads that the peer may use.
    """

    folder: Path
    facts: CaseFacts
    manifest: Manifest
    threads: int


PeerFiles = Callable[[Path, CaseFacts], Sequence[Path]]
"""The files of the case's folder that a peer needs to run."""


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A way to run a model.

    Attributes:
        name: Name in options, tables and files.
        how: What runs the model and how it was made, in a few words, for people.
        arithmetic: Arithmetic of the convolutions, whose measured peak of the machine the peer is compared with.
        open: Opens the model of a request; called in a process of its own.
        files: Files that the peer needs, whose sizes add up to its size on disk.
        make: Makes the peer's own files in a folder that is its own, from the request and feeds of each graph, by role;
            None for a peer that needs no files of its own.
        cannot: Reason why the peer cannot run a case in a mode; None where it can.
        modules: Modules that must be importable beyond those of the project's development environment.
        install: Command that installs these modules.
        ours: Whether it is an artifact of this project in its own runtime.
        gate: Precision and target of our graphs, whose gates the audio must pass; None for a peer that has none.
    """

    name: str
    how: str
    arithmetic: Arithmetic
    open: Callable[[OpenRequest], Contender]
    files: PeerFiles
    make: Callable[[OpenRequest, Path, Mapping[str, Sequence[Feed]]], None] | None = None
    cannot: Callable[[CaseFacts, Mode], str | None] = field(default=lambda facts, mode: None)
    modules: tuple[str, ...] = ()
    install: str = ""
    ours: bool = False
    gate: tuple[str, str | None] | None = None


def artifact_folder(folder: Path) -> Path:
    """Folder of our artifact in the folder of a case."""
    return folder / "artifact"


def stock_graph(folder: Path, role: str) -> Path:
    """The graph of a role as `torch.onnx.export` alone makes it, in the folder of a case."""
    return folder / "stock" / f"{role}.onnx"


def peer_folder(folder: Path, name: str) -> Path:
    """Folder of a peer's own files in the folder of a case."""
    return folder / "peers" / name


def read_facts(folder: Path) -> CaseFacts | None:
    """Facts of a case that was prepared; None before.

    Args:
        folder: Folder of the case.
    """
    path = folder / _FACTS
    return msgspec.json.decode(path.read_bytes(), type=CaseFacts) if path.is_file() else None


def write_facts(folder: Path, facts: CaseFacts) -> None:
    """Record the facts of a case, as the last step of preparing it.

    Args:
        folder: Folder of the case.
        facts: Facts of the case.
    """
    (folder / _FACTS).write_bytes(msgspec.json.encode(facts))
