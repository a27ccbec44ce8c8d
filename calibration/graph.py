"""What calibration asks of an ONNX graph: constants by name, who makes a tensor and who reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from voirs_vocoder.runtime.config import default_threads
from voirs_vocoder.runtime.errors import InputError

__all__ = ["Feed", "GraphIndex", "Outputs", "copied", "observe", "run_all"]

Feed = Mapping[str, NDArray[np.generic]]
"""A graph's inputs for one run, by name."""

Outputs = Sequence[Sequence[NDArray[np.float32]]]
"""A graph's outputs in order, run by run."""


class GraphIndex:
    """Lookups in a flat graph, which must not change while they are used.

    Attributes:
        nodes: In order.
        initializers: Constants that belong to the graph, by name.
        constants: These and the values of `Constant` nodes.
        producers: The node that makes a tensor; inputs and initializers have none.
        readers: The nodes that read a tensor, in order.
        boundary: Names of the graph's inputs and outputs.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        self.nodes: list[onnx.NodeProto] = list(graph.node)
        self.initializers = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self.constants = dict(self.initializers)
        self.producers: dict[str, onnx.NodeProto] = {}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        self.boundary = frozenset(value.name for value in (*graph.input, *graph.output))
        for node in self.nodes:
            self.producers.update((name, node) for name in node.output)
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self.constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)

    def sole_reader(self, tensor: str) -> onnx.NodeProto | None:
        """The node that alone reads a tensor; None where several do, none does, or the graph's caller does."""
        readers = self.readers.get(tensor, [])
        return readers[0] if len(readers) == 1 and tensor not in self.boundary else None

    def attribute(self, node: onnx.NodeProto, name: str, default: float) -> float:
        """A numeric attribute of a node, or ONNX's default for it."""
        for attribute in node.attribute:
            if attribute.name == name:
                return float(onnx.helper.get_attribute_value(attribute))
        return default


def copied(model: onnx.ModelProto) -> onnx.ModelProto:
    """A deep copy."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def observe(
    model: onnx.ModelProto, tensors: Sequence[str], feeds: Sequence[Feed]
) -> Iterator[dict[str, NDArray[np.float32]]]:
    """Run the graph and look inside. One run's tensors are in memory at a time.

    Args:
        model: Left as it is.
        tensors: Float tensors of the graph.
        feeds: Inputs, run by run.

    Yields:
        For each feed, every tensor by name.

    Raises:
        InputError: A feed does not fit the graph.
    """
    tapped = copied(model)
    known = {value.name for value in tapped.graph.output}
    tapped.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        for name in tensors
        if name not in known
    )
    runner = _session(tapped, optimize=True)
    for number, feed in enumerate(feeds):
        yield dict(zip(tensors, _run(runner, list(tensors), feed, number), strict=True))


def run_all(model: onnx.ModelProto, feeds: Sequence[Feed]) -> Outputs:
    """The outputs for each feed, every operator rounding as written.

    Raises:
        InputError: A feed does not fit the graph.
    """
    runner = _session(model, optimize=False)
    return [_run(runner, None, feed, number) for number, feed in enumerate(feeds)]


def _run(
    runner: onnxruntime.InferenceSession, names: list[str] | None, feed: Feed, number: int
) -> list[NDArray[np.float32]]:
    # ONNX Runtime raises ValueError for a missing input and these, which share no base of their own, for the rest.
    refusals = (ValueError, ort_errors.InvalidArgument, ort_errors.Fail, ort_errors.RuntimeException)
    try:
        values: list[NDArray[np.float32]] = runner.run(names, dict(feed))
    except refusals as error:
        raise InputError(
            f"calibration run {number} does not fit the graph ({' '.join(str(error).split())}); "
            "check the inputs' names, types and shapes"
        ) from error
    return values


def _session(model: onnx.ModelProto, *, optimize: bool) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = default_threads() or 0
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
