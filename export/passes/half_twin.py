"""From an FP16 or BF16 graph to an FP32 graph that rounds like it: the precision judged without its arithmetic."""

from __future__ import annotations

import onnx
import onnx_ir as ir

from voirs_vocoder.export.passes.cast_writer import CastWriter
from voirs_vocoder.export.passes.operator_types import HALVES, NodeTypes, node_types, title_of
from voirs_vocoder.export.passes.precision_checks import all_values, refuse_unless_plain
from voirs_vocoder.export.passes.run import run_passes

__all__ = ["HalfTwinPass", "half_twin"]

_FP32 = ir.DataType.FLOAT


class HalfTwinPass(ir.passes.InPlacePass):
    """Computes in FP32 what a graph computes in FP16 or BF16, and rounds to that type after every operator.

    ONNX Runtime's CPU provider runs an FP16 graph in FP32 from end to end: activations are never rounded
    and an overflow never shows; a BF16 graph it does not run. In the twin every result that was FP16 is cast
    to FP16 and back: rounded to the nearest FP16 number, ties to even, and infinite where that would exceed
    65504. FP16 weights become FP32 numbers of the same values. The boundary keeps its names and types. A BF16
    graph is treated in the same way; BF16 has 8 bits of precision and the range of FP32.

        FP16 graph                 twin
        x16 -> Conv -> y16         x32 -> Conv -> y.unrounded -> Cast -> y16 -> Cast -> y32

    One operator is rounded once, at its output: a convolution or matrix product accumulates in FP32, which is
    what tensor cores, cuDNN and the BF16 instructions of CPUs do. An engine that accumulates in FP16 is worse
    than the twin; one that fuses operators (Conv with LeakyRelu) rounds less often, and is a little better.

    ONNX Runtime keeps the cast pairs at every graph optimization level with its other options at their
    defaults; `optimization.enable_cast_chain_elimination` must stay off, for it removes them.
    """

    def requires(self, model: ir.Model) -> None:
        """The graph is plain, and something in it is FP16 or BF16, but not both.

        Raises:
            PreconditionError: The graph is not plain, nothing in it has 16 bits, or both types occur.
        """
        refuse_unless_plain(model)
        if len(_halves(model)) != 1:
            found = " and ".join(map(title_of, _halves(model))) or "neither"
            raise ir.passes.PreconditionError(
                f"a twin is made from a graph with FP16 or BF16 in it, got {found}; apply HalfFromFp32Pass first"
            )

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Convert in place."""
        graph = model.graph
        (half,) = _halves(model)
        # Which outputs are computed in 16 bits is settled before any type changes.
        computed = {
            value
            for node in graph
            for index, value in enumerate(node.outputs)
            if value.dtype == half
            and _reads_half(node, index, node_types(node, model.opset_imports, half), half)
        }
        halves = [value for value in all_values(graph) if value.dtype == half]
        casts = CastWriter(graph)
        for value in halves:
            if value.is_initializer() and value.const_value is not None:
                value.const_value = ir.Tensor(value.const_value.numpy().astype("float32"))
                value.dtype = _FP32
            else:
                _round(value, value in computed, casts, half)
        return ir.passes.PassResult(model, modified=True)

    def ensures(self, model: ir.Model) -> None:
        """Nothing but a Cast reads FP16 or BF16, so that no operator computes in it.

        Raises:
            PostconditionError: A node other than a Cast reads FP16 or BF16.
        """
        for node in model.graph:
            if node.op_type != "Cast" and any(v is not None and v.dtype in HALVES for v in node.inputs):
                raise ir.passes.PostconditionError(
                    f"a twin must compute in FP32, got 16-bit floats into node {node.name}; report the model"
                )


def half_twin(model: onnx.ModelProto) -> onnx.ModelProto:
    """The FP32 twin of an FP16 or BF16 model; see `HalfTwinPass`.

    Args:
        model: Model that computes in 16 bits, such as `fp16_from_fp32` makes; it is not changed.

    Raises:
        ExportError: The model has neither FP16 nor BF16 in it, or has what its precision cannot be traced through.
    """
    return run_passes(model, [HalfTwinPass()])


def _halves(model: ir.Model) -> list[ir.DataType]:
    """The types of 16 bits that occur in a model."""
    found = {value.dtype for value in all_values(model.graph)}
    return [half for half in HALVES if half in found]


def _reads_half(node: ir.Node, output_index: int, types: NodeTypes, half: ir.DataType) -> bool:
    """Whether an output of 16 bits is computed from 16 bits, rather than cast or filled to it by an attribute."""
    return types.output_follows_inputs(output_index) and any(
        value is not None and value.dtype == half and variable == types.outputs[output_index]
        for value, variable in zip(node.inputs, types.inputs, strict=True)
    )


def _round(value: ir.Value, computed: bool, casts: CastWriter, dtype: ir.DataType) -> None:
    """Let the casts among a value's users read its rounded 16-bit form, and all others that in FP32."""
    readers = list(value.uses())
    half = value
    if computed:
        name, value.name = value.name, casts.claim(f"{value.name}.unrounded")
        value.dtype = _FP32
        half = casts.cast(value, dtype, name)
        if value.graph is not None and value.is_graph_output():
            value.graph.outputs[value.graph.outputs.index(value)] = half
    computing = [use for use in readers if use[0].op_type != "Cast"]
    single = casts.cast(half, _FP32) if computing else half
    for node, index in readers:
        node.replace_input_with(index, half if node.op_type == "Cast" else single)
