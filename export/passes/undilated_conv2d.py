"""From dilated to undilated 2-D convolutions, for GPU libraries whose kernels for dilation are slow or missing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import LiftConstantsToInitializersPass

from voirs_vocoder.calibration.edits.reading import constant, integers
from voirs_vocoder.calibration.edits.writer import NodeWriter
from voirs_vocoder.export.passes.precision_checks import refuse_unless_plain

__all__ = ["UndilatedConv2dPass"]


class UndilatedConv2dPass(ir.passes.InPlacePass):
    """Computes a dilated convolution [1, k] as an undilated one [k, 1] over a view of its input.

    With dilation d, position t = q * d + r only meets positions with the same r. In the view [N, C, T / d, d] of an
    input [N, C, 1, T] these are neighbors in the third axis. The input is padded by what the convolution pads, and up
    to a multiple of d; the additional results are cut off. The sums are the same. The padding follows from the size of
    the input, which ONNX Runtime folds once the dynamic dimensions are fixed.

    The pass follows `Conv2dFromConv1dPass`. Convolutions with a stride, and those whose kernel is computed, stay.
    """

    def requires(self, model: ir.Model) -> None:
        """The graph is flat, typed and of standard operators.

        Raises:
            PreconditionError: The graph is not; the message names what is wrong.
        """
        refuse_unless_plain(model, quantized=True)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite in place."""
        LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
        graph = model.graph
        found = [(node, dilated) for node in graph if (dilated := _dilated(node)) is not None]
        writer = _Writer(graph)
        for node, dilated in found:
            _rewrite(node, dilated, writer)
        return ir.passes.PassResult(model, modified=bool(found))

    def ensures(self, model: ir.Model) -> None:
        """No convolution of the kind that the pass rewrites is left.

        Raises:
            PostconditionError: A convolution is dilated although it could be rewritten.
        """
        left = [node.name for node in model.graph if _dilated(node) is not None]
        if left:
            raise ir.passes.PostconditionError(
                f"no convolution along time may be dilated, got {left[:5]}; report the model"
            )


@dataclass(frozen=True)
class _Dilated:
    """A dilated convolution along the last axis."""

    kernel: int
    dilation: int
    before: int
    after: int


def _dilated(node: ir.Node) -> _Dilated | None:
    if node.op_type != "Conv" or "dilations" not in node.attributes:
        return None
    if "auto_pad" in node.attributes and node.attributes["auto_pad"].as_string() != "NOTSET":
        return None
    kernel = constant(node.inputs[1])
    if kernel is None or kernel.ndim != 4 or kernel.shape[2] != 1:
        return None
    dilation = integers(node, "dilations", [1, 1])
    strides = integers(node, "strides", [1, 1])
    pads = integers(node, "pads", [0, 0, 0, 0])
    if dilation[1] == 1 or strides != [1, 1] or pads[0] or pads[2]:
        return None
    return _Dilated(kernel.shape[3], dilation[1], pads[1], pads[3])


class _Writer:
    """Writes nodes around a convolution, and makes each integer constant and each reading of a size once."""

    def __init__(self, graph: ir.Graph) -> None:
        self.nodes = NodeWriter(graph)
        self._graph = graph
        self._constants: dict[tuple[int, ...], ir.Value] = {}
        self._sizes: dict[ir.Value, ir.Value] = {}

    def integers(self, *values: int) -> ir.Value:
        """A constant int64 [count]."""
        if values not in self._constants:
            name = "integers." + "_".join(map(str, values))
            self._constants[values] = self.nodes.constant(name, np.array(values, np.int64))
        return self._constants[values]

    def before(
        self,
        place: ir.Node,
        op_type: str,
        inputs: list[ir.Value],
        name: str,
        attributes: dict[str, int] | None = None,
    ) -> ir.Value:
        """The output of a new node in front of another one."""
        node = self.nodes.node(op_type, inputs, name, attributes)
        self._graph.insert_before(place, node)
        return node.outputs[0]

    def after(self, place: ir.Node, op_type: str, inputs: list[ir.Value], name: str) -> ir.Node:
        """A new node behind another one."""
        node = self.nodes.node(op_type, inputs, name)
        self._graph.insert_after(place, node)
        return node

    def size_of_last_axis(self, value: ir.Value, place: ir.Node) -> ir.Value:
        """The size of the last of four axes, int64 [1]; read in front of a node."""
        if value not in self._sizes:
            ends = {"start": 3, "end": 4}
            self._sizes[value] = self.before(place, "Shape", [value], f"{value.name}.positions", ends)
        return self._sizes[value]


def _rewrite(node: ir.Node, dilated: _Dilated, writer: _Writer) -> None:
    source, result = node.inputs[0], node.outputs[0]
    if source is None:
        raise ir.passes.PassError(f"{node.name} must read a tensor")
    name, padding = str(node.name), dilated.before + dilated.after
    positions = writer.size_of_last_axis(source, node)
    missing = writer.before(node, "Sub", [writer.integers(-padding), positions], f"{name}.missing")
    filling = writer.before(node, "Mod", [missing, writer.integers(dilated.dilation)], f"{name}.filling")
    behind = writer.before(node, "Add", [filling, writer.integers(dilated.after)], f"{name}.behind")
    front = writer.integers(0, 0, 0, dilated.before, 0, 0, 0)
    pads = writer.before(node, "Concat", [front, behind], f"{name}.pads", {"axis": 0})
    padded = writer.before(node, "Pad", [source, pads], f"{name}.padded")
    columns = writer.integers(0, 0, -1, dilated.dilation)
    view = writer.before(node, "Reshape", [padded, columns], f"{name}.view")
    longer = writer.integers(padding - (dilated.kernel - 1) * dilated.dilation)
    end = writer.before(node, "Add", [positions, longer], f"{name}.end")

    node.replace_input_with(0, view)
    _turn_kernel(node, writer)
    for attribute, values in (
        ("dilations", [1, 1]),
        ("kernel_shape", [dilated.kernel, 1]),
        ("pads", [0] * 4),
    ):
        node.attributes.add(ir.AttrInt64s(attribute, values))

    flat = writer.after(node, "Reshape", [result, writer.integers(0, 0, 1, -1)], f"{name}.flat")
    bounds = [writer.integers(0), end, writer.integers(3)]
    cropped = writer.after(flat, "Slice", [flat.outputs[0], *bounds], f"{name}.cropped")
    writer.nodes.take_over(result, cropped.outputs[0], f"{name}.columns", [flat])
    result.shape = None


def _turn_kernel(node: ir.Node, writer: _Writer) -> None:
    """Let a convolution read its kernel [O, I, 1, k] as [O, I, k, 1]."""
    kernel = node.inputs[1]
    values = constant(kernel)
    if kernel is None or values is None:
        raise ir.passes.PassError(f"{node.name} must have a constant kernel")
    upright = np.ascontiguousarray(np.swapaxes(values, 2, 3))
    if len(list(kernel.uses())) == 1:
        kernel.const_value, kernel.shape = ir.tensor(upright, name=kernel.name), ir.Shape(upright.shape)
    else:
        node.replace_input_with(1, writer.nodes.constant(f"{kernel.name}.upright", upright))
