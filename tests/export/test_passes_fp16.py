"""FP16 from FP32: what becomes FP16, what stays FP32, and at the cost of how many casts."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from voirs_vocoder.export.errors import ExportError
from voirs_vocoder.export.passes import NameNodesPass, fp16_from_fp32, run_passes


def graph(body: str, inputs: str = "float[1,4,T] x", outputs: str = "float[1,4,T] y", weights: str = ""):
    """A model in ONNX's text form, its nodes named."""
    text = f'<ir_version: 10, opset_import: ["" : 20]> g ({inputs}) => ({outputs}) <{weights}> {{ {body} }}'
    return run_passes(onnx.parser.parse_model(text), [NameNodesPass()])


def run(model: onnx.ModelProto, **inputs: np.ndarray) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    return session.run(None, inputs)


def casts(model: onnx.ModelProto) -> list[tuple[str, str]]:
    return [
        (node.input[0], "fp16" if node.attribute[0].i == TensorProto.FLOAT16 else "fp32")
        for node in model.graph.node
        if node.op_type == "Cast"
    ]


def types(model: onnx.ModelProto) -> dict[str, int]:
    values = (*model.graph.input, *model.graph.output, *model.graph.value_info)
    found = {value.name: value.type.tensor_type.elem_type for value in values}
    return found | {tensor.name: tensor.data_type for tensor in model.graph.initializer}


def x(scale: float = 1.0, frames: int = 6) -> np.ndarray:
    return (scale * np.random.default_rng(0).standard_normal((1, 4, frames))).astype(np.float32)


def test_the_boundary_is_fp32_and_the_inside_fp16():
    half = fp16_from_fp32(graph("h = Tanh(x) y = Mul(h, w)", weights="float[1] w = {0.1}"))
    assert casts(half) == [("x", "fp16"), ("y.fp16", "fp32")]
    assert types(half)["Tanh.0.output"] == types(half)["w"] == TensorProto.FLOAT16
    assert types(half)["x"] == types(half)["y"] == TensorProto.FLOAT
    np.testing.assert_array_equal(
        numpy_helper.to_array(half.graph.initializer[0]), np.array([0.1], np.float16)
    )


def test_neighbours_that_stay_fp32_share_values_without_a_cast():
    model = graph("a = Tanh(x) b = Exp(a) c = Sigmoid(b) y = Relu(c)")
    half = fp16_from_fp32(model, ["Exp*", "Sigmoid.0"])
    assert casts(half) == [
        *(("x", "fp16"), ("Tanh.0.output", "fp32")),
        *(("Sigmoid.0.output", "fp16"), ("y.fp16", "fp32")),
    ]


def test_a_value_is_cast_once_for_all_its_users():
    half = fp16_from_fp32(
        graph("a = Tanh(x) b = Exp(a) c = Sin(a) d = Cos(a) e = Mul(b, c) f = Mul(a, d) y = Add(e, f)"),
        ["Exp.*", "Sin.*", "Cos.*"],
    )
    assert casts(half).count(("Tanh.0.output", "fp32")) == 1
    assert len(casts(half)) == 6


def test_a_reshape_between_kept_nodes_does_not_round():
    body = "a = Exp(x) b = Transpose<perm=[0,2,1]>(a) c = Reshape(b, s) y = Tanh(c)"
    half = fp16_from_fp32(
        graph(body, outputs="float[1,T,4] y", weights="int64[3] s = {1,-1,4}"), ["Exp*", "Tanh*"]
    )
    assert casts(half) == []


def test_a_reshape_before_a_half_node_follows_the_cast():
    body = "a = Exp(x) b = Transpose<perm=[0,2,1]>(a) c = Relu(b) y = Tanh(c)"
    half = fp16_from_fp32(graph(body, outputs="float[1,T,4] y"), ["Exp*", "Tanh*"])
    assert casts(half) == [("Exp.0.output", "fp16"), ("Relu.0.output", "fp32")]


def test_keeping_everything_changes_nothing_but_constants():
    model = graph("a = Exp(x) y = Mul(a, w)", weights="float[1] w = {0.1}")
    assert fp16_from_fp32(model, ["*"]).SerializeToString() == model.SerializeToString()


def test_an_initializer_of_both_precisions_exists_in_both():
    model = graph("a = Mul(x, w) y = Add(a, w)", weights="float[1] w = {0.1}")
    half = fp16_from_fp32(model, ["Add.*"])
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in half.graph.initializer}
    assert weights["w"] == np.float32(0.1)
    assert weights["w.fp16"] == np.float16(0.1)
    assert len(casts(half)) == 2


def test_an_output_that_is_also_used_inside_keeps_its_name_and_type():
    model = graph("y = Tanh(x) a = Exp(y) z = Relu(y)", outputs="float[1,4,T] y, float[1,4,T] z")
    model.graph.output.append(helper.make_tensor_value_info("Exp.0.output", TensorProto.FLOAT, [1, 4, "T"]))
    half = fp16_from_fp32(model, ["Exp.*"])
    assert [output.name for output in half.graph.output] == ["y", "z", "Exp.0.output"]
    assert len(casts(half)) == 3
    for before, after in zip(run(model, x=x()), run(half, x=x()), strict=True):
        np.testing.assert_allclose(after, before, rtol=2e-3, atol=2e-3)


def test_integers_and_what_onnx_fixes_to_fp32_stay():
    body = """
        l, r = Split<axis=1, num_outputs=2>(x)
        s = Slice(l, start, end, axis)
        c = Concat<axis=1>(s, r)
        u = Resize<mode="linear">(c, , scales)
        p = Pad(u, pads)
        y = Gather<axis=1>(p, index)
    """
    weights = (
        "int64[1] start = {0}, int64[1] end = {2}, int64[1] axis = {1}, float[3] scales = {1.0, 1.0, 2.0}, "
        "int64[6] pads = {0,0,0,0,0,0}, int64[2] index = {0, 3}"
    )
    model = graph(body, outputs="float[1,2,U] y", weights=weights)
    half = fp16_from_fp32(model)
    assert types(half)["scales"] == TensorProto.FLOAT
    assert all(types(half)[name] == TensorProto.INT64 for name in ("start", "end", "axis", "pads", "index"))
    assert casts(half) == [("x", "fp16"), ("y.fp16", "fp32")]
    np.testing.assert_allclose(run(half, x=x())[0], run(model, x=x())[0], rtol=2e-3, atol=1e-3)


def test_constants_and_fills_and_casts_inside_become_fp16():
    body = """
        k = Constant<value_float=0.5>()
        n = Shape(x)
        o = ConstantOfShape<value=float[1] {0.25}>(n)
        z = ConstantOfShape(n)
        d = Cast<to=1>(n)
        e = ReduceMax<keepdims=0>(d)
        a = Mul(x, k) b = Add(a, o) c = Add(b, z) y = Add(c, e)
    """
    model = graph(body)
    half = fp16_from_fp32(model)
    assert {types(half)[f"{op}.0.output"] for op in ("ConstantOfShape", "Cast", "Mul", "ReduceMax")} == {
        TensorProto.FLOAT16
    }
    np.testing.assert_allclose(run(half, x=x())[0], run(model, x=x())[0], rtol=2e-3, atol=2e-3)


def test_an_integer_cast_for_a_kept_node_stays_exact():
    model = graph(
        "t = Cast<to=1>(step) a = Sin(t) b = Tanh(x) y = Mul(a, b)", inputs="int64[1] step, float[1,4,T] x"
    )
    half = fp16_from_fp32(model, ["Sin.*"])
    step = np.array([100001])
    # 100001 exceeds FP16, and its sine would be lost.
    np.testing.assert_allclose(
        run(half, step=step, x=x())[0], run(model, step=step, x=x())[0], rtol=2e-3, atol=1e-3
    )


def test_a_coupling_layer_as_in_waveglow_converts():
    body = """
        l, r = Split<axis=1, num_outputs=2>(x)
        a = Conv(l, first_weight, first_bias)
        t, s = Split<axis=1, num_outputs=2>(a)
        g = Tanh(t) h = Sigmoid(s) q = Mul(g, h)
        v = Exp(q) m = Sub(r, q) d = Div(m, v)
        y = Concat<axis=1>(l, d)
    """
    weights = (
        "float[4,2,1] first_weight = {1,-1,0.5,0.2,0.1,0.7,-0.3,0.4}, float[4] first_bias = {0,0.1,0.2,0.3}"
    )
    model = graph(body, weights=weights)
    half = fp16_from_fp32(model, ["Exp*"])
    assert len(casts(half)) == 4
    np.testing.assert_allclose(run(half, x=x())[0], run(model, x=x())[0], rtol=5e-3, atol=5e-3)


def test_an_embedding_as_in_diffwave_converts():
    body = """
        r = Gather(table, step)
        s = Sin(r) c = Cos(r) e = Concat<axis=1>(s, c)
        p = Gemm<transB=1>(e, fc_weight, fc_bias)
        i = Sigmoid(p) q = Mul(p, i) u = Unsqueeze(q, axis)
        y = Add(x, u)
    """
    weights = (
        "float[2,2] table = {1,200000.0,3,4}, float[4,4] fc_weight = {1,0,0,1,0,1,0,0,0,0,1,0,0,0,0,1}, "
        "float[4] fc_bias = {0,0,0.1,0}, int64[1] axis = {2}"
    )
    model = graph(body, inputs="int64[1] step, float[1,4,T] x", weights=weights)
    with pytest.raises(ExportError, match=r"200000 in table"):
        fp16_from_fp32(model)
    half = fp16_from_fp32(model, ["Sin.*", "Cos.*"])
    step = np.array([0])
    assert types(half)["table"] == TensorProto.FLOAT
    np.testing.assert_allclose(
        run(half, step=step, x=x())[0], run(model, step=step, x=x())[0], rtol=5e-3, atol=5e-3
    )


def test_a_weight_beyond_fp16_is_an_error_that_names_it():
    model = graph("y = Mul(x, gain)", weights="float[1] gain = {-65505.0}")
    with pytest.raises(ExportError, match="65505 in gain"):
        fp16_from_fp32(model)
    assert fp16_from_fp32(model, ["Mul.0"]) == model


def test_an_infinite_mask_stays_infinite():
    model = graph("y = Max(x, floor)", weights="float[1] floor = {0.0}")
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array([-np.inf], np.float32), "floor"))
    half = fp16_from_fp32(model)
    assert numpy_helper.to_array(half.graph.initializer[0]) == -np.inf


def test_tiny_weights_round_as_ieee_has_it():
    tiny = np.array([6.1e-5, 1e-6, 2.0**-24, 2.0**-25, 2.0**-25 * 1.01, 1e-9], np.float32)
    model = graph(
        "y = Add(x, tiny)", inputs="float[6] x", outputs="float[6] y", weights="float[6] tiny = {0,0,0,0,0,0}"
    )
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(tiny, "tiny"))
    half = numpy_helper.to_array(fp16_from_fp32(model).graph.initializer[0]).astype(np.float64)
    step = 2.0**-24
    # Python rounds half to even; below 2^-14 FP16 numbers are the multiples of 2^-24.
    np.testing.assert_array_equal(half, [round(float(value) / step) * step for value in tiny])


def test_the_same_model_gives_the_same_bytes():
    model = graph("a = Exp(x) b = Mul(a, w) y = Tanh(b)", weights="float[1] w = {0.1}")
    before = model.SerializeToString()
    assert len({fp16_from_fp32(model, ["Exp*"]).SerializeToString() for _ in range(3)}) == 1
    assert model.SerializeToString() == before


def quantized() -> onnx.ModelProto:
    return graph(
        "q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z)",
        weights="float s = {0.1}, int8 z = {0}",
    )


def branching() -> onnx.ModelProto:
    body = "y = If(c)<then_branch = t () => (float[1,4,T] a) { a = Relu(x) }, "
    body += "else_branch = e () => (float[1,4,T] b) { b = Tanh(x) }>"
    return graph(body, inputs="bool c, float[1,4,T] x")


@pytest.mark.parametrize(
    ("model", "keep_float", "message"),
    [
        pytest.param(
            lambda: graph("y = Tanh(x)"), ["conv_post"], "'conv_post'; there are Tanh.0", id="pattern"
        ),
        pytest.param(lambda: fp16_from_fp32(graph("y = Tanh(x)")), [], "start from the FP32", id="twice"),
        pytest.param(quantized, [], "before quantization, got node QuantizeLinear.0", id="quantized"),
        pytest.param(branching, [], "got a subgraph in node If.0", id="subgraph"),
        pytest.param(
            lambda: graph("n = RandomNormalLike(x) y = Add(x, n)"), [], "RandomNormalLike.0", id="random"
        ),
        pytest.param(
            lambda: graph("s = SplitToSequence<axis=1>(x) y = ConcatFromSequence<axis=1>(s)"),
            *([], "known type, got SplitToSequence.0.output"),
            id="sequence",
        ),
    ],
)
def test_what_cannot_be_converted_is_refused(model, keep_float, message):
    with pytest.raises(ExportError, match=message):
        fp16_from_fp32(model(), keep_float)


def test_nodes_without_names_are_refused():
    model = graph("a = Tanh(x) y = Tanh(a)")
    for node in model.graph.node:
        node.name = "same"
    with pytest.raises(ExportError, match="run NameNodesPass first"):
        fp16_from_fp32(model)
