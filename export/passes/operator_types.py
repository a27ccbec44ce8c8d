"""Which inputs and outputs of a node may be FP16, read from the operator's ONNX schema."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx
import onnx_ir as ir

__all__ = ["NodeTypes", "node_types"]

_HALF, _SINGLE = "tensor(float16)", "tensor(float)"


@dataclass(frozen=True)
class NodeTypes:
    """The type variables of one node's inputs and outputs, such as `T`, or a type that the schema fixes.

    Attributes:
        inputs: Type variable or fixed type of each input of the node.
        outputs: Type variable or fixed type of each output of the node.
        either: Type variables that admit both FP32 and FP16.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    either: frozenset[str]

    def input_may_be_half(self, index: int) -> bool:
        """Whether an FP32 input may become FP16, together with all inputs and outputs that share its variable."""
        return self.inputs[index] in self.either

    def output_follows_inputs(self, index: int) -> bool:
        """Whether an output's type is that of an input, rather than fixed or set by an attribute."""
        return self.outputs[index] in self.either and self.outputs[index] in self.inputs


def node_types(node: ir.Node, opset_imports: dict[str, int]) -> NodeTypes:
    """Type variables of a node in the opset of its model.

    Raises:
        PreconditionError: The operator is not one of ONNX's.
    """
    try:
        schema = onnx.defs.get_schema(node.op_type, opset_imports.get(node.domain, 0), node.domain)
    except onnx.defs.SchemaError as error:
        raise ir.passes.PreconditionError(
            f"precision is decided by ONNX's operator schemas, got {node.domain}::{node.op_type} in node "
            f"{node.name}; export with standard operators"
        ) from error
    return NodeTypes(
        inputs=_variables(schema.inputs, len(node.inputs)),
        outputs=_variables(schema.outputs, len(node.outputs)),
        either=frozenset(
            constraint.type_param_str
            for constraint in schema.type_constraints
            if {_HALF, _SINGLE} <= set(constraint.allowed_type_strs)
        ),
    )


def _variables(parameters: Sequence[onnx.defs.OpSchema.FormalParameter], count: int) -> tuple[str, ...]:
    # Only the last parameter may be variadic, and it then takes all that follow.
    return tuple(parameters[min(index, len(parameters) - 1)].type_str for index in range(count))
