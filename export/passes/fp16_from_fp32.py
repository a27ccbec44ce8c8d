"""From FP32 to FP16 inside, with FP32 kept at the boundary and in the nodes that need it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import LiftConstantsToInitializersPass

from voirs_vocoder.export.passes.cast_writer import CastWriter
from voirs_vocoder.export.passes.operator_types import NodeTypes, node_types
from voirs_vocoder.export.passes.precision_checks import all_values, refuse_unless_plain
from voirs_vocoder.export.passes.run import run_passes

__all__ = ["Fp16FromFp32Pass", "fp16_from_fp32"]

_FP32, _FP16 = ir.DataType.FLOAT, ir.DataType.FLOAT16
_FP16_MAX = float(np.finfo(np.float16).max)

# They move or make values without computing on them, so FP32 passes through without loss of precision.
_CARRIERS = frozenset(
    {
        *("Cast", "Concat", "ConstantOfShape", "Expand", "Flatten", "Gather", "GatherElements", "GatherND"),
        *("Identity", "Pad", "Reshape", "Shape", "Size", "Slice", "Split", "Squeeze", "Tile", "Transpose"),
        "Unsqueeze",
    }
)


class Fp16FromFp32Pass(ir.passes.InPlacePass):
    """Computes in FP16 wherever the operator can and no pattern forbids it.

    Graph inputs and outputs stay FP32. A value that is needed in both precisions gets one Cast, however
    many nodes use it; adjacent nodes that stay FP32 share values without any. An operator that only
    moves values (Reshape, Slice, Concat ...) stays FP32 where its inputs are FP32 and some user wants FP32.
    An input or output that ONNX fixes to FP32 (Resize's `scales`), and integers and booleans, keep their
    types.

    Weights are rounded to the nearest FP16 value, ties to even, as IEEE 754 has it: below 2^-14 they become
    subnormal, from 2^-25 down zero. Nothing is clamped, at either end. Attributes (a LeakyRelu's slope)
    stay FP32 in the file; each provider rounds them in its own way.

    Args:
        keep_float: Shell-style patterns (`conv_post`, `Tanh*`) of the nodes that stay FP32.
    """

    def __init__(self, keep_float: Sequence[str] = ()) -> None:
        super().__init__()
        self._keep_float = tuple(keep_float)

    def requires(self, model: ir.Model) -> None:
        """The graph is plain and FP32, and every pattern matches a node.

        Raises:
            PreconditionError: The graph is not plain or not FP32, or a pattern matches no node.
        """
        refuse_unless_plain(model)
        halves = [value.name for value in all_values(model.graph) if value.dtype == _FP16]
        if halves:
            raise ir.passes.PreconditionError(
                f"FP16 is made from an FP32 graph, got FP16 in {halves[:5]}; start from the FP32 export"
            )
        for pattern in self._keep_float:
            if not any(fnmatchcase(node.name or "", pattern) for node in model.graph):
                raise ir.passes.PreconditionError(
                    f"every pattern of nodes to keep in FP32 must match one, got {pattern!r}; "
                    f"there are {', '.join(sorted(node.name or '' for node in model.graph))[:300]}"
                )

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Convert in place.

        Raises:
            PassError: A weight does not fit into FP16.
        """
        LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
        graph = model.graph
        types = {node: node_types(node, model.opset_imports) for node in graph}
        single = {node for node in graph if self._keeps(node)}
        single |= _carried(graph, types, single)

        # What each node wants is settled on the FP32 graph, before any type changes.
        wants_half = {
            (node, index)
            for node in graph
            for index, value in enumerate(node.inputs)
            if value is not None and value.dtype == _FP32
            if node not in single and types[node].input_may_be_half(index)
        }
        values = [value for value in all_values(graph) if value.dtype == _FP32]
        for node in graph:
            if node not in single:
                _compute_in_half(node, types[node])
        casts = CastWriter(graph)
        for value in values:
            _provide(value, wants_half, casts)
        return ir.passes.PassResult(model, modified=True)

    def ensures(self, model: ir.Model) -> None:
        """The boundary and the kept nodes see no FP16, and no value goes down to FP16 and straight up again.

        Raises:
            PostconditionError: A value of the boundary or of a kept node is FP16, or a value is cast there and back.
        """
        boundary = [*model.graph.inputs, *model.graph.outputs]
        # A pattern such as `C*` is not meant for the new casts.
        kept = [node for node in model.graph if self._keeps(node) and node.op_type != "Cast"]
        beside_kept = [value for node in kept for value in (*node.inputs, *node.outputs)]
        for value in (*boundary, *beside_kept):
            if value is not None and value.dtype == _FP16:
                raise ir.passes.PostconditionError(
                    f"the boundary and the kept nodes must be FP32, got {value.name}; report the model"
                )
        for first in model.graph:
            for second in first.outputs[0].consumers():
                if [_cast_types(first), _cast_types(second)] == [(_FP32, _FP16), (_FP16, _FP32)]:
                    raise ir.passes.PostconditionError(
                        f"no value may be rounded for nothing, got {first.name} before {second.name}; "
                        "report the model"
                    )

    def _keeps(self, node: ir.Node) -> bool:
        return any(fnmatchcase(node.name or "", pattern) for pattern in self._keep_float)


def fp16_from_fp32(model: onnx.ModelProto, keep_float: Sequence[str] = ()) -> onnx.ModelProto:
    """An FP16 copy of a model whose nodes have names; see `Fp16FromFp32Pass`.

    Args:
        model: FP32 model; it is not changed.
        keep_float: Shell-style patterns of the nodes that stay FP32.

    Raises:
        ExportError: The graph cannot be converted, a pattern matches nothing, or a weight is too large.
    """
    return run_passes(model, [Fp16FromFp32Pass(keep_float)])


def _cast_types(node: ir.Node) -> tuple[ir.DataType | None, ir.DataType | None] | None:
    source = node.inputs[0] if node.op_type == "Cast" else None
    return (source.dtype, node.outputs[0].dtype) if source is not None else None


def _carried(graph: ir.Graph, types: dict[ir.Node, NodeTypes], kept: set[ir.Node]) -> set[ir.Node]:
    """The carriers that stay FP32: all that they read is FP32, and some user wants FP32."""
    carried = {node for node in graph if node.op_type in _CARRIERS} - kept

    def is_single(value: ir.Value) -> bool:
        producer, index = value.producer(), value.index()
        return (
            producer is None
            or index is None
            or producer in kept
            or producer in carried
            or (not _becomes_half(producer, index, types[producer]))
        )

    def is_wanted(value: ir.Value) -> bool:
        return value.is_graph_output() or any(
            user in kept or user in carried or not types[user].input_may_be_half(index)
            for user, index in value.uses()
        )

    while refused := {node for node in carried if not _passes_on_single(node, is_single, is_wanted)}:
        carried -= refused
    return carried


def _passes_on_single(
    node: ir.Node, is_single: Callable[[ir.Value], bool], is_wanted: Callable[[ir.Value], bool]
) -> bool:
    reads = [value for value in node.inputs if value is not None and value.dtype == _FP32]
    makes = [value for value in node.outputs if value.dtype == _FP32]
    return all(map(is_single, reads)) and (not makes or any(map(is_wanted, makes)))


def _becomes_half(node: ir.Node, index: int, types: NodeTypes) -> bool:
    """Whether an FP32 output turns FP16 when its node computes in FP16."""
    return node.op_type in ("Cast", "ConstantOfShape") or types.output_follows_inputs(index)


def _compute_in_half(node: ir.Node, types: NodeTypes) -> None:
    for index, value in enumerate(node.outputs):
        if value.dtype != _FP32 or not _becomes_half(node, index, types):
            continue
        value.dtype = _FP16
        if node.op_type == "Cast":
            node.attributes["to"] = ir.AttrInt64("to", _FP16.value)
        elif node.op_type == "ConstantOfShape":
            # Without a value the operator fills with FP32 zeros.
            fill = node.attributes["value"].as_tensor().numpy() if "value" in node.attributes else np.zeros(1)
            node.attributes["value"] = ir.AttrTensor("value", ir.Tensor(_rounded(fill, node.name)))


def _provide(value: ir.Value, wants_half: set[tuple[ir.Node, int]], casts: CastWriter) -> None:
    """Give every user of a once FP32 value the precision that it wants."""
    half_users = [use for use in value.uses() if use in wants_half]
    single_users = [use for use in value.uses() if use not in wants_half]
    if value.is_initializer():
        _provide_initializer(value, half_users, bool(single_users) or value.is_graph_output(), casts)
    elif value.dtype == _FP32 and half_users:
        _redirect(half_users, casts.cast(value, _FP16))
    elif value.dtype == _FP16 and value.is_graph_output():
        # The boundary's name belongs to the FP32 value.
        output_name, value.name = value.name, casts.claim(f"{value.name}.fp16")
        output = casts.cast(value, _FP32, output_name)
        _redirect(single_users, output)
        if value.graph is not None:
            value.graph.outputs[value.graph.outputs.index(value)] = output
    elif value.dtype == _FP16 and single_users:
        _redirect(single_users, casts.cast(value, _FP32))


def _provide_initializer(
    value: ir.Value, half_users: Sequence[tuple[ir.Node, int]], stays: bool, casts: CastWriter
) -> None:
    if not half_users or value.const_value is None or value.graph is None:
        return
    half = ir.Tensor(_rounded(value.const_value.numpy(), value.name))
    if not stays:
        value.const_value, value.dtype = half, _FP16
        return
    copy = ir.val(casts.claim(f"{value.name}.fp16"), _FP16, value.shape, const_value=half)
    value.graph.register_initializer(copy)
    _redirect(half_users, copy)


def _rounded(array: npt.NDArray[Any], owner: str | None) -> npt.NDArray[np.float16]:
    """FP16 values nearest to FP32 ones; infinities, such as a mask's, stay.

    Raises:
        PassError: A finite value lies beyond the largest FP16 number.
    """
    magnitude = np.abs(array[np.isfinite(array)]).max(initial=0.0)
    if magnitude > _FP16_MAX:
        raise ir.passes.PassError(
            f"weights must not exceed FP16's largest number {_FP16_MAX:.0f}, got {magnitude:g} in {owner}; "
            "add the node that uses it to those that stay FP32"
        )
    return array.astype(np.float16)


def _redirect(users: Sequence[tuple[ir.Node, int]], value: ir.Value) -> None:
    for node, index in users:
        node.replace_input_with(index, value)
