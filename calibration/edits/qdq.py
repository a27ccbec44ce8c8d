"""Writes QuantizeLinear and DequantizeLinear around convolutions, in the form that each target fuses.

ONNX Runtime on the CPU makes an integer kernel of DequantizeLinear -> Conv -> QuantizeLinear when activations are
uint8, weights int8 per channel and the bias int32. Its outputs have one scale, but may yet be rounded channel by
channel: gains in the weights' scales bring all channels to one range, and the DequantizeLinear behind, which has a
scale per channel, takes them out again, at no cost. TensorRT takes int8 with zero point 0 throughout, a float bias,
and no QuantizeLinear behind a convolution, which would keep it from fusing with what follows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from voirs_vocoder.calibration.activation_ranges import ChannelScales, TensorScale
from voirs_vocoder.calibration.graph import GraphIndex, copied
from voirs_vocoder.runtime.artifact.manifest import Target

__all__ = ["Scales", "qdq_from_fp32"]

_LIMIT = 127
_MIDDLE = 128
# An int32 bias must not come near the accumulator's end; a channel with next to no weights would send it there.
_BIAS_LIMIT = 1 << 28
# For channels of zeros; its product with an activation scale is still a normal float32.
_SMALLEST_SCALE = 1e-20


@dataclass(frozen=True)
class Scales:
    """How activations are quantized.

    Attributes:
        inputs: Of every tensor that a quantized convolution reads.
        outputs: Of every tensor that one makes; unused for TensorRT.
        sums: Of every tensor that `convolution_sums` names; unused for TensorRT.
    """

    inputs: Mapping[str, TensorScale]
    outputs: Mapping[str, TensorScale | ChannelScales]
    sums: Mapping[str, ChannelScales] = field(default_factory=dict)


def convolution_sums(index: GraphIndex, names: Collection[str]) -> dict[str, tuple[str, str]]:
    """Sums of two of these convolutions that nothing else reads: from the tensor of the sum to those of the terms."""
    made = {node.output[0] for node in index.nodes if node.name in names}
    return {
        node.output[0]: (node.input[0], node.input[1])
        for node in index.nodes
        if node.op_type == "Add"
        and node.output[0] not in index.boundary
        and len(set(node.input)) == len(node.input)
        and all(term in made and index.sole_reader(term) is not None for term in node.input)
    }


def qdq_from_fp32(
    model: onnx.ModelProto, names: Collection[str], scales: Scales, target: Target
) -> onnx.ModelProto:
    """Quantize convolutions.

    Args:
        model: Left as it is; opset 13 or later.
        names: Of the Conv nodes to quantize, whose weights and biases are initializers.
        scales: Of their inputs and outputs.
        target: Decides the form.

    Returns:
        A graph with the same inputs and outputs; nodes keep their names and order. The same arguments give the same
        bytes.
    """
    return _QdqWriter(model, frozenset(names), scales, target).write()


class _QdqWriter:
    def __init__(self, model: onnx.ModelProto, names: frozenset[str], scales: Scales, target: Target) -> None:
        self._model = model
        self._index = GraphIndex(model)
        self._names = names
        self._scales = scales
        self._for_cpu = target == "cpu"
        possible = convolution_sums(self._index, names) if self._for_cpu else {}
        self._sums = {total: scales.sums[total] for total in possible if total in scales.sums}
        self._sum_of_term = {term: total for total in self._sums for term in possible[total]}
        self._integer_splits: dict[str, tuple[str, ChannelScales]] = {}
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._rounded_inputs: dict[str, str] = {}

    def write(self) -> onnx.ModelProto:
        for node in self._index.nodes:
            if node.name in self._names:
                self._write_convolution(node)
            elif node.output[0] in self._sums:
                self._write_sum(node)
            elif node.op_type == "Split" and node.input[0] in self._integer_splits:
                self._write_split(node)
            else:
                self._nodes.append(node)
        used = {name for node in self._nodes for name in node.input}
        kept = [
            tensor for tensor in (*self._model.graph.initializer, *self._constants) if tensor.name in used
        ]
        result = copied(self._model)
        for kind, content in ((result.graph.node, self._nodes), (result.graph.initializer, kept)):
            del kind[:]
            kind.extend(content)
        return result

    def _write_convolution(self, node: onnx.NodeProto) -> None:
        convolution = onnx.NodeProto()
        convolution.CopyFrom(node)
        source, output = node.input[0], node.output[0]
        scale = self._scales.inputs[source]
        if source not in self._rounded_inputs:
            self._rounded_inputs[source] = f"{source}/input"
            self._round(source, f"{source}/input", scale)
        convolution.input[0] = self._rounded_inputs[source]
        weight = self._index.initializers[node.input[1]]
        bias = self._index.initializers[node.input[2]] if len(node.input) > 2 else None
        weight_scales = _weight_scales(weight, bias, scale.scale)
        if not self._for_cpu:
            convolution.input[1] = self._write_rounded_weight(f"{node.name}/weight", weight, weight_scales)
            self._nodes.append(convolution)
            return
        output_scale = self._output_scale(output)
        gains = _gains(output_scale)
        stored_scales = weight_scales * gains
        integers = _integers(weight, weight_scales)
        convolution.input[1] = self._write_constant(f"{node.name}/weight", integers, stored_scales)
        if bias is not None:
            # The kernel forms the same product of the two scales, in float32.
            bias_scales = stored_scales * np.float32(scale.scale)
            bias_integers = np.rint(bias * gains / bias_scales.astype(np.float64)).astype(np.int32)
            convolution.input[2] = self._write_constant(f"{node.name}/bias", bias_integers, bias_scales)
        self._nodes.append(convolution)
        convolution.output[0] = f"{output}/unrounded"
        if output in self._sum_of_term and isinstance(output_scale, ChannelScales):
            # The gains stay in: the sum takes them out.
            self._round(convolution.output[0], output, TensorScale(float(output_scale.scales.max()), _MIDDLE))
        elif isinstance(output_scale, ChannelScales):
            self._round_channels(convolution.output[0], output, output_scale)
        else:
            self._round(convolution.output[0], output, output_scale)

    def _output_scale(self, output: str) -> TensorScale | ChannelScales:
        own = self._scales.outputs[output]
        if output not in self._sum_of_term:
            return own
        common = self._sums[self._sum_of_term[output]].scales
        # As fine as the term's coarsest channel allows.
        step = np.max((own.scales if isinstance(own, ChannelScales) else np.float32(own.scale)) / common)
        return ChannelScales((common * step).astype(np.float32))

    def _write_sum(self, node: onnx.NodeProto) -> None:
        added = onnx.NodeProto()
        added.CopyFrom(node)
        added.output[0] = f"{node.output[0]}/unrounded"
        self._nodes.append(added)
        self._round_channels(added.output[0], node.output[0], self._sums[node.output[0]])

    def _write_split(self, node: onnx.NodeProto) -> None:
        quantized, channels = self._integer_splits[node.input[0]]
        split = onnx.NodeProto()
        split.CopyFrom(node)
        split.input[0] = quantized
        start = 0
        parts = []
        for place, (output, size) in enumerate(
            zip(node.output, self._part_sizes(node, channels), strict=True)
        ):
            split.output[place] = f"{output}/quantized"
            parts.append((output, channels.scales[start : start + size]))
            start += size
        self._nodes.append(split)
        for output, scales in parts:
            self._dequantize_channels(output, scales)

    def _part_sizes(self, node: onnx.NodeProto, channels: ChannelScales) -> list[int]:
        if len(node.input) > 1:
            return [int(size) for size in self._index.initializers[node.input[1]]]
        return [len(part) for part in np.array_split(channels.scales, len(node.output))]

    def _round(self, tensor: str, result: str, scale: TensorScale) -> None:
        """Write a pair of QuantizeLinear and DequantizeLinear for an activation."""
        zero_point = np.array(scale.zero_point, np.uint8 if self._for_cpu else np.int8)
        parameters = self._add_parameters(result, np.array(scale.scale, np.float32), zero_point)
        self._add("QuantizeLinear", [tensor, *parameters], f"{result}/quantized")
        self._add("DequantizeLinear", [f"{result}/quantized", *parameters], result)

    def _round_channels(self, tensor: str, result: str, channels: ChannelScales) -> None:
        """Write the same for channels that the convolution has brought to one scale; dequantizing undoes that."""
        zero_point = np.array(_MIDDLE, np.uint8)
        parameters = self._add_parameters(result, np.array(channels.scales.max(), np.float32), zero_point)
        self._add("QuantizeLinear", [tensor, *parameters], f"{result}/quantized")
        reader = self._index.sole_reader(result)
        if reader is not None and _splits_channels(reader):
            self._integer_splits[result] = (f"{result}/quantized", channels)
            return
        self._dequantize_channels(result, channels.scales)

    def _dequantize_channels(self, result: str, scales: NDArray[np.float32]) -> None:
        zero_points = np.full(len(scales), _MIDDLE, np.uint8)
        parameters = self._add_parameters(f"{result}/channels", scales, zero_points)
        self._add("DequantizeLinear", [f"{result}/quantized", *parameters], result, axis=1)

    def _write_rounded_weight(
        self, stem: str, weight: NDArray[np.float32], scales: NDArray[np.float32]
    ) -> str:
        integers = _integers(weight, scales)
        rounded = self._add_constant(f"{stem}/float", integers * _along_first(scales, weight.ndim))
        parameters = self._add_parameters(stem, scales, np.zeros(len(scales), np.int8))
        self._add("QuantizeLinear", [rounded, *parameters], f"{stem}/quantized", axis=0)
        return self._add("DequantizeLinear", [f"{stem}/quantized", *parameters], stem, axis=0)

    def _write_constant(
        self, stem: str, integers: NDArray[np.signedinteger[Any]], scales: NDArray[np.float32]
    ) -> str:
        quantized = self._add_constant(f"{stem}/quantized", integers)
        parameters = self._add_parameters(stem, scales, np.zeros(len(scales), integers.dtype))
        return self._add("DequantizeLinear", [quantized, *parameters], stem, axis=0)

    def _add_parameters(
        self, stem: str, scale: NDArray[np.float32], zero_point: NDArray[np.integer[Any]]
    ) -> tuple[str, str]:
        return self._add_constant(f"{stem}/scale", scale), self._add_constant(
            f"{stem}/zero_point", zero_point
        )

    def _add_constant(self, name: str, values: NDArray[np.generic]) -> str:
        self._constants.append(numpy_helper.from_array(values, name))
        return name

    def _add(self, operator: str, inputs: Sequence[str], output: str, axis: int | None = None) -> str:
        node = helper.make_node(operator, inputs, [output], f"{output}/{operator}")
        if axis is not None:
            node.attribute.append(helper.make_attribute("axis", axis))
        self._nodes.append(node)
        return output


def _splits_channels(node: onnx.NodeProto) -> bool:
    axes = [attribute.i for attribute in node.attribute if attribute.name == "axis"]
    return node.op_type == "Split" and axes == [1]


def _gains(scale: TensorScale | ChannelScales) -> NDArray[np.float32]:
    """What brings each channel of a convolution's output to the scale of the coarsest; [1] for a single scale."""
    if isinstance(scale, ChannelScales):
        gains: NDArray[np.float32] = scale.scales.max() / scale.scales
        return gains
    return np.ones(1, np.float32)


def _along_first(scales: NDArray[np.float32], ndim: int) -> NDArray[np.float32]:
    return scales.reshape(-1, *[1] * (ndim - 1))


def _integers(weight: NDArray[np.float32], scales: NDArray[np.float32]) -> NDArray[np.int8]:
    integers: NDArray[np.int8] = np.clip(
        np.rint(weight / _along_first(scales, weight.ndim)), -_LIMIT, _LIMIT
    ).astype(np.int8)
    return integers


def _weight_scales(
    weight: NDArray[np.float32], bias: NDArray[np.float32] | None, input_scale: float
) -> NDArray[np.float32]:
    """Per output channel [axis 0]: the largest absolute weight becomes 127."""
    largest = np.abs(weight).max(axis=tuple(range(1, weight.ndim))) / _LIMIT
    smallest = np.zeros(1) if bias is None else np.abs(bias) / (_BIAS_LIMIT * input_scale)
    scales: NDArray[np.float32] = np.maximum(np.maximum(largest, smallest), _SMALLEST_SCALE).astype(
        np.float32
    )
    return scales
