"""Each rule of TensorRT's explicit quantization fires on a planted fault, and on nothing else."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from voirs_vocoder.calibration.edits.qdq_linter import lint_qdq, require_tensorrt_qdq
from voirs_vocoder.runtime.errors import ArtifactError


def quantized_graph(operator="Conv", axis=None, **replaced):
    """x -> Q -> DQ -> convolution <- DQ <- int8 weight, with constants replaced by name."""
    axis = (0 if operator == "Conv" else 1) if axis is None else axis
    constants = {
        "x_scale": np.float32(0.1),
        "x_zero": np.int8(0),
        "w": np.ones((4, 4, 3), np.int8),
        "w_scale": np.full(4, 0.01, np.float32),
        "w_zero": np.zeros(4, np.int8),
    } | replaced
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "x_scale", "x_zero"], ["x_q"], "x/quantize"),
        helper.make_node("DequantizeLinear", ["x_q", "x_scale", "x_zero"], ["x_dq"], "x/dequantize"),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["w_dq"], "w/dequantize", axis=axis),
        helper.make_node(operator, ["x_dq", "w_dq"], ["y"], "conv"),
    ]
    return graph_of(nodes, constants)


def graph_of(nodes, constants, output="y"):
    shape = [1, 4, "steps"]
    return helper.make_model(
        helper.make_graph(
            nodes,
            "test",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
            [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
    )


def rules(model):
    return {(finding.node, finding.rule) for finding in lint_qdq(model)}


@pytest.mark.parametrize("operator", ["Conv", "ConvTranspose"])
def test_a_sound_graph_passes(operator):
    model = quantized_graph(operator)
    assert lint_qdq(model) == []
    require_tensorrt_qdq(model)


@pytest.mark.parametrize("zero_point", [np.int8(3), np.uint8(0), np.uint8(128)])
def test_another_zero_point_than_int8_zero_is_found(zero_point):
    rule = "a zero point must be a constant 0 of type int8"
    assert rules(quantized_graph(x_zero=zero_point)) == {("x/quantize", rule), ("x/dequantize", rule)}


@pytest.mark.parametrize("scale", [0.0, -0.1, np.nan, np.inf])
def test_a_scale_that_is_no_scale_is_found(scale):
    rule = "scales must be positive and finite"
    assert rules(quantized_graph(w_scale=np.array([0.1, scale, 0.1, 0.1], np.float32))) == {
        ("w/dequantize", rule)
    }


def test_per_channel_activations_are_found():
    model = quantized_graph(x_scale=np.full(4, 0.1, np.float32), x_zero=np.zeros(4, np.int8))
    assert rules(model) == {("x/dequantize", "an activation must have one scale for the whole tensor")}


@pytest.mark.parametrize(("operator", "axis", "expected"), [("Conv", 1, 0), ("ConvTranspose", 0, 1)])
def test_scales_along_the_wrong_axis_of_a_weight_are_found(operator, axis, expected):
    rule = f"scales of a {operator} weight must lie along axis {expected}"
    assert rules(quantized_graph(operator, axis)) == {("w/dequantize", rule)}


def test_a_quantized_bias_is_found():
    model = quantized_graph()
    constants = {"b": np.ones(4, np.int32), "b_scale": np.full(4, 0.1, np.float32)}
    model.graph.initializer.extend(
        numpy_helper.from_array(values, name) for name, values in constants.items()
    )
    model.graph.node.insert(
        0, helper.make_node("DequantizeLinear", ["b", "b_scale"], ["b_dq"], "b/dequantize", axis=0)
    )
    model.graph.node[-1].input.append("b_dq")
    assert rules(model) == {("b/dequantize", "a bias must stay float")}


def test_a_computed_scale_is_found():
    model = quantized_graph()
    model.graph.node.insert(0, helper.make_node("ReduceMax", ["x"], ["live"], "live", keepdims=0))
    model.graph.node[1].input[1] = "live"
    assert rules(model) == {("x/quantize", "a scale must be a constant")}


def test_a_missing_zero_point_means_uint8_and_is_found():
    model = quantized_graph()
    del model.graph.node[0].input[2]
    assert {node for node, _ in rules(model)} == {"x/quantize"}


@pytest.mark.parametrize("reader", ["Add", "LeakyRelu"])
def test_quantization_between_a_convolution_and_what_it_fuses_with_is_found(reader):
    model = quantized_graph()
    inputs = ["y_dq", "x"] if reader == "Add" else ["y_dq"]
    model.graph.node.extend(
        [
            helper.make_node("QuantizeLinear", ["y", "x_scale", "x_zero"], ["y_q"], "y/quantize"),
            helper.make_node("DequantizeLinear", ["y_q", "x_scale", "x_zero"], ["y_dq"], "y/dequantize"),
            helper.make_node(reader, inputs, ["z"], "reader"),
        ]
    )
    rule = f"a Conv must reach {reader} unquantized, or the two do not fuse"
    assert rules(model) == {("y/quantize", rule)}


def test_the_error_names_node_rule_value_and_remedy():
    with pytest.raises(ArtifactError, match=r"x/quantize: .* int8, got 3; quantize for .* \(and 1 more\)"):
        require_tensorrt_qdq(quantized_graph(x_zero=np.int8(3)))


def test_a_graph_without_quantization_passes():
    assert lint_qdq(graph_of([onnx.helper.make_node("Relu", ["x"], ["y"])], {})) == []
