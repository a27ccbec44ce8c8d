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
    """A graph and its entry in the manifest.

    Attributes:
        entry: Entry of the graph in the manifest.
        data: Bytes of the ONNX model.
    """

    entry: GraphEntry
    data: bytes


def open_graph(data: bytes, entry: GraphEntry) -> OrtSession:
    """Load a graph in ONNX Runtime on the CPU.

    Args:
        data: Bytes of the ONNX model.
        entry: Entry of the graph in the manifest.
    """
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
    """Serialize a graph and describe it.

    Args:
        model: ONNX model.
        role: Role of the graph, see `GraphEntry`.
        precision: Precision of the graph.
        target: Kind of backend that the graph is made for; None for a precision whose graphs run everywhere.
        inputs: Inputs in the graph's order.
        outputs: Outputs in the graph's order.
        facts: Facts that the runtime must know to run the graph.
        details: What was decided and measured when the graph was made, for people.
        keep_float: Precision to patterns of the nodes that must stay float in it; empty but for an FP32 graph.
    """
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
