"""Corrected biases: quantized convolutions have the mean output of the float ones, channel by channel."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from voirs_vocoder.calibration.activation_ranges import TensorScale
from voirs_vocoder.calibration.bias_correction import ShiftBiasesPass, correct_biases
from voirs_vocoder.calibration.edits.qdq import QdqFromFp32Pass, Scales
from voirs_vocoder.calibration.edits.run import run_passes
from voirs_vocoder.calibration.errors import GraphEditError
from voirs_vocoder.calibration.runs import run_all

CHANNELS, OUTPUTS = 8, 6


def convolution(groups=1, bias=True, shared=False):
    """One Conv without padding, from `x` to `y`; with `shared`, another one reads the same bias."""
    random = np.random.default_rng(0)
    weights = {"weight": random.normal(0, 0.3, (OUTPUTS, CHANNELS // groups, 3))}
    inputs = ["x", "weight"]
    if bias:
        weights["bias"] = random.normal(0, 0.1, OUTPUTS)
        inputs.append("bias")
    nodes = [helper.make_node("Conv", inputs, ["y"], "conv", group=groups)]
    results = ["y"]
    if shared:
        nodes.append(helper.make_node("Conv", inputs, ["z"], "other", group=groups))
        results.append("z")
    graph = helper.make_graph(
        nodes,
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, CHANNELS, "t"])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, OUTPUTS, None]) for name in results],
        [numpy_helper.from_array(np.float32(values), name) for name, values in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def positive_feeds():
    """Runs whose channels have means far from zero, and values that the scale below clips."""
    random = np.random.default_rng(1)
    means = np.linspace(0.2, 2.0, CHANNELS)[:, np.newaxis]
    return [{"x": np.float32(random.exponential(means, (CHANNELS, 4000)))[np.newaxis]} for _ in range(2)]


def quantized(model, scale, target):
    scales = Scales({"x": scale}, {"y": TensorScale(0.2, 128)})
    return run_passes(model, [QdqFromFp32Pass(["conv"], scales, target)])


def mean_errors(model, candidate):
    runs = zip(run_all(model, positive_feeds()), run_all(candidate, positive_feeds()), strict=True)
    return np.mean([(wanted[0] - got[0]).mean(axis=(0, 2)) for wanted, got in runs], axis=0)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(("target", "scale"), [("cpu", (0.02, 10)), ("tensorrt", (0.04, 0))])
def test_the_mean_error_of_every_channel_is_taken_out(target, scale, groups):
    model, scale = convolution(groups), TensorScale(*scale)
    corrected = correct_biases(model, ["conv"], {"x": scale}, positive_feeds(), target)
    before = np.abs(mean_errors(model, quantized(model, scale, target)))
    after = np.abs(mean_errors(model, quantized(corrected, scale, target)))
    assert before.max() > 0.03
    # What remains is the rounding of outputs and of the bias, and the few values at the edges.
    assert after.max() < 0.1 * before.max()


def test_weights_stay_and_the_given_model_is_not_changed():
    model = convolution()
    before = model.SerializeToString(deterministic=True)
    corrected = correct_biases(model, ["conv"], {"x": TensorScale(0.02, 10)}, positive_feeds(), "cpu")
    assert model.SerializeToString(deterministic=True) == before
    changed = [
        tensor.name
        for tensor, original in zip(corrected.graph.initializer, model.graph.initializer, strict=True)
        if not np.array_equal(numpy_helper.to_array(tensor), numpy_helper.to_array(original))
    ]
    assert changed == ["bias"]


@pytest.mark.parametrize("model", [convolution(bias=False), convolution(shared=True)])
def test_a_convolution_without_a_bias_of_its_own_stays_as_it_is(model: onnx.ModelProto):
    corrected = correct_biases(model, ["conv"], {"x": TensorScale(0.02, 10)}, positive_feeds(), "cpu")
    for wanted, got in zip(
        run_all(model, positive_feeds()), run_all(corrected, positive_feeds()), strict=True
    ):
        np.testing.assert_array_equal(wanted[0], got[0])


def test_a_shift_that_is_not_finite_is_refused():
    shift = np.full(OUTPUTS, np.nan, np.float32)
    with pytest.raises(GraphEditError, match="finite values, got others for 'conv'"):
        run_passes(convolution(), [ShiftBiasesPass({"conv": shift})])
