"""Exact per-channel equalization: channels that share a scale are brought to similar ranges before quantization.

LeakyRelu, Relu and products with a constant are positively homogeneous: scaling a channel before them scales it after
them. So between a convolution and the convolutions that read it, channel c may be divided by s[c] in the writer's
weight and bias and multiplied by s[c] in the readers' weights (Nagel et al. 2019, arXiv 1906.04721, section 4.1). With
powers of two for s the FP32 output does not change in any bit, short of underflow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from voirs_vocoder.calibration.edits.reading import (
    attribute,
    constant,
    graph_of,
    initializer,
    input_at,
    is_boundary,
    name_of,
    refuse_unless_flat,
)
from voirs_vocoder.calibration.edits.run import run_passes
from voirs_vocoder.calibration.runs import Feed, observe

__all__ = ["ChannelGroup", "EqualizeChannelsPass", "channel_groups", "equalize"]

_CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
# No channel moves by more than 2**_MAX_OCTAVES against the middle one: a silent channel would fill the range with
# noise.
_MAX_OCTAVES = 6


@dataclass(frozen=True)
class ChannelGroup:
    """Tensors whose channels can be rescaled together.

    Attributes:
        tensors: Names of the tensors from the writer's output to the readers' inputs, in order.
        writer: Name of the convolution that makes the first tensor.
        readers: Names of the convolutions that read any of the tensors.
    """

    tensors: tuple[str, ...]
    writer: str
    readers: tuple[str, ...]


def channel_groups(model: onnx.ModelProto) -> list[ChannelGroup]:
    """Groups between one convolution and its readers, in the order of the graph.

    Inputs and outputs of the graph, and tensors that another operator reads (Add, Tanh, Concat), are in no group.
    Sums are in none although they are homogeneous too: all terms would have to share one s, which fits the ranges of
    the sum and not those of the terms, and cost more than it gained on HiFi-GAN.
    """
    groups = []
    for node in graph_of(model):
        if not _plain_convolution(node):
            continue
        values, readers = _reached(node.outputs[0])
        if readers and not any(is_boundary(value) for value in values):
            groups.append(
                ChannelGroup(
                    tuple(name_of(value) for value in values),
                    name_of(node),
                    tuple(name_of(reader) for reader in readers),
                )
            )
    return groups


class EqualizeChannelsPass(ir.passes.InPlacePass):
    """Divides the channels that a convolution writes by factors, and multiplies the weights of their readers.

    Args:
        factors: For each group, a power of two per channel, [channels].
    """

    def __init__(self, factors: Mapping[ChannelGroup, NDArray[np.float32]]) -> None:
        super().__init__()
        self._factors = dict(factors)

    def requires(self, model: ir.Model) -> None:
        """The graph is flat, and factors are powers of two, with which no bit of the output changes.

        Raises:
            PreconditionError: It is not, or a factor is not.
        """
        refuse_unless_flat(model)
        for group, factors in self._factors.items():
            if not np.all(factors > 0) or np.any(np.frexp(factors)[0] != 0.5):
                raise ir.passes.PreconditionError(
                    f"channels are scaled by powers of two, got others for {group.writer!r}; round them"
                )

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Scale in place."""
        nodes = {name_of(node): node for node in model.graph}
        for group, factors in self._factors.items():
            writer = nodes[group.writer]
            _scale(input_at(writer, 1), _output_axis(writer), np.float32(1) / factors)
            _scale(input_at(writer, 2), 0, np.float32(1) / factors)
            for name in group.readers:
                _scale(input_at(nodes[name], 1), 1 - _output_axis(nodes[name]), factors)
        return ir.passes.PassResult(model, modified=bool(self._factors))

    def ensures(self, model: ir.Model) -> None:
        """Weights are finite.

        Raises:
            PostconditionError: One has overflowed.
        """
        for value in model.graph.initializers.values():
            values = initializer(value)
            if values is not None and values.dtype == np.float32 and not np.isfinite(values).all():
                raise ir.passes.PostconditionError(
                    f"scaled weights must be finite, got others in {value.name}; lower the exponent"
                )


def equalize(
    model: onnx.ModelProto, groups: Sequence[ChannelGroup], feeds: Sequence[Feed], exponent: float
) -> onnx.ModelProto:
    """Rescale channels.

    Args:
        model: FP32 graph; it is not changed.
        groups: Groups that `channel_groups` found in this model.
        feeds: Inputs of the runs that measure the channels' largest absolute values.
        exponent: Power in [0, 1] to which the channel's range, relative to the geometric mean, is raised to give s[c],
            which is then rounded to a power of two: 0 changes nothing, 1 makes all ranges equal within the rounding
            (Xiao et al. 2022, arXiv 2211.10438, equation 4, without the weights' part).

    Returns:
        A model with equal outputs.

    Raises:
        InputError: A feed does not fit the graph.
    """
    if not groups or exponent == 0.0:
        return model
    ranges = {group.writer: np.zeros(1, np.float32) for group in groups}
    taps = {group.writer: group.tensors[-1] for group in groups}
    for observed in observe(model, sorted(set(taps.values())), feeds):
        for writer, tensor in taps.items():
            values = observed[tensor]
            other_axes = tuple(axis for axis in range(values.ndim) if axis != 1)
            ranges[writer] = np.maximum(ranges[writer], np.abs(values).max(axis=other_axes))
    factors = {group: _factors(ranges[group.writer], exponent) for group in groups}
    return run_passes(model, [EqualizeChannelsPass(factors)])


def _plain_convolution(node: ir.Node) -> bool:
    """Whether a node's weights may be rescaled: ungrouped, constant, and read by no other node."""
    parameters = [value for value in node.inputs[1:] if value is not None]
    return (
        node.op_type in _CONVOLUTIONS
        and attribute(node, "group", 1) == 1
        and all(value.is_initializer() and len(list(value.uses())) == 1 for value in parameters)
    )


def _reached(value: ir.Value) -> tuple[list[ir.Value], list[ir.Node]]:
    """The values that carry this one's channels, and the convolutions that read them; no readers if others do."""
    values, readers, position = [value], [], 0
    while position < len(values):
        here = values[position]
        for use in here.uses():
            if _plain_convolution(use.node) and use.idx == 0:
                readers.append(use.node)
            elif _homogeneous(use.node, here):
                values.append(use.node.outputs[0])
            else:
                return values, []
        position += 1
    return values, readers


def _homogeneous(node: ir.Node, value: ir.Value) -> bool:
    if node.op_type in ("LeakyRelu", "Relu"):
        return True
    others = [constant(other) for other in node.inputs if other is not value]
    by_constant = len(others) == 1 and others[0] is not None and others[0].size == 1
    return by_constant and (node.op_type == "Mul" or (node.op_type == "Div" and node.inputs[0] is value))


def _factors(ranges: NDArray[np.float32], exponent: float) -> NDArray[np.float32]:
    floor = np.max(ranges) * 2.0**-_MAX_OCTAVES
    octaves = np.log2(np.maximum(ranges, floor)) if floor > 0 else np.zeros(len(ranges))
    factors: NDArray[np.float32] = np.exp2(np.rint(exponent * (octaves - octaves.mean()))).astype(np.float32)
    return factors


def _output_axis(node: ir.Node) -> int:
    return 1 if node.op_type == "ConvTranspose" else 0


def _scale(parameter: ir.Value | None, axis: int, factors: NDArray[np.float32]) -> None:
    values = initializer(parameter)
    if parameter is None or values is None:
        return
    shape = [-1 if position == axis else 1 for position in range(values.ndim)]
    scaled = (values * factors.reshape(shape)).astype(np.float32)
    parameter.const_value = ir.tensor(scaled, name=parameter.name)
