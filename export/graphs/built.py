"""A graph's bytes together with its entry in the manifest."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from voirs_vocoder.export.artifact.writer import file_entry
from voirs_vocoder.runtime.artifact.manifest import (
    Figures,
    GraphEntry,
    GraphFacts,
    Precision,
    Target,
    TensorInfo,
    graph_name,
)
from voirs_vocoder.runtime.config import SessionConfig
from voirs_vocoder.runtime.providers.onnxruntime import OrtSession

__all__ = ["BuiltGraph", "built_graph", "open_graph"]


@dataclass(frozen=True)
class BuiltGraph:
    """A graph's bytes and what the manifest says of it."""

    entry: GraphEntry
    data: bytes


def open_graph(data: bytes, entry: GraphEntry) -> OrtSession:
    """A graph in ONNX Runtime on the CPU."""
    return OrtSession(data, entry, "cpu", SessionConfig())


def built_graph(
    model: onnx.ModelProto,
    *,
    role: str,
    precision: Precision,
    target: Target | None,
    inputs: tuple[TensorInfo, ...],
    outputs: tuple[TensorInfo, ...],
    facts: GraphFacts,
    details: Figures,
    keep_float: dict[str, tuple[str, ...]],
) -> BuiltGraph:
    """Serialize a graph and describe it; the arguments are the fields of `GraphEntry`."""
    data = model.SerializeToString(deterministic=True)
    entry = GraphEntry(
        role=role,
        precision=precision,
        target=target,
        file=file_entry(f"graphs/{graph_name(role, precision, target)}.onnx", data),
        opset=next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")),
        inputs=inputs,
        outputs=outputs,
        facts=facts,
        details=details,
        keep_float=keep_float,
    )
    return BuiltGraph(entry, data)
