"""A gated layer in INT8 on the CPU: nothing but the last product is float again, and it says what FP32 says."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from voirs_vocoder.calibration.config import Int8Config
from voirs_vocoder.calibration.edits.integer_gates import gate_of_sum
from voirs_vocoder.calibration.edits.qdq import convolution_sums
from voirs_vocoder.calibration.edits.reading import graph_of
from voirs_vocoder.calibration.int8 import int8_from_fp32
from voirs_vocoder.calibration.runs import run_all
from voirs_vocoder.runtime.metrics import snr_db

CHANNELS = 16
NAMES = ("listen", "told", "out")


@pytest.fixture(scope="module")
def model():
    """What one layer of DiffWave or WaveGlow does."""
    rng = np.random.default_rng(0)

    def constant(name, *shape, deviation=0.3):
        return numpy_helper.from_array(rng.normal(0, deviation, shape).astype(np.float32), name)

    def conv(name, source, target, **attributes):
        return helper.make_node(
            "Conv", [source, f"{name}.weight", f"{name}.bias"], [target], name, **attributes
        )

    nodes = [
        conv("listen", "x", "listened", pads=[1, 1]),
        conv("told", "mel", "telling"),
        helper.make_node("Add", ["listened", "telling"], ["sum"], "Add.0"),
        helper.make_node("Split", ["sum"], ["gate", "opening"], "Split.0", axis=1, num_outputs=2),
        helper.make_node("Sigmoid", ["gate"], ["open"], "Sigmoid.0"),
        helper.make_node("Tanh", ["opening"], ["voice"], "Tanh.0"),
        helper.make_node("Mul", ["open", "voice"], ["gated"], "Mul.0"),
        conv("out", "gated", "y"),
    ]
    weights = [
        *(constant("listen.weight", 2 * CHANNELS, 8, 3), constant("listen.bias", 2 * CHANNELS)),
        *(constant("told.weight", 2 * CHANNELS, 5, 1), constant("told.bias", 2 * CHANNELS)),
        *(constant("out.weight", 8, CHANNELS, 1), constant("out.bias", 8)),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", channels, "steps"])
        for name, channels in (("x", 8), ("mel", 5))
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 8, "steps"])]
    graph = helper.make_graph(nodes, "gated", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.fixture(scope="module")
def feeds():
    rng = np.random.default_rng(1)
    return [
        {
            name: rng.normal(0, 1, (1, channels, 400)).astype(np.float32)
            for name, channels in (("x", 8), ("mel", 5))
        }
        for _ in range(2)
    ]


def operators(model, tmp_path):
    """What ONNX Runtime makes of a graph."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(
        model.SerializeToString(),
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=["NhwcTransformer"],
    )
    return Counter(node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node)


def test_sum_and_gate_are_found(model):
    graph = graph_of(model)
    assert convolution_sums(graph, NAMES) == {"sum": ("listened", "telling")}
    assert convolution_sums(graph, ("listen", "out")) == {}
    gate = gate_of_sum(graph, "sum")
    assert (gate.halves, gate.operators) == (("gate", "opening"), ("Sigmoid", "Tanh"))
    assert gate_of_sum(graph, "gated") is None


def test_a_gated_layer_runs_in_integers_and_says_what_fp32_says(model, feeds, tmp_path):
    result = int8_from_fp32(model, feeds, "cpu", (), Int8Config(max_float_share=0.0))
    counts = operators(result.model, tmp_path)
    assert counts["QLinearConv"] == 3
    assert (counts["QLinearAdd"], counts["QLinearSigmoid"], counts["QLinearMul"]) == (1, 2, 1)
    assert (counts["Add"], counts["Sigmoid"], counts["Tanh"], counts["Mul"], counts["Conv"]) == (
        0,
        0,
        0,
        0,
        0,
    )
    expected, got = (
        np.concatenate([run[0].ravel() for run in run_all(m, feeds)]) for m in (model, result.model)
    )
    assert snr_db(expected, got) > 30.0


def test_a_layer_of_which_a_part_stays_float_keeps_its_gate_in_float(model, feeds, tmp_path):
    result = int8_from_fp32(model, feeds, "cpu", ("told",), Int8Config(max_float_share=0.0))
    counts = operators(result.model, tmp_path)
    assert (counts["QLinearConv"], counts["QLinearSigmoid"], counts["Tanh"]) == (2, 0, 1)
    expected, got = (
        np.concatenate([run[0].ravel() for run in run_all(m, feeds)]) for m in (model, result.model)
    )
    assert snr_db(expected, got) > 30.0


def test_tensorrt_is_left_its_own_activations(model, feeds):
    result = int8_from_fp32(model, feeds, "tensorrt", (), Int8Config(max_float_share=0.0))
    assert {"Tanh", "Sigmoid"} <= {node.op_type for node in result.model.graph.node}
