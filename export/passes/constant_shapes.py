"""Reshapes with constant shapes, so that no graph computes the shape of one tensor from that of another."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from voirs_vocoder.calibration.edits.reading import constant
from voirs_vocoder.calibration.edits.writer import NodeWriter

__all__ = ["ConstantShapesPass"]


class ConstantShapesPass(ir.passes.InPlacePass):
    """Replaces the computed shapes of Reshape nodes by constants, where inference knows what they come to.

        Concat(Shape(x)[0], 2, 4, -1)    becomes    [0, 2, 4, -1]

    A 0 keeps the size of the input's axis at the same place; one size may be left to ONNX as -1. A shape with two sizes
    that are neither known nor kept stays as it is.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite in place."""
        graph, made = model.graph, dict[tuple[int, ...], ir.Value]()
        writer = NodeWriter(graph)
        for node in graph:
            shape = _known_shape(node) if node.op_type == "Reshape" else None
            if shape is None:
                continue
            if shape not in made:
                name = "shape." + "_".join(map(str, shape))
                made[shape] = writer.constant(name, np.array(shape, np.int64))
            node.replace_input_with(1, made[shape])
            node.attributes.pop("allowzero", None)
        if made:
            RemoveUnusedNodesPass()(model)
        return ir.passes.PassResult(model, modified=bool(made))

    def ensures(self, model: ir.Model) -> None:
        """No shape of a Reshape is computed that could be a constant.

        Raises:
            PostconditionError: Such a shape is left.
        """
        left = [
            node.name for node in model.graph if node.op_type == "Reshape" and _known_shape(node) is not None
        ]
        if left:
            raise ir.passes.PostconditionError(
                f"known shapes must be constants, got {left[:5]}; report the model"
            )


def _known_shape(node: ir.Node) -> tuple[int, ...] | None:
    """The shape that a Reshape with a computed shape asks for, in ONNX's notation; None where it is not known."""
    source, result = node.inputs[0], node.outputs[0]
    if constant(node.inputs[1]) is not None or source is None or source.shape is None or result.shape is None:
        return None
    sizes = []
    for place, size in enumerate(result.shape):
        kept = source.shape[place] if place < len(source.shape) else None
        if isinstance(size, int):
            sizes.append(size)
        elif isinstance(kept, ir.SymbolicDim) and kept.value is not None and kept.value == size.value:
            sizes.append(0)
        else:
            sizes.append(-1)
    return tuple(sizes) if sizes.count(-1) <= 1 else None
