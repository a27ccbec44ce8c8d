"""Graphs of reduced precision, made from FP32 graphs without torch."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import onnx
import onnx_ir as ir

from voirs_vocoder.calibration.config import Int8Config
from voirs_vocoder.calibration.edits.length_invariant_sums import length_invariant_sums
from voirs_vocoder.calibration.edits.qdq_linter import require_tensorrt_qdq
from voirs_vocoder.calibration.int8 import int8_from_fp32
from voirs_vocoder.export.errors import ExportError
from voirs_vocoder.export.graphs.built import BuiltGraph, built_graph, open_graph
from voirs_vocoder.export.graphs.example_inputs import Feed
from voirs_vocoder.export.passes import (
    Conv2dFromConv1dPass,
    CosFromPolynomialPass,
    PolynomialFromCosPass,
    UndilatedConv2dPass,
    fp16_from_fp32,
    half_twin,
    run_passes,
)
from voirs_vocoder.runtime.artifact.manifest import Figures, Precision, Target
from voirs_vocoder.runtime.metrics import snr_db
from voirs_vocoder.runtime.progress import Progress

__all__ = [
    "KEEP_ALL",
    "derived_graph",
    "fp16_graph",
    "int8_graphs",
    "with_2d_convolutions",
    "with_short_cosines",
]

# 1.4e-3 from a cosine: 20 dB below the noise of 8 bits in activations.
_SHORT_DEGREE = 3

KEEP_ALL = ("*",)
"""Patterns of nodes that stay float, for a graph that stays as it is in a reduced precision."""


def fp16_graph(fp32: BuiltGraph, feeds: Sequence[Feed]) -> BuiltGraph:
    """Convert a graph to FP16, and run its FP32 twin, which rounds as FP16 does, to see that nothing overflows.

    Args:
        fp32: Exported FP32 graph.
        feeds: Inputs to try the twin on, run by run.

    Raises:
        ExportError: A weight or an activation leaves the range of FP16.
    """
    model = fp16_from_fp32(onnx.load_from_string(fp32.data), fp32.entry.keep_float.get("fp16", ()))
    twin = open_graph(half_twin(model).SerializeToString(), fp32.entry)
    reference = open_graph(fp32.data, fp32.entry)
    ratios = []
    for inputs in feeds:
        for name, wanted in reference.run(inputs).items():
            got = twin.run(inputs)[name]
            if not np.isfinite(got).all():
                raise ExportError(
                    f"graph {fp32.entry.role!r}: an activation overflows in FP16; leave the nodes that make it in "
                    "FP32 (`fp16` in GraphSpec.keep_float)"
                )
            ratios.append(snr_db(wanted.reshape(-1), got.reshape(-1)))
    return derived_graph(fp32, model, "fp16", None, {"twin_snr_db": min(ratios)})


def int8_graphs(
    fp32: BuiltGraph,
    feeds: Sequence[Feed],
    progress: Progress,
    targets: Sequence[Target],
    config: Int8Config | None = None,
) -> list[BuiltGraph]:
    """Quantize a graph, once for each kind of backend.

    Args:
        fp32: Exported FP32 graph.
        feeds: Inputs to calibrate on, run by run.
        progress: Called with what is being done, how many parts are done, and how many there are.
        targets: Kinds of backends to make a graph for.
        config: How to quantize; None takes the defaults of `Int8Config`.

    Raises:
        InputError: The calibration does not fit the graph.
        ExportError: TensorRT would misread the result.
    """
    keep_float = fp32.entry.keep_float.get("int8", ())
    graphs = []
    for target in targets:

        def report(message: str, done: int, total: int, target: Target = target) -> None:
            progress(f"{fp32.entry.role}: INT8 for {target}: {message}", done, total)

        model = onnx.load_from_string(fp32.data)
        if keep_float == KEEP_ALL:
            # DiffWave's conditioner has no convolution that could gain. Its graph takes part in the precision of the
            # artifact's other graphs, and the count of 0 states what it is. Quantizers of those graphs read what it
            # computes, so a stream equals its offline pass only where this graph does, to the last bit.
            if target == "cpu":
                model = length_invariant_sums(model, ("*",))
            graphs.append(derived_graph(fp32, model, "int8", target, {}, quantized_convolutions=0))
            continue
        result = int8_from_fp32(model, feeds, target, keep_float, config, progress=report)
        if target == "tensorrt":
            require_tensorrt_qdq(result.model)
        graphs.append(
            derived_graph(fp32, result.model, "int8", target, result.details, result.quantized_convolutions)
        )
    return graphs


def derived_graph(
    fp32: BuiltGraph,
    model: onnx.ModelProto,
    precision: Precision,
    target: Target | None,
    details: Figures,
    quantized_convolutions: int | None = None,
) -> BuiltGraph:
    """Describe a graph that was made from an FP32 graph.

    Args:
        fp32: The FP32 graph.
        model: The graph that was made from it, with the same role, inputs and outputs.
        precision: Name of its precision.
        target: Kind of backend that it is made for; None for a precision without targets.
        details: What was decided and measured, for people.
        quantized_convolutions: Number of quantized convolutions; None where the precision quantizes nothing.
    """
    entry = fp32.entry
    kept = {name: value for name, value in entry.details.items() if name != "max_abs_error_against_pytorch"}
    return built_graph(
        model,
        role=entry.role,
        precision=precision,
        target=target,
        inputs=entry.inputs,
        outputs=entry.outputs,
        facts=msgspec.structs.replace(entry.facts, quantized_convolutions=quantized_convolutions),
        details={**kept, **details},
        keep_float={},
    )


def with_2d_convolutions(graph: BuiltGraph, *, undilated: bool = False) -> BuiltGraph:
    """The form of a graph for GPUs: their libraries have kernels for its convolutions in every precision.

    Args:
        graph: Graph of any role and precision, whose bytes are not changed.
        undilated: Whether dilated convolutions are computed as undilated ones, see `UndilatedConv2dPass`.

    Returns:
        The graph with the same inputs, outputs, facts and details, with 2-D convolutions only, and cosines where it had
        polynomials.

    Raises:
        ExportError: The graph cannot be rewritten; the cause is chained.
    """
    undilation = [UndilatedConv2dPass()] if undilated else []
    return _edited(graph, [CosFromPolynomialPass(), Conv2dFromConv1dPass(), *undilation])


def with_short_cosines(graph: BuiltGraph) -> BuiltGraph:
    """The form of a graph with polynomials for cosines that are as exact as INT8 needs.

    Args:
        graph: Graph of any role, whose bytes are not changed.

    Raises:
        ExportError: The graph cannot be rewritten; the cause is chained.
    """
    if all(node.op_type != "Round" for node in onnx.load_from_string(graph.data).graph.node):
        return graph
    return _edited(graph, [CosFromPolynomialPass(), PolynomialFromCosPass(_SHORT_DEGREE)])


def _edited(graph: BuiltGraph, passes: Sequence[ir.passes.PassBase]) -> BuiltGraph:
    """A graph with the same inputs, outputs, facts and details, after passes."""
    entry = graph.entry
    return built_graph(
        run_passes(onnx.load_from_string(graph.data), passes),
        role=entry.role,
        precision=entry.precision,
        target=entry.target,
        inputs=entry.inputs,
        outputs=entry.outputs,
        facts=entry.facts,
        details=entry.details,
        keep_float=entry.keep_float,
    )
