"""Questions about a flat graph: is it flat, which constant does a value have, which node alone reads it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

import onnx
import onnx_ir as ir
from numpy.typing import NDArray

__all__ = [
    "attribute",
    "constant",
    "graph_of",
    "initializer",
    "input_at",
    "integers",
    "is_boundary",
    "name_of",
    "nodes_by_name",
    "refuse_unless_flat",
    "sole_reader",
]


def attribute(node: ir.Node, name: str, default: float) -> float:
    """A numeric attribute of a node, or ONNX's default for it."""
    found = node.attributes.get(name)
    return default if found is None else float(found.value)


def integers(node: ir.Node, name: str, default: Sequence[int]) -> list[int]:
    """A node's attribute of several integers, or ONNX's default for it."""
    found = node.attributes.get(name)
    return list(default if found is None else found.as_ints())


def constant(value: ir.Value | None) -> NDArray[Any] | None:
    """The values of an initializer or of a `Constant` node; None for a value that is computed."""
    stored = initializer(value)
    if stored is not None or value is None:
        return stored
    producer = value.producer()
    if producer is None or producer.op_type != "Constant" or "value" not in producer.attributes:
        return None
    values: NDArray[Any] = producer.attributes["value"].as_tensor().numpy()
    return values


def initializer(value: ir.Value | None) -> NDArray[Any] | None:
    """The values of an initializer; None for any other value."""
    if value is None or not value.is_initializer() or value.const_value is None:
        return None
    values: NDArray[Any] = value.const_value.numpy()
    return values


def input_at(node: ir.Node, place: int) -> ir.Value | None:
    """A node's input at a place; None where it is left out."""
    return node.inputs[place] if len(node.inputs) > place else None


def is_boundary(value: ir.Value) -> bool:
    """Whether the graph's caller passes or receives a value."""
    return value.is_graph_input() or value.is_graph_output()


def name_of(value: ir.Value | ir.Node | None) -> str:
    """The name of a value or node; empty for None and where it has none."""
    return "" if value is None else value.name or ""


def nodes_by_name(graph: ir.Graph, names: Collection[str]) -> list[ir.Node]:
    """The nodes with one of these names, in the order of the graph."""
    return [node for node in graph if node.name in names]


def refuse_unless_flat(model: ir.Model) -> None:
    """Check that a model is one graph without functions and subgraphs, whose nodes have names of their own.

    Raises:
        PreconditionError: The model is not; the message names what is wrong.
    """
    if model.functions:
        raise ir.passes.PreconditionError(
            f"a graph is edited without functions, got {len(model.functions)}; inline them first"
        )
    counts = Counter(node.name for node in model.graph)
    repeated = [name for name, count in counts.items() if count > 1 or not name]
    if repeated:
        raise ir.passes.PreconditionError(
            f"nodes must have names of their own, got {repeated[:5]}; run NameNodesPass first"
        )
    for node in model.graph:
        if any(a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in node.attributes.values()):
            raise ir.passes.PreconditionError(
                f"graphs are edited flat, got a subgraph in node {node.name} ({node.op_type}); unroll it at export"
            )


def sole_reader(value: ir.Value) -> ir.Node | None:
    """The node that alone reads a value; None where several do, none does, or the graph's caller does."""
    uses = list(value.uses())
    return uses[0].node if len(uses) == 1 and not is_boundary(value) else None


def graph_of(model: onnx.ModelProto) -> ir.Graph:
    """The graph of a model, for reading; edits of it do not reach the model."""
    return ir.from_proto(model).graph
