"""Checks of a graph before a pass edits its precision or the way that it takes its input."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from voirs_vocoder.calibration.edits.reading import refuse_unless_flat
from voirs_vocoder.export.passes.operator_types import node_types

__all__ = ["all_values", "refuse_unless_plain"]

_QUANTIZED = frozenset({"DequantizeLinear", "DynamicQuantizeLinear", "QuantizeLinear"})
_RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)


def all_values(graph: ir.Graph) -> Iterator[ir.Value]:
    """Inputs, initializers and what nodes compute, in order; outputs that a node leaves out are skipped."""
    yield from graph.inputs
    yield from graph.initializers.values()
    for node in graph:
        yield from (value for value in node.outputs if value.name)


def refuse_unless_plain(model: ir.Model, *, quantized: bool = False) -> None:
    """Check that every value is a typed tensor of one flat graph of standard, certain operators.

    Args:
        model: Model to check.
        quantized: Whether the graph may have QuantizeLinear and DequantizeLinear.

    Raises:
        PreconditionError: The graph has something else, which the message names.
    """
    graph = model.graph
    refuse_unless_flat(model)
    for node in graph:
        if node.op_type in _QUANTIZED and not quantized:
            raise ir.passes.PreconditionError(
                f"precision is edited before quantization, got node {node.name} ({node.op_type}); "
                "start from the FP32 graph"
            )
        if node.op_type in _RANDOM:
            raise ir.passes.PreconditionError(
                f"randomness must be a graph input, got node {node.name} ({node.op_type}); "
                "pass the noise to the model"
            )
        node_types(node, model.opset_imports)
    for value in all_values(graph):
        if not isinstance(value.type, ir.TensorType):
            raise ir.passes.PreconditionError(
                f"every value must be a tensor of known type, got {value.name}: {value.type}; "
                "run shape inference, and export without sequences"
            )
    overridable = [value.name for value in graph.inputs if value.is_initializer()]
    if overridable:
        raise ir.passes.PreconditionError(
            f"a graph input must not have a default, got initializers for {overridable}; "
            "remove them from the inputs"
        )
