"""The noise that quantizing each convolution alone adds to the output, and the convolutions to leave float for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import shape_inference

from voirs_vocoder.calibration.runs import Feed, Outputs, run_all

__all__ = ["costliest_noise", "multiply_accumulates", "noise_of_each", "relative_noise"]

# Samples of the output: 23 ms at 22,050 Hz, within which loud masks soft.
_BLOCK = 512
# Of the mean energy. On HiFi-GAN V2 a tenth gives a better SNR and a hundredth a better PESQ.
_FLOOR = 0.03


def noise_of_each(
    quantize: Callable[[frozenset[str]], onnx.ModelProto],
    names: Sequence[str],
    feeds: Sequence[Feed],
    progress: Callable[[str, int, int], None],
) -> dict[str, float]:
    """The `relative_noise` in the output when one convolution is quantized and the rest is float.

    Args:
        quantize: Returns the graph in which exactly the named convolutions are quantized.
        names: Names of the convolutions to measure.
        feeds: Inputs of the runs, one after another.
        progress: Called before each convolution with the current task, the number measured, and the number in all.

    Returns:
        The noise by name of convolution.
    """
    reference = run_all(quantize(frozenset()), feeds)
    noise = {}
    for done, name in enumerate(names):
        progress("measuring each convolution's noise", done, len(names))
        noise[name] = relative_noise(reference, run_all(quantize(frozenset({name})), feeds))
    return noise


def costliest_noise(noise: Mapping[str, float], costs: Mapping[str, int], max_share: float) -> list[str]:
    """The convolutions to leave float: those that add most noise for their arithmetic, within a budget.

    Noise from different convolutions is nearly uncorrelated, so energies add and the choice is a knapsack, filled
    greedily.

    Args:
        noise: `relative_noise` by name of convolution.
        costs: Multiply-accumulates by name of convolution.
        max_share: Largest share of the sum of all costs that the chosen ones may have, in [0, 1].

    Returns:
        Names of the chosen convolutions, the noisiest for its cost first.
    """
    budget = max_share * sum(costs.values())
    chosen = []
    for name in sorted(noise, key=lambda name: (-noise[name] / costs[name], name)):
        if noise[name] > 0 and costs[name] <= budget:
            chosen.append(name)
            budget -= costs[name]
    return chosen


def multiply_accumulates(model: onnx.ModelProto, names: Collection[str], feed: Feed) -> dict[str, int]:
    """The multiply-accumulates of convolutions and matrix products in one run.

    Args:
        model: Graph of standard operators; it is not changed.
        names: Names of nodes, each a Conv, ConvTranspose, Gemm or MatMul.
        feed: Inputs of the run, which decide all sizes.

    Returns:
        Number by name, in the order of the graph.
    """
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    del fixed.graph.value_info[:]
    for value in (*fixed.graph.input, *fixed.graph.output):
        value.type.tensor_type.ClearField("shape")
    for value in fixed.graph.input:
        for size in feed[value.name].shape:
            value.type.tensor_type.shape.dim.add().dim_value = size
    inferred = shape_inference.infer_shapes(fixed, strict_mode=True, data_prop=True).graph
    sizes = {tensor.name: tuple(tensor.dims) for tensor in inferred.initializer} | {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
    }
    chosen = frozenset(names)
    return {node.name: _products_of(node, sizes) for node in model.graph.node if node.name in chosen}


def relative_noise(reference: Outputs, outputs: Outputs) -> float:
    """Audible noise: the energy of the noise in each short block relative to the signal's there, summed over blocks.

    The loudest moments alone decide the plain energy of noise, but noise is audible where the signal is soft. The
    signal's energy counts as at least a fraction of its mean, so that silence does not decide instead.

    Args:
        reference: Outputs of the reference, run by run.
        outputs: Outputs to judge, of the same shapes.
    """
    signal = np.concatenate([_block_energies(output) for one_run in reference for output in one_run])
    noise = np.concatenate(
        [
            _block_energies(wanted - got)
            for wanted_run, got_run in zip(reference, outputs, strict=True)
            for wanted, got in zip(wanted_run, got_run, strict=True)
        ]
    )
    floor = max(_FLOOR * float(signal.mean()), np.finfo(np.float64).tiny)
    return float(np.sum(noise / (signal + floor)))


def _block_energies(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Sums of squares over blocks of the last axis, [...] -> [blocks]."""
    starts = np.arange(0, values.shape[-1], _BLOCK)
    energies: NDArray[np.float64] = np.add.reduceat(np.square(values, dtype=np.float64), starts, axis=-1)
    return energies.reshape(-1)


def _products_of(node: onnx.NodeProto, sizes: Mapping[str, tuple[int, ...]]) -> int:
    first, second, result = (sizes[name] for name in (*node.input[:2], node.output[0]))
    if node.op_type == "Conv":
        return math.prod(result) * math.prod(second[1:])
    if node.op_type == "ConvTranspose":
        return math.prod(first) * math.prod(second[1:])
    transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    return math.prod(result) * (first[0] if transposed else first[-1])
