"""Which inputs and outputs of a node may be FP16 or BF16, read from the operator's ONNX schema."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx
import onnx_ir as ir

__all__ = ["HALVES", "NodeTypes", "node_types", "title_of"]

HALVES = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
"""The floating-point types of 16 bits that graphs may compute in."""

_SINGLE = "tensor(float)"
_SCHEMA_TYPES = {ir.DataType.FLOAT16: "tensor(float16)", ir.DataType.BFLOAT16: "tensor(bfloat16)"}
_TITLES = {ir.DataType.FLOAT16: "FP16", ir.DataType.BFLOAT16: "BF16"}


@dataclass(frozen=True)
class NodeTypes:
    """The type variables of one node's inputs and outputs, such as `T`, or a type that the schema fixes.

    Attributes:
        inputs: Type variable or fixed type of each input of the node.
        outputs: Type variable or fixed type of each output of the node.
        either: Type variables that admit both FP32 and the type of 16 bits.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    either: frozenset[str]

    def input_may_be_half(self, index: int) -> bool:
        """Whether an FP32 input may get 16 bits, together with all inputs and outputs that share its variable."""
        return self.inputs[index] in self.either

    def output_follows_inputs(self, index: int) -> bool:
        """Whether an output's type is that of an input, rather than fixed or set by an attribute."""
        return self.outputs[index] in self.either and self.outputs[index] in self.inputs


def title_of(half: ir.DataType) -> str:
    """What people call a type of `HALVES`: FP16 or BF16."""
    return _TITLES[half]


def node_types(
    node: ir.Node, opset_imports: dict[str, int], half: ir.DataType = ir.DataType.FLOAT16
) -> NodeTypes:
    """Type variables of a node in the opset of its model.

    Args:
        node: The node.
        opset_imports: Domain to opset of the model.
        half: The type of 16 bits that `NodeTypes.either` is about, one of `HALVES`.

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
            if {_SCHEMA_TYPES[half], _SINGLE} <= set(constraint.allowed_type_strs)
        ),
    )


def _variables(parameters: Sequence[onnx.defs.OpSchema.FormalParameter], count: int) -> tuple[str, ...]:
    # Only the last parameter may be variadic, and it then takes all that follow.
    return tuple(parameters[min(index, len(parameters) - 1)].type_str for index in range(count))
