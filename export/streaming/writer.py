"""Writes the nodes of a new graph in order, with names that nothing else bears."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from voirs_vocoder.calibration.edits.unique_names import UniqueNames

__all__ = ["END", "GraphWriter", "remove_unread"]

END = (1 << 63) - 1
"""End of a Slice that runs to the last position."""


class GraphWriter:
    """Collects nodes and constants of a new graph.

    Args:
        taken: Names of values that are in use already; None entries are ignored.
        taken_nodes: Names of nodes that are in use already; None entries are ignored.

    Attributes:
        nodes: The nodes written so far, in order.
        constants: The int64 constants made so far, by their values.
    """

    def __init__(self, taken: Sequence[str | None], taken_nodes: Sequence[str | None]) -> None:
        self.nodes: list[ir.Node] = []
        self.constants: dict[tuple[int, ...], ir.Value] = {}
        self._values = UniqueNames(taken)
        self._nodes = UniqueNames(taken_nodes)

    def add(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, int | Sequence[int]] | None = None,
        *,
        name: str,
        outputs: int = 1,
    ) -> list[ir.Value]:
        """Add a node.

        Args:
            op_type: Operator of ONNX's own domain.
            inputs: Values of the new graph; None leaves an input out.
            attributes: Attributes of the node by name; None for none.
            name: Wanted name of the output; several outputs are numbered.
            outputs: Number of outputs.

        Returns:
            The node's outputs.
        """
        names = [name] if outputs == 1 else [f"{name}.{number}" for number in range(outputs)]
        made = [ir.Value(name=self._values.claim(wanted)) for wanted in names]
        node = ir.node(
            op_type, inputs, dict(attributes or {}), outputs=made, name=self._nodes.claim(f"{op_type}.{name}")
        )
        self.nodes.append(node)
        return made

    def claim(self, wanted: str) -> str:
        """A free name for a value."""
        return self._values.claim(wanted)

    def claim_node(self, wanted: str) -> str:
        """A free name for a node."""
        return self._nodes.claim(wanted)

    def integers(self, *values: int) -> ir.Value:
        """A constant int64 [count], made once."""
        if values not in self.constants:
            name = self._values.claim("integers." + "_".join(map(str, values[:6])))
            tensor = ir.tensor(np.array(values, np.int64), name=name)
            self.constants[values] = ir.tape.Tape().initializer(tensor)
        return self.constants[values]

    def slice(self, value: ir.Value, start: int, end: int, axis: int, *, name: str) -> ir.Value:
        """Positions start to end of an axis."""
        inputs = [value, self.integers(start), self.integers(end), self.integers(axis)]
        return self.add("Slice", inputs, name=name)[0]

    def unsqueeze(self, value: ir.Value, *axes: int, name: str) -> ir.Value:
        """New axes of size 1."""
        return self.add("Unsqueeze", [value, self.integers(*axes)], name=name)[0]

    def reshape(self, value: ir.Value, *shape: int, name: str) -> ir.Value:
        """Another shape; 0 keeps an axis, -1 is what is left."""
        return self.add("Reshape", [value, self.integers(*shape)], name=name)[0]


def remove_unread(graph: ir.Graph, node: ir.Node) -> None:
    """Remove a node, and then every node before it that nothing reads any more.

    Args:
        graph: Graph that the nodes are in.
        node: The node; it stays where something reads its outputs.
    """
    pending = [node]
    while pending:
        last = pending.pop()
        if last.graph is None or any(output.uses() or output.is_graph_output() for output in last.outputs):
            continue
        before = [value.producer() for value in last.inputs if value is not None]
        graph.remove(last, safe=True)
        pending.extend(each for each in before if each is not None)
