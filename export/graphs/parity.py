"""Compares a graph with the module that it was exported from, and estimates its memory per mel frame."""

from __future__ import annotations

import itertools
import math

import numpy as np
import onnx
import onnxruntime
import onnxsim
import torch

from voirs_vocoder.export.errors import ExportError
from voirs_vocoder.export.graphs.onnx_from_torch import example_inputs
from voirs_vocoder.reference_models.family import GraphSpec

__all__ = ["MAX_PARITY_ERROR", "activation_bytes_per_frame", "parity_error"]

MAX_PARITY_ERROR = 1e-4

# None of them is what the exporter traced, since it may have narrowed a range to where the trace holds.
_LENGTHS = (1, 19, 67)
_BATCHES = (1, 3)
_ESTIMATE_FRAMES = 64


def parity_error(model: onnx.ModelProto, spec: GraphSpec) -> float:
    """Largest difference between ONNX Runtime and PyTorch, over three lengths and two batches.

    Args:
        model: Exported FP32 graph.
        spec: Specification that the graph was exported from.

    Returns:
        The largest absolute difference of any output.

    Raises:
        ExportError: The difference exceeds `MAX_PARITY_ERROR`, a shape differs, or a value is not finite.
    """
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    worst = 0.0
    for length, batch in itertools.product(_LENGTHS, _BATCHES):
        inputs = example_inputs(spec, {"batch": batch}, length, seed=length)
        with torch.inference_mode():
            result = spec.module(*(torch.from_numpy(value) for value in inputs.values()))
        expected = [result] if isinstance(result, torch.Tensor) else list(result)
        outputs = session.run([tensor.name for tensor in spec.outputs], inputs)
        where = f"graph {spec.role!r} with batch {batch} and length {length}"
        for tensor, wanted, got in zip(spec.outputs, expected, outputs, strict=True):
            if got.shape != tuple(wanted.shape):
                raise ExportError(
                    f"{where}: {tensor.name} is {list(got.shape)}, PyTorch gives {list(wanted.shape)}"
                )
            error = float(np.abs(got - wanted.numpy()).max())
            if not error <= MAX_PARITY_ERROR:  # also catches NaN
                raise ExportError(
                    f"{where}: {tensor.name} differs from PyTorch by {error:.2e} > {MAX_PARITY_ERROR}"
                )
            worst = max(worst, error)
    return worst


def activation_bytes_per_frame(model: onnx.ModelProto, hop_length: int) -> int:
    """Memory for intermediate results per mel frame, at batch 1: the peak over the nodes as ONNX Runtime orders them.

    A result lives from the node that makes it to the last one that reads it. What a kernel needs for itself is not
    counted, nor what it saves by working in place.

    Args:
        model: ONNX model whose axes are `batch`, `samples`, which counts audio samples, and others, which count mel
            frames.
        hop_length: Audio samples per mel frame.

    Raises:
        ExportError: A shape cannot be inferred.
    """
    sized = onnx.ModelProto()
    sized.CopyFrom(model)
    # What was inferred for symbolic lengths would stand in the way of the sizes asked for here.
    del sized.graph.value_info[:]
    for tensor in (*sized.graph.input, *sized.graph.output):
        for dim in tensor.type.tensor_type.shape.dim:
            if dim.dim_param:
                # The exporter writes multiples as `32*frames`.
                factor, _, axis = dim.dim_param.rpartition("*")
                per_frame = {"batch": 0, "samples": hop_length}.get(axis, int(factor or 1))
                dim.dim_value = _ESTIMATE_FRAMES * per_frame or 1
    # Shapes that the graph computes from its lengths are constants now; inference alone does not see through a Reshape.
    folded, _ = onnxsim.simplify(sized, perform_optimization=False)
    inferred = onnx.shape_inference.infer_shapes(folded, strict_mode=True, data_prop=True).graph
    sizes = {value.name: _bytes(value) for value in (*inferred.input, *inferred.value_info, *inferred.output)}
    nodes = _execution_order(inferred)
    last_use = {name: index for index, node in enumerate(nodes) for name in node.input}
    live = peak = sum(sizes[tensor.name] for tensor in inferred.input)
    for index, node in enumerate(nodes):
        live += sum(sizes[name] for name in node.output if name)
        peak = max(peak, live)
        live -= sum(sizes.get(name, 0) for name in set(node.input) if last_use[name] == index)
    return -(-peak // _ESTIMATE_FRAMES)


def _execution_order(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Depth first from the outputs; of a node's producers, the one that is listed last comes first.

    So orders `GraphViewer` of onnxruntime 1.31.1 by default, as its profiles show.
    """
    places = {name: place for place, node in enumerate(graph.node) for name in node.output if name}
    ordered: list[onnx.NodeProto] = []
    done: set[int] = set()
    stack = sorted((places[tensor.name], False) for tensor in graph.output if tensor.name in places)
    while stack:
        place, ready = stack.pop()
        if ready:
            ordered.append(graph.node[place])
        elif place not in done:
            done.add(place)
            stack.append((place, True))
            producers = {places[name] for name in graph.node[place].input if name in places}
            stack.extend((producer, False) for producer in sorted(producers - done))
    return ordered


def _bytes(value: onnx.ValueInfoProto) -> int:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape") or any(not dim.HasField("dim_value") for dim in tensor.shape.dim):
        raise ExportError(
            f"the shape of {value.name!r} cannot be inferred; give the graph static channel sizes"
        )
    elements = math.prod(dim.dim_value for dim in tensor.shape.dim)
    return int(elements * onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).itemsize)
