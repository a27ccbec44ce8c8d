"""Lets convolutions add up in one order whatever the length of their input.

ONNX Runtime's CPU kernels add up in blocks, whose size depends on how many positions are computed at once. Where the
terms are large, as log mels are, that moves the audio of the shipped HiFi-GAN V2 by up to 2.4e-5 between one chunking
and another; before a quantizer it flips a step here and there, and an INT8 stream then equals its own offline pass to
no more than 40 dB. Sums that fit one block are the same at any length.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from voirs_vocoder.calibration.graph import GraphIndex, copied

__all__ = ["MAX_TERMS", "steady_sums", "steady_sums_before_quantizers"]

MAX_TERMS = 128
"""Terms that one block of ONNX Runtime's CPU kernels adds up: MLAS_SGEMM_STRIDEK in mlasi.h, onnxruntime 1.31."""


def steady_sums(model: onnx.ModelProto, patterns: Sequence[str]) -> onnx.ModelProto:
    """Split float convolutions of more than `MAX_TERMS` terms by input channels, and add the parts.

    Args:
        model: A flat graph, nodes named; left as it is.
        patterns: Shell-style patterns of the nodes to split. The parts are named `NODE/part.0` and so on.
    """
    index = GraphIndex(model)
    chosen = {
        node.name
        for node in index.nodes
        if any(fnmatch.fnmatchcase(node.name, pattern) for pattern in patterns)
    }
    return _steady(model, index, chosen)


def steady_sums_before_quantizers(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same for every float convolution whose output is quantized further on."""
    index = GraphIndex(model)
    quantized = _quantized_later(index)
    return _steady(model, index, {node.name for node in index.nodes if node.output[0] in quantized})


def _steady(model: onnx.ModelProto, index: GraphIndex, chosen: set[str]) -> onnx.ModelProto:
    result = copied(model)
    nodes: list[onnx.NodeProto] = []
    for node in result.graph.node:
        parts = _parts(index, node) if node.name in chosen else 1
        nodes.extend(_split(result.graph, index, node, parts) if parts > 1 else [node])
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    read = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in result.graph.initializer if tensor.name in read]
    del result.graph.initializer[:]
    result.graph.initializer.extend(kept)
    return result


def _parts(index: GraphIndex, node: onnx.NodeProto) -> int:
    """Into how many parts a node's input channels must be cut; 1 for what is no float convolution."""
    if node.op_type not in ("Conv", "ConvTranspose") or node.input[1] not in index.initializers:
        return 1
    weight = index.initializers[node.input[1]]
    if index.attribute(node, "group", 1) != 1:
        return 1
    # A transposed convolution adds up channels alone, and scatters the taps.
    if node.op_type == "Conv":
        channels, taps = int(weight.shape[1]), math.prod(weight.shape[2:])
    else:
        channels, taps = int(weight.shape[0]), 1
    return math.ceil(channels / max(1, MAX_TERMS // taps))


def _split(
    graph: onnx.GraphProto, index: GraphIndex, node: onnx.NodeProto, parts: int
) -> list[onnx.NodeProto]:
    axis = 1 if node.op_type == "Conv" else 0
    weights = np.array_split(index.initializers[node.input[1]], parts, axis=axis)
    sizes = np.array([weight.shape[axis] for weight in weights], np.int64)
    graph.initializer.append(numpy_helper.from_array(sizes, f"{node.name}/sizes"))
    cut = [f"{node.name}/input.{number}" for number in range(parts)]
    nodes = [
        helper.make_node("Split", [node.input[0], f"{node.name}/sizes"], cut, f"{node.name}/Split", axis=1)
    ]
    total = ""
    for number, weight in enumerate(weights):
        name = f"{node.name}/part.{number}"
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(weight), f"{name}/weight"))
        part = onnx.NodeProto()
        part.CopyFrom(node)
        del part.input[:], part.output[:]
        # The bias is added once.
        part.input.extend([cut[number], f"{name}/weight", *(node.input[2:] if number == 0 else [])])
        part.name = name
        part.output.append(f"{name}/output")
        nodes.append(part)
        if number:
            output = node.output[0] if number == parts - 1 else f"{name}/sum"
            nodes.append(helper.make_node("Add", [total, part.output[0]], [output], f"{name}/Add"))
            total = output
        else:
            total = part.output[0]
    return nodes


def _quantized_later(index: GraphIndex) -> set[str]:
    """Tensors from which a QuantizeLinear can be reached."""
    found: set[str] = set()
    for node in reversed(index.nodes):
        if node.op_type == "QuantizeLinear" or any(name in found for name in node.output):
            found.update(name for name in node.input if name and name not in index.initializers)
    return found
