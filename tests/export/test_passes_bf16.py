"""BF16 from FP32, and the FP32 twin that rounds like it: both against torch's bfloat16."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from voirs_vocoder.export.errors import ExportError
from voirs_vocoder.export.passes import NameNodesPass, bf16_from_fp32, fp16_from_fp32, half_twin, run_passes


def graph(body: str, weights: dict[str, np.ndarray] | None = None, opset: int = 20) -> onnx.ModelProto:
    """A model in ONNX's text form, float [1, 4, T] -> float [1, 4, T], its nodes named."""
    text = (
        f'<ir_version: 10, opset_import: ["" : {opset}]> g (float[1,4,T] x) => (float[1,4,T] y) {{ {body} }}'
    )
    model = onnx.parser.parse_model(text)
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(values, name) for name, values in (weights or {}).items()
    )
    return run_passes(model, [NameNodesPass()])


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def rounded(values: torch.Tensor) -> torch.Tensor:
    return values.to(torch.bfloat16).to(torch.float32)


def network(seed: int) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    weights = {
        "w": rng.standard_normal((4, 4, 3)).astype(np.float32),
        "b": rng.standard_normal(4).astype(np.float32),
        "u": rng.standard_normal((4, 4, 3)).astype(np.float32),
    }
    body = (
        "a = LeakyRelu<alpha: float = 0.125>(x) c = Conv<pads: ints = [1, 1]>(a, w, b) s = Add(c, x) "
        "d = ConvTranspose<pads: ints = [1, 1]>(s, u) y = Tanh(d)"
    )
    return graph(body, weights), weights


def by_torch(x: np.ndarray, weights: dict[str, np.ndarray], *, tanh_in_fp32: bool) -> np.ndarray:
    """The network with every result rounded by torch."""
    w, b, u = (rounded(torch.from_numpy(weights[name])) for name in "wbu")
    values = rounded(torch.from_numpy(x))
    activated = rounded(torch.nn.functional.leaky_relu(values, 0.125))
    convolved = rounded(torch.nn.functional.conv1d(activated, w, b, padding=1))
    total = rounded(convolved + values)
    raised = rounded(torch.nn.functional.conv_transpose1d(total, u, padding=1))
    result = torch.tanh(raised)
    return (result if tanh_in_fp32 else rounded(result)).numpy()


@pytest.mark.parametrize("tanh_in_fp32", [False, True])
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([1e-6, 1.0, 1e6]))
def test_the_twin_computes_what_torch_computes_in_bfloat16(seed, scale, tanh_in_fp32):
    model, weights = network(seed)
    x = (scale * np.random.default_rng(seed).standard_normal((1, 4, 9))).astype(np.float32)
    got = run(half_twin(bf16_from_fp32(model, ["Tanh*"] if tanh_in_fp32 else [])), x)
    wanted = by_torch(x, weights, tanh_in_fp32=tanh_in_fp32)
    # Sums in another order now and then round to the next number, 2^-8 away.
    np.testing.assert_allclose(got, wanted, rtol=2**-5, atol=2**-6)
    assert np.mean(got == wanted) > (0.0 if tanh_in_fp32 else 0.7)


def test_weights_are_torchs_bfloat16_and_the_boundary_is_fp32():
    model, weights = network(0)
    half = bf16_from_fp32(model)
    found = {tensor.name: tensor for tensor in half.graph.initializer}
    for name, values in weights.items():
        assert found[name].data_type == TensorProto.BFLOAT16
        stored = ir.from_proto(found[name]).numpy().astype(np.float32)
        np.testing.assert_array_equal(stored, rounded(torch.from_numpy(values)).numpy())
    boundary = [value.type.tensor_type.elem_type for value in (*half.graph.input, *half.graph.output)]
    assert boundary == [TensorProto.FLOAT, TensorProto.FLOAT]
    assert half.opset_import[0].version == 22
    onnx.checker.check_model(half, full_check=True)


def test_onnx_runtime_on_a_cpu_refuses_the_graph_itself():
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented):
        run(bf16_from_fp32(network(0)[0]), np.zeros((1, 4, 9), np.float32))


def test_a_weight_beyond_fp16_fits_into_bf16():
    model = graph("y = Mul(x, w)", {"w": np.array([1e30], np.float32)})
    with pytest.raises(ExportError, match="FP16's largest number 65504"):
        fp16_from_fp32(model)
    assert bf16_from_fp32(model).graph.initializer[0].data_type == TensorProto.BFLOAT16


def test_an_opset_whose_operators_mean_something_else_later_is_refused():
    with pytest.raises(ExportError, match="opset 18 or later, got opset 17"):
        bf16_from_fp32(graph("y = Tanh(x)", opset=17))


def test_a_graph_with_16_bits_is_not_converted_again():
    half = fp16_from_fp32(network(0)[0])
    with pytest.raises(ExportError, match="BF16 is made from an FP32 graph"):
        bf16_from_fp32(half)


def test_patterns_and_names_keep_the_same_nodes():
    model = network(0)[0]
    names = [node.name for node in model.graph.node if node.op_type == "Tanh"]
    assert bf16_from_fp32(model, names) == bf16_from_fp32(model, ["Tanh*"])
