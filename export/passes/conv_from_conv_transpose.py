"""From transposed convolutions to plain ones, for which CPU libraries have faster kernels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import LiftConstantsToInitializersPass

from voirs_vocoder.calibration.edits.reading import attribute, constant, input_at, integers, name_of
from voirs_vocoder.calibration.edits.writer import NodeWriter
from voirs_vocoder.export.passes.precision_checks import refuse_unless_plain

__all__ = ["ConvFromConvTransposePass"]


class ConvFromConvTransposePass(ir.passes.InPlacePass):
    """Computes a 1-D transposed convolution as a convolution whose channels are the positions between two inputs.

        ConvTranspose    x [N, I, T] -> y [N, O, T * s]; y[t * s + q] sums W[q + before + m * s] x[t - m] over m
        Conv             x [N, I, T] -> [N, O * s, T] with channels o * s + q, read as [N, O, s, T]
        Transpose        [N, O, s, T] -> [N, O, T, s], read as y

    The sums are those of the same products, and some with zero: every position between two inputs has the same kernel
    size. Convolutions that are dilated, grouped, or computed over more axes, whose kernel is computed, or whose output
    has not exactly s positions for each input stay as they are.
    """

    def requires(self, model: ir.Model) -> None:
        """The graph is flat, typed and of standard operators.

        Raises:
            PreconditionError: The graph is not; the message names what is wrong.
        """
        refuse_unless_plain(model)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite in place."""
        LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
        found = [(node, kernel) for node in model.graph if (kernel := _kernel(node)) is not None]
        writer = NodeWriter(model.graph)
        for node, kernel in found:
            _rewrite(model.graph, node, kernel, writer)
        unused = [value for value in model.graph.initializers.values() if not value.uses()]
        for value in unused if found else ():
            if not value.is_graph_output():
                del model.graph.initializers[name_of(value)]
        return ir.passes.PassResult(model, modified=bool(found))

    def ensures(self, model: ir.Model) -> None:
        """No transposed convolution of the kind that the pass rewrites is left.

        Raises:
            PostconditionError: A transposed convolution is left although it could be rewritten.
        """
        left = [node.name for node in model.graph if _kernel(node) is not None]
        if left:
            raise ir.passes.PostconditionError(
                f"no convolution may be transposed, got {left[:5]}; report the model"
            )


@dataclass(frozen=True)
class _Kernel:
    """A transposed convolution with exactly `stride` outputs for each input.

    Attributes:
        values: Kernel, float32 [I, O, k].
        bias: Bias, float32 [O]; None where there is none.
        stride: Number of outputs for each input.
        before: Number of positions that the padding cuts off at the start.
    """

    values: NDArray[np.float32]
    bias: NDArray[np.float32] | None
    stride: int
    before: int

    @property
    def latest(self) -> int:
        """Largest number of positions by which an input lies before the position that it adds to, in inputs."""
        return (int(self.values.shape[2]) - 1 - self.before) // self.stride

    @property
    def earliest(self) -> int:
        """Smallest such number, which is negative where later inputs add to a position."""
        return -((self.stride - 1 + self.before) // self.stride)

    @property
    def by_phase(self) -> NDArray[np.float32]:
        """The kernel of a plain convolution, float32 [O * stride, I, taps]."""
        inputs, outputs, size = self.values.shape
        taps = self.latest - self.earliest + 1
        result = np.zeros((outputs, self.stride, inputs, taps), self.values.dtype)
        for position in range(size):
            later, phase = divmod(position - self.before, self.stride)
            result[:, phase, :, self.latest - later] = self.values[:, :, position].T
        return result.reshape(outputs * self.stride, inputs, taps)


def _kernel(node: ir.Node) -> _Kernel | None:
    if node.op_type != "ConvTranspose":
        return None
    if "auto_pad" in node.attributes and node.attributes["auto_pad"].as_string() != "NOTSET":
        return None
    values, bias = constant(node.inputs[1]), constant(input_at(node, 2))
    if values is None or values.ndim != 3 or (bias is None and input_at(node, 2) is not None):
        return None
    (dilation,), (stride,), (longer,) = (
        integers(node, name, [default])
        for name, default in (("dilations", 1), ("strides", 1), ("output_padding", 0))
    )
    before, after = integers(node, "pads", [0, 0])
    whole = values.shape[2] - before - after + longer == stride
    if "output_shape" in node.attributes or dilation != 1 or attribute(node, "group", 1) != 1 or not whole:
        return None
    return _Kernel(values, bias, stride, before)


def _rewrite(graph: ir.Graph, node: ir.Node, kernel: _Kernel, writer: NodeWriter) -> None:
    name, result = name_of(node), node.outputs[0]
    outputs = kernel.values.shape[1]
    by_phase = kernel.by_phase
    inputs = [node.inputs[0], writer.constant(f"{name}.weight_by_phase", by_phase)]
    if kernel.bias is not None:
        inputs.append(writer.constant(f"{name}.bias_by_phase", np.repeat(kernel.bias, kernel.stride)))
    plain = ir.node(
        "Conv",
        inputs,
        {"kernel_shape": [by_phase.shape[2]], "pads": [kernel.latest, -kernel.earliest]},
        outputs=[ir.Value(name=writer.claim(f"{name}.by_phase"))],
        name=name,
    )
    phases = writer.constant(f"{name}.phases", np.array([0, outputs, kernel.stride, -1], np.int64))
    joined = writer.constant(f"{name}.joined", np.array([0, outputs, -1], np.int64))
    split = writer.node("Reshape", [plain.outputs[0], phases], f"{name}.split")
    turned = ir.node(
        "Transpose",
        [split.outputs[0]],
        {"perm": [0, 1, 3, 2]},
        outputs=[ir.Value(name=writer.claim(f"{name}.turned"))],
        name=writer.claim_node(f"Transpose.{name}"),
    )
    whole = writer.node("Reshape", [turned.outputs[0], joined], f"{name}.whole")
    graph.insert_after(node, [plain, split, turned, whole])
    writer.take_over(result, whole.outputs[0], f"{name}.transposed", [])
    graph.remove(node, safe=True)
