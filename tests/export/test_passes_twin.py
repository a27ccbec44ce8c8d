"""The FP32 twin of an FP16 graph rounds where FP16 would, and ONNX Runtime lets it."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from voirs_vocoder.export.errors import ExportError
from voirs_vocoder.export.passes import NameNodesPass, fp16_from_fp32, half_twin, run_passes

LEVELS = [
    onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
]
SHAPE = [1, 4, "frames"]


def named(nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], output: str = "y") -> onnx.ModelProto:
    """A model from x to the output; weights are FP32 unless they are integers."""
    weights = {k: v if v.dtype.kind == "i" else v.astype(np.float32) for k, v in weights.items()}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, SHAPE)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return run_passes(model, [NameNodesPass()])


def run(model: onnx.ModelProto, x: np.ndarray, level=LEVELS[-1], **config: str) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = level
    for key, value in config.items():
        options.add_session_config_entry(key.replace("__", "."), value)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def loud() -> onnx.ModelProto:
    """A depthwise convolution beyond FP16's range, and one that brings its result back into it."""
    nodes = [
        helper.make_node("Conv", ["x", "loud.weight"], ["a"], group=4),
        helper.make_node("LeakyRelu", ["a"], ["b"], alpha=0.125),
        helper.make_node("Conv", ["b", "soft.weight"], ["y"], group=4),
    ]
    return named(
        nodes, {"loud.weight": np.full((4, 1, 1), 2.0**15), "soft.weight": np.full((4, 1, 1), 2.0**-15)}
    )


@pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.name)
def test_an_overflow_shows_in_the_twin_and_not_in_the_fp16_graph_on_cpu(level):
    half = fp16_from_fp32(loud())
    x = np.array([1.0, 1.5, 1.9, 3.0], np.float32).reshape(1, 4, 1)
    np.testing.assert_allclose(run(half, x, level), x, rtol=1e-3)
    # 1.9 * 2^15 is within FP16's range, 3 * 2^15 is not.
    assert np.isfinite(run(half_twin(half), x, level)).ravel().tolist() == [True, True, True, False]


def test_cast_chain_elimination_is_the_option_that_would_blind_the_twin():
    x = np.full((1, 4, 1), 3.0, np.float32)
    twin = half_twin(fp16_from_fp32(loud()))
    assert np.isfinite(run(twin, x, optimization__enable_cast_chain_elimination="1")).all()


@pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.name)
def test_the_twin_equals_numpy_float16_operator_by_operator(level):
    rng = np.random.default_rng(1)
    weight, bias, scale = (rng.standard_normal((1, 4, 1)) for _ in range(3))
    nodes = [
        helper.make_node("Conv", ["x", "conv.weight", "conv.bias"], ["a"], group=4),
        helper.make_node("LeakyRelu", ["a"], ["b"], alpha=0.1),
        helper.make_node("Mul", ["b", "scale"], ["c"]),
        helper.make_node("Add", ["c", "x"], ["d"]),
        helper.make_node("Div", ["d", "three"], ["e"]),
        helper.make_node("Mul", ["e", "tiny"], ["f"]),
        helper.make_node("Mul", ["f", "large"], ["g"]),
        helper.make_node("Sub", ["e", "g"], ["y"]),
    ]
    weights = {"conv.weight": weight.reshape(4, 1, 1), "conv.bias": bias.ravel(), "scale": scale}
    weights |= {"three": np.array([3.0]), "tiny": np.array([1e-5]), "large": np.array([2.0**15])}
    half = fp16_from_fp32(named(nodes, weights))
    x = rng.standard_normal((1, 4, 4000)).astype(np.float32)

    def f16(array: np.ndarray) -> np.ndarray:
        return np.asarray(array, np.float32).astype(np.float16).astype(np.float32)

    h = f16(x)
    a = f16(h * f16(weight) + f16(bias))
    b = f16(np.where(a < 0, np.float32(0.1) * a, a))
    d = f16(f16(b * f16(scale)) + h)
    tiny = f16(np.array([1e-5]))
    e = f16(d / np.float32(3))
    f = f16(e * tiny)
    assert 0 < np.abs(f).max() < 2.0**-14, "the test must reach subnormal numbers"
    expected = f16(e - f16(f * np.float32(2**15)))
    np.testing.assert_array_equal(run(half_twin(half), x, level), expected)
    assert (run(half, x, level) != expected).any()


def test_what_stays_fp32_is_not_rounded():
    nodes = [helper.make_node("Mul", ["x", "gain"], ["a"]), helper.make_node("Add", ["a", "one"], ["y"])]
    model = named(nodes, {"gain": np.array([1 / 3]), "one": np.array([1.0])})
    twin = half_twin(fp16_from_fp32(model, ["Add.*"]))
    x = np.random.default_rng(2).standard_normal((1, 4, 100)).astype(np.float32)
    a = (x.astype(np.float16) * np.float16(1 / 3)).astype(np.float32)
    np.testing.assert_array_equal(run(twin, x), a + np.float32(1))


def test_only_casts_touch_fp16_in_a_twin_and_the_boundary_stays():
    half = fp16_from_fp32(loud())
    twin = half_twin(half)
    assert [twin.graph.input[0], twin.graph.output[0]] == [half.graph.input[0], half.graph.output[0]]
    assert {tensor.data_type for tensor in twin.graph.initializer} == {TensorProto.FLOAT}
    halves = {v.name for v in twin.graph.value_info if v.type.tensor_type.elem_type == TensorProto.FLOAT16}
    touching = [node for node in twin.graph.node if halves & {*node.input, *node.output}]
    assert {node.op_type for node in touching} == {"Cast"}
    # One rounding at the input and one behind each of the three operators.
    assert len(halves) == 4


def test_fills_and_casts_that_make_fp16_are_followed():
    text = """
        <ir_version: 10, opset_import: ["" : 20]> g (float[1,4,T] x) => (float[1,4,T] y) {
            n = Shape(x) d = Cast<to=1>(n) t = ReduceMax<keepdims=0>(d)
            o = ConstantOfShape<value=float[1] {0.1}>(n)
            a = Mul(o, t) y = Add(a, x)
        }"""
    model = run_passes(onnx.parser.parse_model(text), [NameNodesPass()])
    x = np.zeros((1, 4, 2051), np.float32)
    twin = half_twin(fp16_from_fp32(model))
    expected = np.float16(np.float32(np.float16(0.1)) * np.float32(np.float16(2051)))
    np.testing.assert_array_equal(run(twin, x), np.full_like(x, expected))


def test_a_twin_needs_something_in_fp16():
    with pytest.raises(ExportError, match="apply HalfFromFp32Pass first"):
        half_twin(loud())


def test_the_same_model_gives_the_same_twin():
    half = fp16_from_fp32(loud())
    assert half_twin(half).SerializeToString() == half_twin(half).SerializeToString()


UNIT = 2.0**-11
"""Half the distance between neighbouring FP16 numbers, relative."""
OPERATORS = ["Add", "Concat", "Conv", "LeakyRelu", "Mul", "Reshape", "Sigmoid", "Tanh"]


@st.composite
def chains(draw):
    """A random graph, patterns to keep, and the largest error that FP16 rounding can explain."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    weights: dict[str, np.ndarray] = {"same": np.array([0, 4, -1]), "half": np.array([2, 2])}
    nodes: list[onnx.NodeProto] = []
    # Per value: name, bound of its magnitude, bound of its error.
    values = [("x", 1.0, UNIT)]
    # The convolution in front is never kept, so that something is FP16.
    for index, operator in enumerate(["Conv", *draw(st.lists(st.sampled_from(OPERATORS), max_size=12))]):
        source, magnitude, error = values[-1]
        other, other_magnitude, other_error = draw(st.sampled_from(values))
        name, inputs, attributes = f"v{index}", [source], {}
        if operator in ("Add", "Mul"):
            inputs.append(other)
        if operator == "Add":
            magnitude, error = magnitude + other_magnitude, error + other_error
        elif operator == "Mul":
            error = error * other_magnitude + other_error * (magnitude + error)
            magnitude *= other_magnitude
        elif operator == "Conv":
            weight = rng.uniform(-1, 1, (4, 4, 1))
            # Rows of unit L1 norm let neither magnitude nor error grow; the rounded weights add their own.
            weights[f"{name}.weight"] = weight / np.abs(weight).sum(axis=1, keepdims=True)
            inputs.append(f"{name}.weight")
            error = error * (1 + UNIT) + UNIT * magnitude
        elif operator == "Sigmoid":
            magnitude, error = 1.0, error / 4
        elif operator == "Reshape":
            inputs.append("same")
        elif operator == "Concat":
            nodes.append(helper.make_node("Split", [source, "half"], [f"{name}.l", f"{name}.r"], axis=1))
            inputs, attributes = [f"{name}.r", f"{name}.l"], {"axis": 1}
        nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        values.append((name, magnitude, error + UNIT * (magnitude + error) + 2.0**-24))
    output, _, error = values[-1]
    present = sorted({node.op_type for node in nodes} - {"Conv"})
    keep = [operator for operator in present if draw(st.booleans())]
    return named(nodes, weights, output=output), [f"{operator}.*" for operator in keep], error


@settings(max_examples=60, deadline=None, derandomize=True)
@given(chains())
def test_the_twin_of_any_chain_is_as_near_to_fp32_as_rounding_allows(chain):
    model, keep_float, bound = chain
    half = fp16_from_fp32(model, keep_float)
    x = np.random.default_rng(0).uniform(-1, 1, (1, 4, 50)).astype(np.float32)
    assert np.abs(run(half_twin(half), x) - run(model, x)).max() <= bound * 1.01
    assert len({node.name for node in half.graph.node}) == len(half.graph.node)
