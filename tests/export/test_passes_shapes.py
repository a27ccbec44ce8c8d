"""Computed shapes of Reshape become constants where inference knows what they come to."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from voirs_vocoder.export.passes import ConstantShapesPass, NameNodesPass, run_passes

BATCH = "b = Shape<start = 0, end = 1>(x)"


def graph(
    body: str, inputs: str = "float[batch,4,T] x", outputs: str = "float[batch,2,2,T] y"
) -> onnx.ModelProto:
    text = f'<ir_version: 10, opset_import: ["" : 20]> g ({inputs}) => ({outputs}) {{ {body} }}'
    return run_passes(onnx.parser.parse_model(text), [NameNodesPass()])


def shape_of(model: onnx.ModelProto) -> list[int] | None:
    (node,) = (node for node in model.graph.node if node.op_type == "Reshape")
    constants = {
        tensor.name: onnx.numpy_helper.to_array(tensor).tolist() for tensor in model.graph.initializer
    }
    return constants.get(node.input[1])


def run(model: onnx.ModelProto, frames: int) -> np.ndarray:
    x = np.random.default_rng(0).standard_normal((3, 4, frames), np.float32)
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]


@pytest.mark.parametrize("attributes", ["", "<allowzero = 1>"])
def test_sizes_that_are_known_or_kept_become_constants(attributes):
    before = graph(
        f"{BATCH} c = Constant<value_ints = [2, 2, -1]>() s = Concat<axis = 0>(b, c) y = Reshape{attributes}(x, s)"
    )
    after = run_passes(before, [ConstantShapesPass()])
    assert shape_of(after) == [0, 2, 2, -1]
    assert [node.op_type for node in after.graph.node] == ["Reshape"]
    for frames in (1, 5):
        np.testing.assert_array_equal(run(after, frames), run(before, frames))


def test_a_size_that_is_computed_and_one_that_is_left_over_stay():
    before = graph(
        "t = Shape<start = 2, end = 3>(x) c = Constant<value_ints = [-1]>() s = Concat<axis = 0>(t, c) "
        "y = Reshape(x, s)",
        outputs="float[a,b] y",
    )
    after = run_passes(before, [ConstantShapesPass()])
    assert shape_of(after) is None
    np.testing.assert_array_equal(run(after, 5), run(before, 5))


def test_shapes_that_are_constants_already_stay():
    before = graph("s = Constant<value = int64[4] {0, 2, 2, -1}>() y = Reshape(x, s)")
    assert run_passes(before, [ConstantShapesPass()]) == run_passes(before, [NameNodesPass()])
