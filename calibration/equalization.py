"""Exact per-channel equalization: channels that share a scale are brought to similar ranges before quantization.

LeakyRelu, Relu and products with a constant are positively homogeneous: scaling a channel before them scales it after
them. So between a convolution and the convolutions that read it, channel c may be divided by s[c] in the writer's
weight and bias and multiplied by s[c] in the readers' weights (Nagel et al. 2019, arXiv 1906.04721, section 4.1). With
powers of two for s the FP32 output does not change in any bit, short of underflow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from voirs_vocoder.calibration.graph import Feed, GraphIndex, copied, observe

__all__ = ["ChannelGroup", "channel_groups", "equalize"]

_CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
# No channel moves by more than 2**_MAX_OCTAVES against the middle one, lest a silent channel fill the range with noise.
_MAX_OCTAVES = 6


@dataclass(frozen=True)
class ChannelGroup:
    """Tensors whose channels can be rescaled together.

    Attributes:
        tensors: From the writer's output to the readers' inputs, in order.
        writer: Name of the convolution that makes the first.
        readers: Names of all that read any of them, each a convolution.
    """

    tensors: tuple[str, ...]
    writer: str
    readers: tuple[str, ...]


def channel_groups(model: onnx.ModelProto) -> list[ChannelGroup]:
    """Groups between one convolution and its readers, in the order of the graph.

    Left alone are tensors that are inputs or outputs of the graph, or that anything else reads (Add, Tanh, Concat).
    Sums are left alone although they are homogeneous too: all that is summed would have to share one s, which fits
    the sum's ranges and not its parts', and on HiFi-GAN cost more than it gained.
    """
    index = GraphIndex(model)
    groups = []
    for node in index.nodes:
        if not _plain_convolution(index, node):
            continue
        tensors, readers = _reached(index, node.output[0])
        if readers and not index.boundary.intersection(tensors):
            groups.append(ChannelGroup(tuple(tensors), node.name, tuple(reader.name for reader in readers)))
    return groups


def equalize(
    model: onnx.ModelProto, groups: Sequence[ChannelGroup], feeds: Sequence[Feed], exponent: float
) -> onnx.ModelProto:
    """Rescale channels.

    Args:
        model: Left as it is.
        groups: Of `channel_groups` of this model.
        feeds: To measure the channels' largest absolute values on.
        exponent: s[c] is the channel's range relative to the geometric mean, to this power, rounded to a power of two:
            0 changes nothing, 1 makes all ranges equal within the rounding (Xiao et al. 2022, arXiv 2211.10438,
            equation 4, without the weights' part).

    Returns:
        A model with equal outputs.

    Raises:
        InputError: A feed does not fit the graph.
    """
    result = copied(model)
    if not groups or exponent == 0.0:
        return result
    index = GraphIndex(model)
    ranges = {group.writer: np.zeros(1, np.float32) for group in groups}
    taps = {group.writer: group.tensors[-1] for group in groups}
    for observed in observe(model, sorted(set(taps.values())), feeds):
        for writer, tensor in taps.items():
            values = observed[tensor]
            other_axes = tuple(axis for axis in range(values.ndim) if axis != 1)
            ranges[writer] = np.maximum(ranges[writer], np.abs(values).max(axis=other_axes))
    nodes = {node.name: node for node in index.nodes}
    changed: dict[str, NDArray[np.float32]] = {}
    for group in groups:
        factors = _factors(ranges[group.writer], exponent)
        writer = nodes[group.writer]
        _scale(index, changed, writer.input[1], _output_axis(writer), np.float32(1) / factors)
        if len(writer.input) > 2:
            _scale(index, changed, writer.input[2], 0, np.float32(1) / factors)
        for name in group.readers:
            _scale(index, changed, nodes[name].input[1], 1 - _output_axis(nodes[name]), factors)
    for tensor in result.graph.initializer:
        if tensor.name in changed:
            tensor.CopyFrom(numpy_helper.from_array(changed[tensor.name], tensor.name))
    return result


def _plain_convolution(index: GraphIndex, node: onnx.NodeProto) -> bool:
    """Whether a node's weights may be rescaled: ungrouped, constant, and nobody else's."""
    return (
        node.op_type in _CONVOLUTIONS
        and index.attribute(node, "group", 1) == 1
        and all(
            name in index.initializers and len(index.readers[name]) == 1 for name in node.input[1:] if name
        )
    )


def _reached(index: GraphIndex, tensor: str) -> tuple[list[str], list[onnx.NodeProto]]:
    """The tensors that carry this one's channels and the convolutions that read them; no readers if others do."""
    tensors, readers, position = [tensor], [], 0
    while position < len(tensors):
        here = tensors[position]
        for node in index.readers.get(here, []):
            if _plain_convolution(index, node) and node.input[0] == here:
                readers.append(node)
            elif _homogeneous(index, node, here):
                tensors.append(node.output[0])
            else:
                return tensors, []
        position += 1
    return tensors, readers


def _homogeneous(index: GraphIndex, node: onnx.NodeProto, tensor: str) -> bool:
    if node.op_type in ("LeakyRelu", "Relu"):
        return True
    other = [name for name in node.input if name != tensor]
    by_constant = len(other) == 1 and other[0] in index.constants and index.constants[other[0]].size == 1
    return by_constant and (node.op_type == "Mul" or (node.op_type == "Div" and node.input[0] == tensor))


def _factors(ranges: NDArray[np.float32], exponent: float) -> NDArray[np.float32]:
    floor = np.max(ranges) * 2.0**-_MAX_OCTAVES
    octaves = np.log2(np.maximum(ranges, floor)) if floor > 0 else np.zeros(len(ranges))
    factors: NDArray[np.float32] = np.exp2(np.rint(exponent * (octaves - octaves.mean()))).astype(np.float32)
    return factors


def _output_axis(node: onnx.NodeProto) -> int:
    return 1 if node.op_type == "ConvTranspose" else 0


def _scale(
    index: GraphIndex,
    changed: dict[str, NDArray[np.float32]],
    name: str,
    axis: int,
    factors: NDArray[np.float32],
) -> None:
    values = changed.get(name, index.initializers[name])
    shape = [-1 if position == axis else 1 for position in range(values.ndim)]
    changed[name] = (values * factors.reshape(shape)).astype(np.float32)
