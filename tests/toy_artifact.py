"""A toy artifact, whose files are a few bytes that nothing runs: for tests of what is read and written on disk."""

from __future__ import annotations

from pathlib import Path

from voirs_vocoder.export.artifact.documents import with_documents
from voirs_vocoder.export.artifact.writer import create_artifact, file_entry, with_files
from voirs_vocoder.runtime import Artifact, get_convention
from voirs_vocoder.runtime.artifact.manifest import (
    FORMAT_VERSION,
    GraphEntry,
    GraphFacts,
    Manifest,
    Source,
    TensorInfo,
)

__all__ = ["GRAPH", "GRAPH_PATH", "toy_artifact", "toy_graph", "toy_manifest"]

GRAPH = b"not really a graph"
GRAPH_PATH = "graphs/offline.fp32.onnx"


def toy_graph(path: str = GRAPH_PATH, data: bytes = GRAPH, precision: str = "fp32") -> GraphEntry:
    """Entry of a graph whose file holds `data`."""
    return GraphEntry(
        role="offline",
        precision=precision,
        target=None,
        file=file_entry(path, data),
        opset=20,
        inputs=(TensorInfo(name="mel", dtype="float32", shape=("batch", 80, "frames")),),
        outputs=(TensorInfo(name="audio", dtype="float32", shape=("batch", 1, "frames*256")),),
        facts=GraphFacts(activation_bytes_per_frame=100),
        details={},
    )


def toy_manifest(path: str = GRAPH_PATH, **changes: object) -> Manifest:
    """Manifest of one graph at `path`, with other values for the fields in `changes`."""
    fields: dict[str, object] = {
        "format_version": FORMAT_VERSION,
        "family": "test",
        "driver": "direct",
        "variant": "custom",
        "sample_rate": 22050,
        "hop_length": 256,
        "mel": get_convention("hifigan-22k"),
        "context_frames": 1,
        "look_ahead_frames": 1,
        "look_ahead_samples": 200,
        "source": Source(checkpoint_sha256=None, config={}),
        "licence": None,
        "graphs": (toy_graph(path),),
        "tools": {},
    }
    return Manifest(**{**fields, **changes})  # type: ignore[arg-type]


def toy_artifact(root: Path, *, force: bool = False, **changes: object) -> Artifact:
    """Write a toy artifact with a graph, a report and the documents that follow from its manifest."""
    report = {"validation/report.json": b'{"passed": true}'}
    manifest, documents = with_documents(with_files(toy_manifest(**changes), report))
    return create_artifact(root, manifest, {GRAPH_PATH: GRAPH, **report, **documents}, force=force)
