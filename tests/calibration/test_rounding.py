"""Learned rounding: never a larger output error than to nearest, the least possible on tiny layers, and repeatable."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from voirs_vocoder.calibration.activation_ranges import TensorScale
from voirs_vocoder.calibration.edits.qdq import (
    QdqFromFp32Pass,
    Scales,
    nearest_integers,
    rounded_input,
    weight_scales,
)
from voirs_vocoder.calibration.edits.run import run_passes
from voirs_vocoder.calibration.errors import GraphEditError
from voirs_vocoder.calibration.rounding import OutputError, learned_integers, learned_weights
from voirs_vocoder.calibration.runs import observe, run_all

# Of coarse steps, which is where rounding matters.
STEPS = 6.0


def correlated_inputs(weights, positions=400, seed=0):
    random = np.random.default_rng(seed)
    return random.normal(size=(weights, weights)) @ random.normal(size=(weights, positions))


def layer(outputs=3, weights=4, seed=0, rounded=True):
    """An error to minimize, the float weights and the scales, with integers from -6 to 6."""
    random = np.random.default_rng(seed + 100)
    weight = random.normal(0, 1, (outputs, weights)).astype(np.float32)
    exact = correlated_inputs(weights, seed=seed)
    inputs = np.rint(exact * 2) / 2 if rounded else exact
    wanted = weight @ exact
    error = OutputError(inputs @ inputs.T, wanted @ inputs.T, np.sum(wanted**2, axis=1))
    return error, weight, (np.abs(weight).max(axis=1) / STEPS).astype(np.float32), inputs, wanted


@pytest.mark.parametrize("seed", range(4))
def test_the_error_is_that_of_the_outputs(seed):
    error, weight, _, inputs, wanted = layer(seed=seed)
    trial = weight.astype(np.float64) + 0.1
    np.testing.assert_allclose(error.of(trial), np.sum((wanted - trial @ inputs) ** 2, axis=1), rtol=1e-9)


@pytest.mark.parametrize("seed", range(12))
def test_tiny_layers_are_rounded_as_well_as_by_trying_every_choice(seed):
    error, weight, scales, inputs, wanted = layer(seed=seed)
    learned = error.of(learned_integers(error, weight, scales) * scales.astype(np.float64)[:, np.newaxis])
    for row, down in enumerate(np.floor(weight / scales[:, np.newaxis])):
        tried = [
            np.sum((wanted[row] - float(scales[row]) * (down + np.array(up)) @ inputs) ** 2)
            for up in itertools.product((0, 1), repeat=weight.shape[1])
        ]
        assert learned[row] <= min(tried) * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_wide_layers_have_far_less_error_than_to_nearest_and_no_channel_has_more(seed):
    error, weight, scales, *_ = layer(outputs=8, weights=150, seed=seed)
    steps = scales.astype(np.float64)[:, np.newaxis]
    learned = error.of(learned_integers(error, weight, scales) * steps)
    nearest = error.of(nearest_integers(weight, scales) * steps)
    assert (learned <= nearest).all()
    assert learned.sum() < 0.5 * nearest.sum()


def test_weights_that_are_integers_already_stay_as_they_are():
    error, _, scales, *_ = layer(rounded=False)
    integers = np.random.default_rng(3).integers(-5, 6, (3, 4))
    weight = (integers * scales[:, np.newaxis]).astype(np.float32)
    exact = OutputError(error.gram, weight @ error.gram, np.einsum("ok,kl,ol->o", weight, error.gram, weight))
    np.testing.assert_array_equal(learned_integers(exact, weight, scales), integers)


def test_inputs_that_calibration_never_excites_are_rounded_to_nearest():
    error, weight, scales, *_ = layer(weights=6)
    gram, wanted = error.gram.copy(), error.wanted.copy()
    gram[4:], gram[:, 4:], wanted[:, 4:] = 0.0, 0.0, 0.0
    learned = learned_integers(OutputError(gram, wanted, error.energy), weight, scales)
    np.testing.assert_array_equal(learned[:, 4:], nearest_integers(weight, scales)[:, 4:])


def network(groups=1, strides=1, dilations=1, axes=1):
    """Two Convs in a row, `first` and `second`, with padding."""
    random = np.random.default_rng(5)
    channels, kernel = 8, [3] * axes
    weights = {
        "w1": random.normal(0, 0.3, (channels, channels // groups, *kernel)),
        "b1": random.normal(0, 0.1, channels),
        "w2": random.normal(0, 0.3, (4, channels, *kernel)),
    }
    shared = {
        "strides": [strides] * axes,
        "dilations": [dilations] * axes,
        "pads": [2, *[1] * (2 * axes - 1)],
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["h"], "first", group=groups, **shared),
        helper.make_node("LeakyRelu", ["h"], ["a"], "leaky", alpha=0.1),
        helper.make_node("Conv", ["a", "w2"], ["y"], "second", pads=[1] * (2 * axes)),
    ]
    sizes = ["t", "u"][:axes]
    graph = helper.make_graph(
        nodes,
        "two",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, channels, *sizes])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 4, *[None] * axes])],
        [numpy_helper.from_array(np.float32(values), name) for name, values in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def feeds(axes=1):
    random = np.random.default_rng(6)
    shape = (2, 8, 160) if axes == 1 else (2, 8, 12, 14)
    return [{"x": np.cumsum(random.normal(0, 0.4, shape), axis=-1).astype(np.float32)} for _ in range(3)]


SCALES = {"x": TensorScale(0.06, 128), "a": TensorScale(0.08, 100)}


@pytest.mark.parametrize(
    "form",
    [{}, {"groups": 4}, {"strides": 2}, {"dilations": 3}, {"axes": 2, "strides": 2}],
    ids=["plain", "groups", "strides", "dilations", "two axes"],
)
def test_every_convolution_of_a_graph_has_no_more_error_in_the_graph_itself(form):
    model, runs = network(**form), feeds(form.get("axes", 1))
    learned = learned_weights(model, ["first", "second"], SCALES, runs, "cpu")
    for name, source, output, weight, bias in (
        ("first", "x", "h", "w1", "b1"),
        ("second", "a", "y", "w2", ""),
    ):
        values = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        scales = weight_scales(values[weight], values.get(bias), SCALES[source].scale)
        along = scales.reshape(-1, *[1] * (values[weight].ndim - 1))
        errors = {
            kind: _energy_of_error(model, source, output, weight, integers * along, runs)
            for kind, integers in (
                ("learned", learned[name]),
                ("nearest", nearest_integers(values[weight], scales)),
            )
        }
        assert errors["learned"] < errors["nearest"], (name, errors)


def _energy_of_error(model, source, output, weight, rounded, runs):
    """Of one Conv with rounded weight and input against the same one without, by ONNX Runtime."""
    node = next(node for node in model.graph.node if node.output[0] == output)
    tensors = [numpy_helper.from_array(np.float32(rounded), weight)]
    tensors += [t for t in model.graph.initializer if t.name in node.input and t.name != weight]
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info(source, TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        tensors,
    )
    alone = helper.make_model(graph, opset_imports=model.opset_import, ir_version=10)
    total = 0.0
    for observed in observe(model, [source, output], runs):
        inputs = rounded_input(observed[source], SCALES[source], "cpu")
        total += float(np.sum((run_all(alone, [{source: inputs}])[0][0] - observed[output]) ** 2.0))
    return total


def test_learning_is_repeatable_and_leaves_the_model_alone():
    model = network()
    before = model.SerializeToString(deterministic=True)
    first, second = (learned_weights(model, ["first"], SCALES, feeds(), "cpu") for _ in range(2))
    np.testing.assert_array_equal(first["first"], second["first"])
    assert first["first"].dtype == np.int8
    assert model.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
def test_graphs_hold_exactly_the_given_integers(target):
    model = network()
    integers = np.random.default_rng(8).integers(-127, 128, (8, 8, 3)).astype(np.int8)
    scales = Scales({"x": TensorScale(0.06, 0)}, {"h": TensorScale(0.1, 128)})
    quantized = run_passes(model, [QdqFromFp32Pass(["first"], scales, target, {"first": integers})])
    [observed] = observe(quantized, ["first.weight.dequantized"], feeds()[:1])
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    steps = weight_scales(values["w1"], values["b1"], SCALES["x"].scale)[:, np.newaxis, np.newaxis]
    if target == "cpu":
        stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in quantized.graph.initializer}
        np.testing.assert_array_equal(stored["first.weight.quantized"], integers)
    else:
        np.testing.assert_array_equal(np.rint(observed["first.weight.dequantized"] / steps), integers)


def test_integers_of_another_shape_are_refused():
    scales = Scales({"x": SCALES["x"]}, {"h": TensorScale(0.1, 128)})
    edit = QdqFromFp32Pass(["first"], scales, "cpu", {"first": np.zeros((8, 8, 5), np.int8)})
    with pytest.raises(GraphEditError, match=r"must have the shape \(8, 8, 3\) of the weight of 'first'"):
        run_passes(network(), [edit])
