"""Finds the nodes of a graph that a GPU provider would leave to the CPU, without a GPU."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxruntime
from onnx import TensorProto

from voirs_vocoder.export.errors import ExportError
from voirs_vocoder.export.passes.gpu_kernels import HOST_INPUTS, HOST_OUTPUTS, KERNEL_TYPES
from voirs_vocoder.runtime.artifact.axes import axis_size
from voirs_vocoder.runtime.errors import InputError

__all__ = ["CpuNode", "cpu_nodes", "fixed_sizes", "require_gpu_graph"]

# What is larger is a weight, which no shape is computed from.
_MAX_FOLDED_ELEMENTS = 1024

_CHECKED_BATCH, _CHECKED_FRAMES = 2, 32


@dataclass(frozen=True)
class CpuNode:
    """A node that a GPU provider leaves to the CPU, or that makes it wait for the CPU.

    Attributes:
        name: Name of the node, after ONNX Runtime has optimized the graph.
        op_type: Operator of the node.
        reason: Why no GPU runs it.
    """

    name: str
    op_type: str
    reason: str

    def __str__(self) -> str:
        """The node with its operator and the reason."""
        return f"{self.name} ({self.op_type}): {self.reason}"


def fixed_sizes(model: onnx.ModelProto, *, batch: int, frames: int, hop_length: int) -> dict[str, int]:
    """Sizes of the dynamic dimensions of a graph's inputs, by the dimension's name in the graph.

    Args:
        model: ONNX model.
        batch: Number of utterances.
        frames: Number of mel frames.
        hop_length: Audio samples per mel frame.

    Raises:
        ArtifactError: A dimension has another name than `batch`, `frames`, `samples` or a multiple of one.
    """
    names = [
        dimension.dim_param
        for value in model.graph.input
        for dimension in value.type.tensor_type.shape.dim
        if dimension.dim_param
    ]
    return {
        name: axis_size(name, batch=batch, frames=frames, hop_length=hop_length)
        for name in dict.fromkeys(names)
    }


def cpu_nodes(model: onnx.ModelProto, sizes: Mapping[str, int]) -> tuple[CpuNode, ...]:
    """The nodes that ONNX Runtime's CUDA provider would not run once the dynamic dimensions have these sizes.

    ONNX Runtime itself folds what is constant then. Of what is left, every operator must have a kernel for its type;
    arguments that kernels read on the host must be constants; and nothing may follow the shape of a tensor, since ONNX
    Runtime computes shapes on the CPU. Integers that follow the graph's inputs may stay.

    Args:
        model: ONNX model with its weights inside.
        sizes: Size of each dynamic dimension, by name; `fixed_sizes` makes them.

    Raises:
        ExportError: ONNX Runtime cannot load the graph with these sizes.
        InputError: The folder for temporary files takes no file, as on a full disk.
    """
    graph = onnx.shape_inference.infer_shapes(_folded(model, sizes)).graph
    types = _types(graph)
    constants = {tensor.name for tensor in graph.initializer}
    on_host: set[str] = set()
    found = []
    for node in graph.node:
        # For a graph of FP16, ONNX Runtime adds casts of constants on the CPU, where it computes in FP32.
        if node.op_type == "Constant" or (node.op_type == "Cast" and node.input[0] in constants):
            constants.update(node.output)
            continue
        reason = _reason(node, types, constants, on_host)
        if reason is not None:
            found.append(CpuNode(node.name, node.op_type, reason))
            on_host.update(node.output)
    return tuple(found)


def require_gpu_graph(name: str, model: onnx.ModelProto, hop_length: int) -> None:
    """Check that a GPU provider takes a graph whole once its dynamic dimensions are fixed.

    Args:
        name: Name of the graph for the message.
        model: ONNX model with its weights inside.
        hop_length: Audio samples per mel frame.

    Raises:
        ExportError: Nodes would be left to the CPU; the message names them.
    """
    sizes = fixed_sizes(model, batch=_CHECKED_BATCH, frames=_CHECKED_FRAMES, hop_length=hop_length)
    left = cpu_nodes(model, sizes)
    if left:
        raise ExportError(
            f"{name}: a GPU must be able to run every node, got {len(left)} that it cannot run, such as {left[0]}; "
            "rewrite the module without this operation, or report the model"
        )


def _reason(
    node: onnx.NodeProto, types: Mapping[str, int], constants: set[str], on_host: set[str]
) -> str | None:
    if node.op_type in HOST_OUTPUTS:
        return "it reads the shape of a tensor, which is computed on the CPU"
    if node.domain not in ("", "ai.onnx") or node.op_type not in KERNEL_TYPES:
        return "no CUDA kernel is known for this operator"
    host = HOST_INPUTS.get(node.op_type, ())
    for number, name in enumerate(node.input):
        if not name or name in constants:
            continue
        if name in on_host:
            return f"its input {name} is computed on the CPU"
        if number in host:
            return f"its input {name} must be a constant, since the kernel reads it on the CPU"
    # What a Where or a ConstantOfShape is about is its output.
    data = [*node.output[:1]] if node.op_type in ("Where", "ConstantOfShape") else [*node.input[:1]]
    for name in data:
        if types.get(name) not in KERNEL_TYPES[node.op_type]:
            held = TensorProto.DataType.Name(types.get(name, 0)).lower()
            return f"it has no CUDA kernel for {held}"
    if node.op_type == "ConvTranspose":
        pads = next((list(each.ints) for each in node.attribute if each.name == "pads"), [])
        if pads[: len(pads) // 2] != pads[len(pads) // 2 :]:
            return f"its padding must be as long before as after, got {pads}"
    return None


def _folded(model: onnx.ModelProto, sizes: Mapping[str, int]) -> onnx.ModelProto:
    options = onnxruntime.SessionOptions()
    for name, size in sizes.items():
        options.add_free_dimension_override_by_name(name, size)
    # What the other levels do depends on the provider.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "folded.onnx"
        options.optimized_model_filepath = str(path)
        graph = _without_weights(model).SerializeToString()
        try:
            # ONNX Runtime writes about as much there, and its error lacks the reason.
            path.write_bytes(graph)
        except OSError as error:
            raise InputError(
                f"{folder}: the folder for temporary files takes no graph: {error.strerror}; free space there, or "
                "name another folder in the environment variable TMPDIR"
            ) from error
        try:
            onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors have no common type
            raise ExportError(
                f"the graph must load with the sizes {dict(sizes)}, got {' '.join(str(error).split())}; "
                "export it again"
            ) from error
        return onnx.load(path)


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model whose large constants are inputs, which loads in no time."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    kept = []
    for tensor in copy.graph.initializer:
        if onnx.numpy_helper.to_array(tensor).size <= _MAX_FOLDED_ELEMENTS:
            kept.append(tensor)
        elif tensor.name not in {value.name for value in copy.graph.input}:
            copy.graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            )
    small = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
    del copy.graph.initializer[:]
    copy.graph.initializer.extend(small)
    return copy


def _types(graph: onnx.GraphProto) -> dict[str, int]:
    values = (*graph.input, *graph.value_info, *graph.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {tensor.name: tensor.data_type for tensor in graph.initializer}
