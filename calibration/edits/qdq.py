"""Writes QuantizeLinear and DequantizeLinear around convolutions, in the form that each target fuses.

ONNX Runtime on the CPU makes an integer kernel of DequantizeLinear -> Conv -> QuantizeLinear when activations are
uint8, weights int8 per channel and the bias int32. Its outputs have one scale, but may yet be rounded channel by
channel: gains in the weights' scales bring all channels to one range, and the DequantizeLinear after it, which has a
scale per channel, removes them again, at no cost. TensorRT takes int8 with zero point 0 throughout, a float bias, and
no QuantizeLinear after a convolution, which would keep the convolution from fusing with what follows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from voirs_vocoder.calibration.activation_ranges import ChannelScales, TensorScale
from voirs_vocoder.calibration.edits.qdq_linter import lint_qdq
from voirs_vocoder.calibration.edits.reading import (
    initializer,
    input_at,
    is_boundary,
    name_of,
    nodes_by_name,
    refuse_unless_flat,
    sole_reader,
)
from voirs_vocoder.calibration.edits.writer import NodeWriter
from voirs_vocoder.runtime.artifact.manifest import Target

__all__ = [
    "QdqFromFp32Pass",
    "Scales",
    "convolution_sums",
    "nearest_integers",
    "rounded_input",
    "rounded_weight",
    "weight_scales",
]

# The first in which DequantizeLinear has an axis.
_LEAST_OPSET = 13
_LIMIT = 127
_MIDDLE = 128
_INPUT_LIMITS: Mapping[Target, tuple[int, int]] = {"cpu": (0, 255), "tensorrt": (-128, 127)}
# An int32 bias must not come near the accumulator's end; a channel with next to no weights would send it there.
_BIAS_LIMIT = 1 << 28
# For channels of zeros; its product with an activation scale is still a normal float32.
_SMALLEST_SCALE = 1e-20


@dataclass(frozen=True)
class Scales:
    """How activations are quantized.

    Attributes:
        inputs: Name of every tensor that a quantized convolution reads, to its scale.
        outputs: Name of every tensor that a quantized convolution makes, to its scales; unused for TensorRT.
        sums: Name of every tensor that `convolution_sums` finds, to its scales; unused for TensorRT.
    """

    inputs: Mapping[str, TensorScale]
    outputs: Mapping[str, TensorScale | ChannelScales]
    sums: Mapping[str, ChannelScales] = field(default_factory=dict)


def convolution_sums(graph: ir.Graph, names: Collection[str]) -> dict[str, tuple[str, str]]:
    """Sums of two convolutions that nothing else reads.

    Args:
        graph: The FP32 graph.
        names: Names of the convolutions.

    Returns:
        Name of the tensor of each sum, to the names of the tensors of its terms.
    """
    made = {node.outputs[0] for node in nodes_by_name(graph, names)}
    found = {}
    for node in graph:
        terms = [value for value in node.inputs if value is not None]
        if (
            node.op_type == "Add"
            and not is_boundary(node.outputs[0])
            and len(set(terms)) == len(terms) == 2
            and all(term in made and sole_reader(term) is not None for term in terms)
        ):
            found[name_of(node.outputs[0])] = (name_of(terms[0]), name_of(terms[1]))
    return found


def rounded_input(values: NDArray[np.float32], scale: TensorScale, target: Target) -> NDArray[np.float32]:
    """An activation as a quantized convolution reads it.

    Args:
        values: Float activation of any shape.
        scale: Scale of the activation.
        target: Kind of backend that the graph is quantized for.
    """
    integers = np.clip(np.rint(values / np.float32(scale.scale)) + scale.zero_point, *_INPUT_LIMITS[target])
    rounded: NDArray[np.float32] = ((integers - scale.zero_point) * np.float32(scale.scale)).astype(
        np.float32
    )
    return rounded


def rounded_weight(
    weight: NDArray[np.float32],
    bias: NDArray[np.float32] | None,
    input_scale: float,
    integers: NDArray[np.int8] | None = None,
) -> NDArray[np.float32]:
    """The weight of a convolution as it computes when it is quantized.

    Args:
        weight: Float weight, [outputs, inputs, ...].
        bias: Float bias, [outputs]; None where there is none.
        input_scale: Scale of the tensor that the convolution reads.
        integers: Integers in the shape of the weight, within -127 to 127; None rounds to nearest.
    """
    scales = weight_scales(weight, bias, input_scale)
    chosen = nearest_integers(weight, scales) if integers is None else integers
    return chosen * _along_first(scales, weight.ndim)


class QdqFromFp32Pass(ir.passes.InPlacePass):
    """Writes QuantizeLinear and DequantizeLinear around convolutions, in the form that a target fuses.

        x -> Conv -> y    becomes, for the CPU,    x -> Q -> DQ -> Conv -> Q -> DQ -> y
                          and for TensorRT         x -> Q -> DQ -> Conv -> y

    Nodes keep their names and order.

    Args:
        names: Names of the Conv nodes to quantize, whose weights and biases are initializers.
        scales: Scales of their inputs and outputs.
        target: `cpu` or `tensorrt`, which decides the form.
        integers: Name of a convolution to the integers of its weight, int8 in the weight's shape, within -127 to 127;
            the weights of others are rounded to nearest. None rounds all of them to nearest.
    """

    def __init__(
        self,
        names: Collection[str],
        scales: Scales,
        target: Target,
        integers: Mapping[str, NDArray[np.int8]] | None = None,
    ) -> None:
        super().__init__()
        self._names = frozenset(names)
        self._scales = scales
        self._target = target
        self._integers = dict(integers or {})

    def requires(self, model: ir.Model) -> None:
        """The graph is flat, every name is that of a Conv with constant weights, and every scale it needs is given.

        Raises:
            PreconditionError: The graph is not flat or its opset too old, or a node or a scale is missing.
        """
        refuse_unless_flat(model)
        if (opset := model.opset_imports.get("", 0)) < _LEAST_OPSET:
            raise ir.passes.PreconditionError(
                f"scales per channel need opset {_LEAST_OPSET} or later, got {opset}; export the model again"
            )
        nodes = {name_of(node): node for node in nodes_by_name(model.graph, self._names)}
        for name in sorted(self._names):
            node = nodes.get(name)
            if node is None or node.op_type != "Conv" or initializer(input_at(node, 1)) is None:
                raise ir.passes.PreconditionError(
                    f"only a Conv with constant weights can be quantized, got {name!r}; leave it float"
                )
            if name_of(node.inputs[0]) not in self._scales.inputs or (
                self._target == "cpu" and name_of(node.outputs[0]) not in self._scales.outputs
            ):
                raise ir.passes.PreconditionError(
                    f"a quantized convolution needs scales of its input and output, got none for {name!r}; measure them"
                )
            weight, integers = initializer(input_at(node, 1)), self._integers.get(name)
            if weight is not None and integers is not None and integers.shape != weight.shape:
                raise ir.passes.PreconditionError(
                    f"integers must have the shape {weight.shape} of the weight of {name!r}, got {integers.shape}; "
                    "learn them for this graph"
                )

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Quantize in place."""
        _Quantizer(
            model.graph, self._names, self._scales, self._integers, for_cpu=self._target == "cpu"
        ).run()
        for value in list(model.graph.initializers.values()):
            if not value.uses() and not value.is_graph_output():
                del model.graph.initializers[value.name or ""]
        return ir.passes.PassResult(model, modified=bool(self._names))

    def ensures(self, model: ir.Model) -> None:
        """Every named convolution reads integers, and TensorRT reads its graph as it is meant.

        Raises:
            PostconditionError: One reads floats, or `lint_qdq` finds something in a graph for TensorRT.
        """
        for node in nodes_by_name(model.graph, self._names):
            makers = [value.producer() for value in node.inputs[:2] if value is not None]
            if any(maker is None or maker.op_type != "DequantizeLinear" for maker in makers):
                raise ir.passes.PostconditionError(
                    f"a quantized convolution must read integers, got floats in {node.name}; report the model"
                )
        if self._target == "tensorrt" and (findings := lint_qdq(ir.to_proto(model))):
            raise ir.passes.PostconditionError(
                f"TensorRT must read the graph as it is meant, got {findings[0]}"
            )


class _Quantizer:
    def __init__(
        self,
        graph: ir.Graph,
        names: frozenset[str],
        scales: Scales,
        integers: Mapping[str, NDArray[np.int8]],
        *,
        for_cpu: bool,
    ) -> None:
        self._graph = graph
        self._integers = integers
        self._writer = NodeWriter(graph)
        self._names = names
        self._scales = scales
        self._for_cpu = for_cpu
        possible = convolution_sums(graph, names) if for_cpu else {}
        self._sums = {total: scales.sums[total] for total in possible if total in scales.sums}
        self._sum_of_term = {term: total for total in self._sums for term in possible[total]}
        self._integer_splits: dict[ir.Node, ChannelScales] = {}
        self._rounded_inputs: dict[ir.Value, ir.Value] = {}

    def run(self) -> None:
        for node in tuple(self._graph):
            if name_of(node) in self._names:
                self._quantize_convolution(node)
            elif name_of(node.outputs[0]) in self._sums:
                output = node.outputs[0]
                self._round_channels(output, self._sums[name_of(output)])
            elif node in self._integer_splits:
                self._dequantize_parts(node, self._integer_splits[node])

    def _quantize_convolution(self, node: ir.Node) -> None:
        source, output = node.inputs[0], node.outputs[0]
        assert source is not None  # noqa: S101 - a Conv has an input
        scale = self._scales.inputs[name_of(source)]
        if source not in self._rounded_inputs:
            self._rounded_inputs[source] = self._rounded(source, f"{source.name}.input", scale, before=node)
        node.replace_input_with(0, self._rounded_inputs[source])
        weight = _float_values(node, 1)
        assert weight is not None  # noqa: S101 - checked before the pass
        bias = _float_values(node, 2)
        steps = weight_scales(weight, bias, scale.scale)
        given = self._integers.get(name_of(node))
        integers = nearest_integers(weight, steps) if given is None else given
        stem = f"{node.name}.weight"
        if not self._for_cpu:
            node.replace_input_with(1, self._rounded_weight(node, stem, integers, steps))
            return
        output_scale = self._output_scale(name_of(output))
        gains = _gains(output_scale)
        stored_scales = steps * gains
        node.replace_input_with(1, self._stored(node, stem, integers, stored_scales))
        if bias is not None:
            # The kernel forms the same product of the two scales, in float32.
            bias_scales = stored_scales * np.float32(scale.scale)
            bias_integers = np.rint(bias * gains / bias_scales.astype(np.float64)).astype(np.int32)
            node.replace_input_with(2, self._stored(node, f"{node.name}.bias", bias_integers, bias_scales))
        if name_of(output) in self._sum_of_term and isinstance(output_scale, ChannelScales):
            # The gains stay in: the sum takes them out.
            self._round(output, TensorScale(float(output_scale.scales.max()), _MIDDLE))
        elif isinstance(output_scale, ChannelScales):
            self._round_channels(output, output_scale)
        else:
            self._round(output, output_scale)

    def _output_scale(self, output: str) -> TensorScale | ChannelScales:
        own = self._scales.outputs[output]
        if output not in self._sum_of_term:
            return own
        common = self._sums[self._sum_of_term[output]].scales
        # As fine as the term's coarsest channel allows.
        step = np.max((own.scales if isinstance(own, ChannelScales) else np.float32(own.scale)) / common)
        return ChannelScales((common * step).astype(np.float32))

    def _rounded(self, value: ir.Value, stem: str, scale: TensorScale, *, before: ir.Node) -> ir.Value:
        """An activation behind a new pair of QuantizeLinear and DequantizeLinear."""
        zero_point = np.array(scale.zero_point, np.uint8 if self._for_cpu else np.int8)
        parameters = self._parameters(stem, np.array(scale.scale, np.float32), zero_point)
        quantize = self._writer.node("QuantizeLinear", [value, *parameters], f"{stem}.quantized")
        dequantize = self._writer.node("DequantizeLinear", [quantize.outputs[0], *parameters], stem)
        self._graph.insert_before(before, (quantize, dequantize))
        return dequantize.outputs[0]

    def _round(self, output: ir.Value, scale: TensorScale) -> None:
        """Round an output: those who read it read the rounded values from now on."""
        stem = name_of(output)
        zero_point = np.array(scale.zero_point, np.uint8)
        parameters = self._parameters(stem, np.array(scale.scale, np.float32), zero_point)
        quantize = self._writer.node("QuantizeLinear", [output, *parameters], f"{stem}.quantized")
        dequantize = self._writer.node(
            "DequantizeLinear", [quantize.outputs[0], *parameters], f"{stem}.rounded"
        )
        self._insert_behind(output, (quantize, dequantize))
        self._writer.take_over(output, dequantize.outputs[0], f"{stem}.unrounded", keep=(quantize,))

    def _round_channels(self, output: ir.Value, channels: ChannelScales) -> None:
        """Round channels that the convolution has brought to one scale; dequantizing takes the gains out again."""
        stem = name_of(output)
        parameters = self._parameters(
            stem, np.array(channels.scales.max(), np.float32), np.array(_MIDDLE, np.uint8)
        )
        reader = sole_reader(output)
        quantize = self._writer.node("QuantizeLinear", [output, *parameters], f"{stem}.quantized")
        if reader is not None and _splits_channels(reader):
            # The parts are dequantized one by one, behind the Split of the integers.
            self._insert_behind(output, (quantize,))
            reader.replace_input_with(0, quantize.outputs[0])
            self._integer_splits[reader] = channels
            output.name = self._writer.claim(f"{stem}.unrounded")
            return
        dequantize = self._dequantize_channels(quantize.outputs[0], stem, channels.scales)
        self._insert_behind(output, (quantize, dequantize))
        self._writer.take_over(output, dequantize.outputs[0], f"{stem}.unrounded", keep=(quantize,))

    def _dequantize_parts(self, split: ir.Node, channels: ChannelScales) -> None:
        start = 0
        sizes = initializer(input_at(split, 1))
        parts = np.array_split(channels.scales, len(split.outputs))
        lengths = [len(part) for part in parts] if sizes is None else [int(size) for size in sizes]
        behind = split
        for output, size in zip(split.outputs, lengths, strict=True):
            stem = name_of(output)
            dequantize = self._dequantize_channels(output, stem, channels.scales[start : start + size])
            start += size
            self._graph.insert_after(behind, dequantize)
            behind = dequantize
            self._writer.take_over(output, dequantize.outputs[0], f"{stem}.quantized", keep=(dequantize,))
            # The type that inference found was that of floats.
            output.type = ir.TensorType(ir.DataType.UINT8)

    def _dequantize_channels(self, integers: ir.Value, stem: str, scales: NDArray[np.float32]) -> ir.Node:
        zero_points = np.full(len(scales), _MIDDLE, np.uint8)
        parameters = self._parameters(f"{stem}.channels", scales, zero_points)
        return self._writer.node("DequantizeLinear", [integers, *parameters], f"{stem}.rounded", {"axis": 1})

    def _rounded_weight(
        self, node: ir.Node, stem: str, integers: NDArray[np.int8], scales: NDArray[np.float32]
    ) -> ir.Value:
        rounded = self._writer.constant(f"{stem}.float", integers * _along_first(scales, integers.ndim))
        parameters = self._parameters(stem, scales, np.zeros(len(scales), np.int8))
        quantize = self._writer.node(
            "QuantizeLinear", [rounded, *parameters], f"{stem}.quantized", {"axis": 0}
        )
        return self._dequantized(node, stem, quantize.outputs[0], parameters, quantize)

    def _stored(
        self, node: ir.Node, stem: str, integers: NDArray[np.signedinteger[Any]], scales: NDArray[np.float32]
    ) -> ir.Value:
        stored = self._writer.constant(f"{stem}.quantized", integers)
        parameters = self._parameters(stem, scales, np.zeros(len(scales), integers.dtype))
        return self._dequantized(node, stem, stored, parameters)

    def _dequantized(
        self,
        node: ir.Node,
        stem: str,
        integers: ir.Value,
        parameters: Sequence[ir.Value],
        *makers: ir.Node,
    ) -> ir.Value:
        dequantize = self._writer.node(
            "DequantizeLinear", [integers, *parameters], f"{stem}.dequantized", {"axis": 0}
        )
        self._graph.insert_before(node, (*makers, dequantize))
        return dequantize.outputs[0]

    def _parameters(
        self, stem: str, scale: NDArray[np.float32], zero_point: NDArray[np.integer[Any]]
    ) -> tuple[ir.Value, ir.Value]:
        return (
            self._writer.constant(f"{stem}.scale", scale),
            self._writer.constant(f"{stem}.zero_point", zero_point),
        )

    def _insert_behind(self, value: ir.Value, nodes: Sequence[ir.Node]) -> None:
        producer = value.producer()
        assert producer is not None  # noqa: S101 - the output of a node
        self._graph.insert_after(producer, nodes)


def _float_values(node: ir.Node, place: int) -> NDArray[np.float32] | None:
    values = initializer(input_at(node, place))
    return None if values is None else values.astype(np.float32, copy=False)


def _splits_channels(node: ir.Node) -> bool:
    axis = node.attributes.get("axis")
    return node.op_type == "Split" and axis is not None and axis.as_int() == 1


def _gains(scale: TensorScale | ChannelScales) -> NDArray[np.float32]:
    """What brings each channel of a convolution's output to the scale of the coarsest; [1] for a single scale."""
    if isinstance(scale, ChannelScales):
        gains: NDArray[np.float32] = scale.scales.max() / scale.scales
        return gains
    return np.ones(1, np.float32)


def _along_first(scales: NDArray[np.float32], ndim: int) -> NDArray[np.float32]:
    return scales.reshape(-1, *[1] * (ndim - 1))


def nearest_integers(weight: NDArray[np.float32], scales: NDArray[np.float32]) -> NDArray[np.int8]:
    """Weights in steps of their scales, rounded to nearest and clipped to -127 to 127.

    Args:
        weight: Float weight, [outputs, ...].
        scales: Step between two integers of each output channel, [outputs].
    """
    integers: NDArray[np.int8] = np.clip(
        np.rint(weight / _along_first(scales, weight.ndim)), -_LIMIT, _LIMIT
    ).astype(np.int8)
    return integers


def weight_scales(
    weight: NDArray[np.float32], bias: NDArray[np.float32] | None, input_scale: float
) -> NDArray[np.float32]:
    """Step between two integers of each output channel, float32 [outputs]: the largest absolute weight becomes 127.

    Args:
        weight: Float weight, [outputs, ...].
        bias: Float bias, [outputs]; None where there is none. A step is large enough for the bias to fit 32 bits.
        input_scale: Scale of the tensor that the convolution reads.
    """
    largest = np.abs(weight).max(axis=tuple(range(1, weight.ndim))) / _LIMIT
    smallest = np.zeros(1) if bias is None else np.abs(bias) / (_BIAS_LIMIT * input_scale)
    scales: NDArray[np.float32] = np.maximum(np.maximum(largest, smallest), _SMALLEST_SCALE).astype(
        np.float32
    )
    return scales
