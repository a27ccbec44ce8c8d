"""Adds Cast nodes to a graph, named after the value and the type that they cast to."""

from __future__ import annotations

import onnx_ir as ir

from voirs_vocoder.calibration.edits.unique_names import UniqueNames
from voirs_vocoder.export.passes.precision_checks import all_values

__all__ = ["CastWriter", "short_name"]

_SHORT = {ir.DataType.FLOAT: "fp32", ir.DataType.FLOAT16: "fp16", ir.DataType.BFLOAT16: "bf16"}


def short_name(dtype: ir.DataType) -> str:
    """What names of values in FP32, FP16 or BF16 end in, such as `fp16`."""
    return _SHORT[dtype]


class CastWriter:
    """Writes casts between FP32, FP16 and BF16 into one graph.

    Args:
        graph: Graph to write into, whose names stay unique and whose nodes stay in topological order.
    """

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._node_names = UniqueNames(node.name for node in graph)
        self._value_names = UniqueNames(value.name for value in all_values(graph))

    def claim(self, wanted: str) -> str:
        """A free name for a value, `wanted` where possible."""
        return self._value_names.claim(wanted)

    def cast(self, value: ir.Value, dtype: ir.DataType, name: str | None = None) -> ir.Value:
        """Add a Cast of a value, directly after its producer.

        Args:
            value: A graph input or a node's output.
            dtype: FP32, FP16 or BF16.
            name: Name of the result, which no other value has; None makes one from the value's name.

        Returns:
            The result of the Cast.
        """
        short = short_name(dtype)
        result = ir.val(name or self.claim(f"{value.name}.{short}"), dtype, value.shape)
        node_name = self._node_names.claim(f"Cast.{result.name}")
        node = ir.node("Cast", [value], {"to": dtype.value}, outputs=[result], name=node_name)
        producer = value.producer()
        if producer is None:
            self._graph.insert_before(self._graph[0], node)
        else:
            self._graph.insert_after(producer, node)
        return result
