"""Adds nodes and constants to a graph under names that nothing else in it bears."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from voirs_vocoder.calibration.edits.unique_names import UniqueNames

__all__ = ["NodeWriter"]


class NodeWriter:
    """Writes into one graph.

    Nodes are made first and inserted by the caller, who knows where they belong.

    Args:
        graph: The graph whose names stay unique.
    """

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        values = [*graph.inputs, *graph.initializers.values(), *(v for node in graph for v in node.outputs)]
        self._values = UniqueNames(value.name for value in values)
        self._nodes = UniqueNames(node.name for node in graph)

    def constant(self, name: str, values: NDArray[np.generic]) -> ir.Value:
        """A new initializer."""
        return ir.tape.Tape(self._graph).initializer(ir.tensor(values, name=self._values.claim(name)))

    def node(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        output: str,
        attributes: Mapping[str, int] | None = None,
        *,
        name: str | None = None,
    ) -> ir.Node:
        """A new node with one output, not inserted yet.

        Args:
            op_type: Operator of ONNX's own domain.
            inputs: Values that it reads.
            output: Wanted name of its output.
            attributes: Attributes by name.
            name: Wanted name of the node; None makes one of the operator and the output.
        """
        return ir.node(
            op_type,
            inputs,
            dict(attributes or {}),
            outputs=[ir.Value(name=self._values.claim(output))],
            name=self._nodes.claim(name or f"{op_type}.{output}"),
        )

    def claim(self, wanted: str) -> str:
        """A free name for a value, `wanted` where possible."""
        return self._values.claim(wanted)

    def claim_node(self, wanted: str) -> str:
        """A free name for a node, `wanted` where possible."""
        return self._nodes.claim(wanted)

    def take_over(self, value: ir.Value, replacement: ir.Value, former: str, keep: Sequence[ir.Node]) -> None:
        """Let a replacement take a value's name, its place among the graph's outputs, and its readers.

        Args:
            value: The value to replace.
            replacement: The value that takes its place.
            former: Wanted name that `value` bears from now on.
            keep: Nodes that go on reading `value`.
        """
        for user, place in tuple(value.uses()):
            if user not in keep:
                user.replace_input_with(place, replacement)
        if value.is_graph_output():
            self._graph.outputs[self._graph.outputs.index(value)] = replacement
        # The boundary's names, shapes and types are part of the graph's contract.
        replacement.shape, replacement.type = value.shape, value.type
        name, value.name = value.name, self._values.claim(former)
        replacement.name = name
