"""From FP32 to FP16 or BF16 inside, with FP32 kept at the boundary and in the nodes that need it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import LiftConstantsToInitializersPass

from voirs_vocoder.calibration.edits.reading import attribute
from voirs_vocoder.export.passes.cast_writer import CastWriter, short_name
from voirs_vocoder.export.passes.operator_types import HALVES, NodeTypes, node_types, title_of
from voirs_vocoder.export.passes.precision_checks import all_values, refuse_unless_plain
from voirs_vocoder.export.passes.run import run_passes

__all__ = ["CARRIERS", "HalfFromFp32Pass", "bf16_from_fp32", "fp16_from_fp32"]

_FP32 = ir.DataType.FLOAT
_LARGEST = {ir.DataType.FLOAT16: 65504.0, ir.DataType.BFLOAT16: (2.0 - 2.0**-7) * 2.0**127}
# The first version of ONNX's operators in which convolutions take BF16.
_BF16_OPSET = 22
_OLDEST_OPSET = 18

CARRIERS = frozenset(
    {
        *("Cast", "Concat", "ConstantOfShape", "Expand", "Flatten", "Gather", "GatherElements", "GatherND"),
        *("Identity", "Pad", "Reshape", "Shape", "Size", "Slice", "Split", "Squeeze", "Tile", "Transpose"),
        "Unsqueeze",
    }
)
"""Operators that move or make values without computing on them: FP32 passes through without loss of precision."""


class HalfFromFp32Pass(ir.passes.InPlacePass):
    """Computes in FP16 or BF16 wherever the operator can and no pattern forbids it.

    Graph inputs and outputs stay FP32. A value that is needed in both precisions gets one Cast, however
    many nodes use it; adjacent nodes that stay FP32 share values without any. An operator that only
    moves values (Reshape, Slice, Concat ...) stays FP32 where its inputs are FP32 and some user wants FP32.
    An input or output that ONNX fixes to FP32 (Resize's `scales`), and integers and booleans, keep their
    types.

    Weights are rounded to the nearest 16-bit value, ties to even, as IEEE 754 has it: FP16 below 2^-14
    becomes subnormal, from 2^-25 down zero. Nothing is clamped, at either end. Attributes stay FP32 in the
    file, and each provider rounds them in its own way; but the slope of a LeakyRelu is rounded to BF16, as
    OpenVINO rounds it.

    A BF16 graph is of opset 22 or later, where convolutions take BF16. From opset 18 on, that number only adds
    types to the operators of an FP32 graph.

    Args:
        keep_float: Shell-style patterns (`conv_post`, `Tanh*`) of the nodes that stay FP32.
        half: FLOAT16 or BFLOAT16.
    """

    def __init__(self, keep_float: Sequence[str] = (), half: ir.DataType = ir.DataType.FLOAT16) -> None:
        super().__init__()
        self._keep_float = tuple(keep_float)
        self._half = half
        self._title = title_of(half)
        # Thousands of plain names cost nothing when each is looked up rather than matched.
        self._kept_names = frozenset(pattern for pattern in keep_float if not set(pattern) & set("*?["))
        self._kept_patterns = tuple(pattern for pattern in keep_float if pattern not in self._kept_names)

    def requires(self, model: ir.Model) -> None:
        """The graph is plain and FP32, and every pattern matches a node.

        Raises:
            PreconditionError: The graph is not plain or not FP32, or a pattern matches no node.
        """
        refuse_unless_plain(model)
        halves = [value.name for value in all_values(model.graph) if value.dtype in HALVES]
        if halves:
            raise ir.passes.PreconditionError(
                f"{self._title} is made from an FP32 graph, got 16-bit floats in {halves[:5]}; start from the FP32 "
                "export"
            )
        if self._half == ir.DataType.BFLOAT16:
            _require_bf16_opset(model)
        names = {node.name or "" for node in model.graph}
        for pattern in self._keep_float:
            if pattern not in names and not any(fnmatchcase(name, pattern) for name in names):
                raise ir.passes.PreconditionError(
                    f"every pattern of nodes to keep in FP32 must match one, got {pattern!r}; "
                    f"there are {', '.join(sorted(names))[:300]}"
                )

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Convert in place.

        Raises:
            PassError: A weight does not fit into 16 bits.
        """
        if self._half == ir.DataType.BFLOAT16:
            model.opset_imports[""] = max(model.opset_imports[""], _BF16_OPSET)
        LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
        graph = model.graph
        types = {node: node_types(node, model.opset_imports, self._half) for node in graph}
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
                _compute_in_half(node, types[node], self._half)
        casts = CastWriter(graph)
        for value in values:
            _provide(value, wants_half, casts, self._half)
        return ir.passes.PassResult(model, modified=True)

    def ensures(self, model: ir.Model) -> None:
        """The boundary and the kept nodes see FP32 only, and no value goes down to 16 bits and straight up again.

        Raises:
            PostconditionError: A value of the boundary or of a kept node has 16 bits, or a value is cast there and
                back.
        """
        half = self._half
        boundary = [*model.graph.inputs, *model.graph.outputs]
        # A pattern such as `C*` is not meant for the new casts.
        kept = [node for node in model.graph if self._keeps(node) and node.op_type != "Cast"]
        beside_kept = [value for node in kept for value in (*node.inputs, *node.outputs)]
        for value in (*boundary, *beside_kept):
            if value is not None and value.dtype == half:
                raise ir.passes.PostconditionError(
                    f"the boundary and the kept nodes must be FP32, got {value.name}; report the model"
                )
        for first in model.graph:
            for second in first.outputs[0].consumers():
                if [_cast_types(first), _cast_types(second)] == [(_FP32, half), (half, _FP32)]:
                    raise ir.passes.PostconditionError(
                        f"no value may be rounded for nothing, got {first.name} before {second.name}; "
                        "report the model"
                    )

    def _keeps(self, node: ir.Node) -> bool:
        name = node.name or ""
        return name in self._kept_names or any(fnmatchcase(name, pattern) for pattern in self._kept_patterns)


def fp16_from_fp32(model: onnx.ModelProto, keep_float: Sequence[str] = ()) -> onnx.ModelProto:
    """An FP16 copy of a model whose nodes have names; see `HalfFromFp32Pass`.

    Args:
        model: FP32 model; it is not changed.
        keep_float: Shell-style patterns of the nodes that stay FP32.

    Raises:
        ExportError: The graph cannot be converted, a pattern matches nothing, or a weight is too large.
    """
    return run_passes(model, [HalfFromFp32Pass(keep_float)])


def bf16_from_fp32(model: onnx.ModelProto, keep_float: Sequence[str] = ()) -> onnx.ModelProto:
    """A BF16 copy of a model whose nodes have names; see `HalfFromFp32Pass`.

    Args:
        model: FP32 model of opset 18 or later; it is not changed.
        keep_float: Shell-style patterns of the nodes that stay FP32.

    Raises:
        ExportError: The graph cannot be converted, or a pattern matches nothing.
    """
    return run_passes(model, [HalfFromFp32Pass(keep_float, ir.DataType.BFLOAT16)])


def _require_bf16_opset(model: ir.Model) -> None:
    version = model.opset_imports.get("", 0)
    if version < _OLDEST_OPSET:
        raise ir.passes.PreconditionError(
            f"BF16 is made from a graph of opset {_OLDEST_OPSET} or later, got opset {version}; export with opset "
            f"{_BF16_OPSET}"
        )


def _cast_types(node: ir.Node) -> tuple[ir.DataType | None, ir.DataType | None] | None:
    source = node.inputs[0] if node.op_type == "Cast" else None
    return (source.dtype, node.outputs[0].dtype) if source is not None else None


def _carried(graph: ir.Graph, types: dict[ir.Node, NodeTypes], kept: set[ir.Node]) -> set[ir.Node]:
    """The carriers that stay FP32: all that they read is FP32, and some user wants FP32."""
    carried = {node for node in graph if node.op_type in CARRIERS} - kept

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
    """Whether an FP32 output gets 16 bits when its node computes in 16 bits."""
    return node.op_type in ("Cast", "ConstantOfShape") or types.output_follows_inputs(index)


def _compute_in_half(node: ir.Node, types: NodeTypes, half: ir.DataType) -> None:
    for index, value in enumerate(node.outputs):
        if value.dtype != _FP32 or not _becomes_half(node, index, types):
            continue
        value.dtype = half
        if node.op_type == "Cast":
            node.attributes["to"] = ir.AttrInt64("to", half.value)
        elif node.op_type == "LeakyRelu" and half == ir.DataType.BFLOAT16:
            slope = np.array(attribute(node, "alpha", 0.01), np.float32)
            node.attributes["alpha"] = ir.AttrFloat32("alpha", float(slope.astype(half.numpy())))
        elif node.op_type == "ConstantOfShape":
            # Without a value the operator fills with FP32 zeros.
            fill = node.attributes["value"].as_tensor().numpy() if "value" in node.attributes else np.zeros(1)
            node.attributes["value"] = ir.AttrTensor("value", _rounded(fill, half, node.name))


def _provide(
    value: ir.Value, wants_half: set[tuple[ir.Node, int]], casts: CastWriter, half: ir.DataType
) -> None:
    """Give every user of a once FP32 value the precision that it wants."""
    half_users = [use for use in value.uses() if use in wants_half]
    single_users = [use for use in value.uses() if use not in wants_half]
    if value.is_initializer():
        _provide_initializer(value, half_users, bool(single_users) or value.is_graph_output(), casts, half)
    elif value.dtype == _FP32 and half_users:
        _redirect(half_users, casts.cast(value, half))
    elif value.dtype == half and value.is_graph_output():
        # The boundary's name belongs to the FP32 value.
        output_name, value.name = value.name, casts.claim(f"{value.name}.{short_name(half)}")
        output = casts.cast(value, _FP32, output_name)
        _redirect(single_users, output)
        if value.graph is not None:
            value.graph.outputs[value.graph.outputs.index(value)] = output
    elif value.dtype == half and single_users:
        _redirect(single_users, casts.cast(value, _FP32))


def _provide_initializer(
    value: ir.Value,
    half_users: Sequence[tuple[ir.Node, int]],
    stays: bool,
    casts: CastWriter,
    half: ir.DataType,
) -> None:
    if not half_users or value.const_value is None or value.graph is None:
        return
    rounded = _rounded(value.const_value.numpy(), half, value.name)
    if not stays:
        value.const_value, value.dtype = rounded, half
        return
    copy = ir.val(casts.claim(f"{value.name}.{short_name(half)}"), half, value.shape, const_value=rounded)
    value.graph.register_initializer(copy)
    _redirect(half_users, copy)


def _rounded(array: npt.NDArray[Any], half: ir.DataType, owner: str | None) -> ir.TensorProtocol:
    """The 16-bit values nearest to FP32 ones; infinities, such as a mask's, stay.

    Raises:
        PassError: A finite value lies beyond the largest number of 16 bits.
    """
    magnitude = np.abs(array[np.isfinite(array)]).max(initial=0.0)
    if magnitude > _LARGEST[half]:
        raise ir.passes.PassError(
            f"weights must not exceed {title_of(half)}'s largest number {_LARGEST[half]:.6g}, got {magnitude:g} in "
            f"{owner}; add the node that uses it to those that stay FP32"
        )
    return ir.Tensor(array.astype(half.numpy()))


def _redirect(users: Sequence[tuple[ir.Node, int]], value: ir.Value) -> None:
    for node, index in users:
        node.replace_input_with(index, value)
