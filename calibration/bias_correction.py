"""Biases that make up for the mean error of quantized convolutions.

Rounding weights and clipping activations shifts the mean of what a convolution computes, channel by channel. The shift
is measured on calibration runs and taken out of the bias (Nagel et al. 2019, arXiv 1906.04721, section 4.2), at no cost
when the graph runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from voirs_vocoder.calibration.activation_ranges import TensorScale
from voirs_vocoder.calibration.edits.qdq import rounded_input, rounded_weight
from voirs_vocoder.calibration.edits.reading import (
    attribute,
    graph_of,
    initializer,
    input_at,
    name_of,
    nodes_by_name,
    refuse_unless_flat,
)
from voirs_vocoder.calibration.edits.run import run_passes
from voirs_vocoder.calibration.runs import Feed, observe
from voirs_vocoder.runtime.artifact.manifest import Target

__all__ = ["ShiftBiasesPass", "correct_biases"]


class ShiftBiasesPass(ir.passes.InPlacePass):
    """Adds a value per channel to the biases of convolutions.

    Args:
        shifts: Name of a Conv to what is added to its output, float32 [channels]. A Conv without a bias, or one whose
            bias another node reads too, stays as it is.
    """

    def __init__(self, shifts: Mapping[str, NDArray[np.float32]]) -> None:
        super().__init__()
        self._shifts = dict(shifts)

    def requires(self, model: ir.Model) -> None:
        """The graph is flat, and shifts are finite.

        Raises:
            PreconditionError: It is not, or a shift is not.
        """
        refuse_unless_flat(model)
        for name, shift in self._shifts.items():
            if not np.isfinite(shift).all():
                raise ir.passes.PreconditionError(
                    f"biases are shifted by finite values, got others for {name!r}; check the calibration runs"
                )

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Shift in place."""
        for node in nodes_by_name(model.graph, self._shifts):
            bias = input_at(node, 2)
            values = initializer(bias)
            if bias is not None and values is not None and len(list(bias.uses())) == 1:
                shifted = (values + self._shifts[name_of(node)]).astype(np.float32)
                bias.const_value = ir.tensor(shifted, name=bias.name)
        return ir.passes.PassResult(model, modified=bool(self._shifts))


def correct_biases(
    model: onnx.ModelProto,
    names: Sequence[str],
    scales: Mapping[str, TensorScale],
    feeds: Sequence[Feed],
    target: Target,
    integers: Mapping[str, NDArray[np.int8]] | None = None,
) -> onnx.ModelProto:
    """The FP32 graph with biases from which the mean error of quantization is taken out.

    The error of each convolution is that of its own weights and input; what other convolutions add to its input is not
    part of it, since their biases are corrected too. Values at the edges of a run, where a convolution reads padding,
    count like others.

    Args:
        model: FP32 graph; it is not changed.
        names: Names of the convolutions that will be quantized.
        scales: Name of each tensor that these convolutions read, to its scale.
        feeds: Inputs of the runs that the error is measured on.
        target: Kind of backend that the graph is quantized for.
        integers: Name of a convolution to the integers of its weight; the weights of others are rounded to nearest.
            None rounds all of them to nearest.

    Raises:
        InputError: A feed does not fit the graph.
        GraphEditError: The error of a convolution is not finite.
    """
    nodes = nodes_by_name(graph_of(model), names)
    sources = sorted({name_of(node.inputs[0]) for node in nodes})
    sums: dict[str, NDArray[np.float64]] = {}
    counts = dict.fromkeys(sources, 0)
    for observed in observe(model, sources, feeds):
        for name in sources:
            values = observed[name]
            others = tuple(axis for axis in range(values.ndim) if axis != 1)
            both = np.stack([values, rounded_input(values, scales[name], target)])
            total = both.sum(axis=tuple(axis + 1 for axis in others), dtype=np.float64)
            sums[name] = sums.get(name, 0.0) + total
            counts[name] += values.size // values.shape[1]
    shifts = {}
    for node in nodes:
        weight = initializer(input_at(node, 1))
        if weight is None:
            continue
        source = name_of(node.inputs[0])
        means = sums[source] / counts[source]
        bias = initializer(input_at(node, 2))
        quantized = rounded_weight(weight, bias, scales[source].scale, (integers or {}).get(name_of(node)))
        groups = int(attribute(node, "group", 1))
        shifts[name_of(node)] = (
            _mean_output(weight, means[0], groups) - _mean_output(quantized, means[1], groups)
        ).astype(np.float32)
    return run_passes(model, [ShiftBiasesPass(shifts)])


def _mean_output(weight: NDArray[np.float32], means: NDArray[np.float64], groups: int) -> NDArray[np.float64]:
    """Mean of a convolution's output without its bias, [outputs], from the means of its input channels."""
    taps = weight.reshape(groups, -1, *weight.shape[1:2], weight[0, 0].size).sum(axis=-1, dtype=np.float64)
    per_group: NDArray[np.float64] = np.einsum("goi,gi->go", taps, means.reshape(groups, -1))
    return per_group.reshape(-1)
