"""BF16 graphs, in which the nodes that lose most quality for their arithmetic stay FP32."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase

import numpy as np
import onnx

from voirs_vocoder.calibration.runs import run_all
from voirs_vocoder.calibration.sensitivity import costliest_noise, multiply_accumulates, noise_of_each
from voirs_vocoder.export.errors import ExportError
from voirs_vocoder.export.graphs.built import BuiltGraph
from voirs_vocoder.export.graphs.example_inputs import Feed
from voirs_vocoder.export.graphs.reduced import derived_graph
from voirs_vocoder.export.passes import bf16_from_fp32, half_twin, run_passes
from voirs_vocoder.export.passes.conv_from_conv_transpose import ConvFromConvTransposePass
from voirs_vocoder.export.passes.half_from_fp32 import CARRIERS
from voirs_vocoder.runtime.artifact.manifest import Figures
from voirs_vocoder.runtime.metrics import snr_db
from voirs_vocoder.runtime.progress import Progress

__all__ = ["bf16_graph"]

# On HiFi-GAN V2 it holds both ends and the first and last upsampling: 38 dB; 6% would be 41 dB, and take 5% longer.
_MAX_FLOAT_SHARE = 0.02
_MAX_PROBE_MACS = 20_000_000_000_000

_PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
# They keep or lessen the relative error of their input. Any other operator can enlarge it (Exp, Sin), sums without
# rounding (LayerNormalization), or multiplies by a constant that BF16 does not hold (Div), has little arithmetic, and
# stays FP32.
_ACTIVATIONS = frozenset(
    {"Abs", "Clip", "Erf", "Gelu", "LeakyRelu", "Neg", "PRelu", "Relu", "Sigmoid", "Tanh"}
)
# Backends add to the sum of a convolution before they round it.
_SUMS = frozenset({"Add", "Sub"})


def bf16_graph(
    fp32: BuiltGraph, feeds: Sequence[Feed], progress: Progress, max_float_share: float = _MAX_FLOAT_SHARE
) -> BuiltGraph:
    """Convert a graph to BF16.

    Convolutions and matrix products compute in BF16, but for those that add the most noise to the output for their
    arithmetic, which stay FP32. The noise of each is measured by rounding to BF16 what it alone reads and writes.
    Activations between BF16 products and sums with such a product are BF16 as well, all other operators FP32.
    Transposed convolutions become plain ones, which take less time in BF16.

    Args:
        fp32: Exported FP32 graph.
        feeds: Inputs to measure on, run by run; at least one.
        progress: Called with what is being done, how many parts are done, and how many there are.
        max_float_share: Share of the arithmetic of all products that may stay FP32 for its noise, in [0, 1).

    Returns:
        The graph, whose details are `float_by_noise` (names of the products that stay FP32 because of their noise),
        `noise_measured` (False for a network that would take too long to measure), `float_share` (their share of the
        arithmetic) and `twin_snr_db` (SNR in dB of the twin against FP32 over the trial runs; None when they are
        equal).

    Raises:
        ExportError: The graph has no product that BF16 could make faster, or the twin overflows.
    """
    exact = onnx.load_from_string(fp32.data)
    model = run_passes(exact, [ConvFromConvTransposePass()])
    role = fp32.entry.role
    named = fp32.entry.keep_float.get("bf16", ())
    products = [node.name for node in model.graph.node if node.op_type in _PRODUCTS]
    free = [name for name in products if not any(fnmatchcase(name, pattern) for pattern in named)]
    if not free:
        raise ExportError(
            f"graph {role!r}: BF16 makes convolutions and matrix products faster, the graph has none; use FP32"
        )
    feed = feeds[0]
    costs = multiply_accumulates(model, free, feed)
    total = sum(costs.values())
    measured = bool(max_float_share) and total * len(free) <= _MAX_PROBE_MACS
    noise: Mapping[str, float] = {}
    if measured:
        noise = noise_of_each(
            lambda chosen: _rounding(model, chosen),
            free,
            [feed],
            lambda message, done, of: progress(f"{role}: BF16: {message}", done, of),
        )
    kept = costliest_noise(noise, costs, max_float_share)
    progress(f"{role}: converting to BF16", 0, 0)
    result = bf16_from_fp32(model, _in_fp32(model, frozenset(free) - frozenset(kept)))
    wanted, got = run_all(exact, feeds[:2]), run_all(half_twin(result), feeds[:2])
    ratios = []
    for reference, twin in zip(wanted, got, strict=True):
        for expected, values in zip(reference, twin, strict=True):
            if not np.isfinite(values).all():
                raise ExportError(f"graph {role!r}: an activation overflows in BF16; use another precision")
            ratios.append(snr_db(expected.reshape(-1), values.reshape(-1)))
    worst = min(ratios)
    details: Figures = {
        "float_by_noise": " ".join(kept),
        "noise_measured": measured,
        "float_share": sum(costs[name] for name in kept) / total,
        "twin_snr_db": worst if np.isfinite(worst) else None,
    }
    return derived_graph(fp32, result, "bf16", None, details)


def _rounding(model: onnx.ModelProto, products: Collection[str]) -> onnx.ModelProto:
    """The FP32 graph in which convolutions and matrix products read and write values rounded to BF16."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph, nodes = result.graph, []

    def rounded(source: str, target: str) -> list[onnx.NodeProto]:
        half = f"{target}.bf16"
        return [
            onnx.helper.make_node("Cast", [name], [cast], to=kind)
            for name, cast, kind in (
                (source, half, onnx.TensorProto.BFLOAT16),
                (half, target, onnx.TensorProto.FLOAT),
            )
        ]

    for node in graph.node:
        if node.name not in products:
            nodes.append(node)
            continue
        for place, source in enumerate(node.input[:2]):
            node.input[place] = f"{node.name}.{place}.rounded"
            nodes += rounded(source, node.input[place])
        nodes.append(node)
        target, node.output[0] = node.output[0], f"{node.name}.exact"
        nodes += rounded(node.output[0], target)
    del graph.node[:]
    graph.node.extend(nodes)
    return result


def _in_fp32(model: onnx.ModelProto, products: Collection[str]) -> list[str]:
    """Names of the nodes that stay FP32 when exactly the given products compute in BF16.

    An activation computes in BF16 where it reads BF16, and a sum where it adds to a BF16 product.
    """
    in_bf16: set[str] = set()
    sums_of_products: set[str] = set()
    kept = []
    for node in model.graph.node:
        if node.op_type in _PRODUCTS:
            half = node.name in products
        elif node.op_type in _SUMS:
            half = any(name in sums_of_products for name in node.input)
        else:
            half = node.op_type in _ACTIVATIONS | CARRIERS and any(name in in_bf16 for name in node.input)
        if half:
            in_bf16.update(node.output)
            if node.op_type in _PRODUCTS:
                sums_of_products.update(node.output)
        elif node.op_type not in CARRIERS:
            kept.append(node.name)
    return kept
