"""Transposed convolutions as plain ones: the same values, and only where there is a plain one."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from voirs_vocoder.export.passes import NameNodesPass, run_passes
from voirs_vocoder.export.passes.conv_from_conv_transpose import ConvFromConvTransposePass


def transposed(kernel, stride, pads, longer, *, bias=True, attributes="", outputs=3, group=1):
    rng = np.random.default_rng(kernel * 100 + stride)
    text = (
        '<ir_version: 10, opset_import: ["" : 20]> g (float[N,4,T] x) => (float[N,M,L] y) {'
        f"y = ConvTranspose<strides: ints = [{stride}], pads: ints = [{pads[0]}, {pads[1]}], "
        f"output_padding: ints = [{longer}], group: int = {group}{attributes}>(x, w{', b' if bias else ''}) }}"
    )
    model = onnx.parser.parse_model(text)
    weights = {"w": rng.standard_normal((4, outputs, kernel)).astype(np.float32)}
    if bias:
        weights["b"] = rng.standard_normal(outputs * group).astype(np.float32)
    model.graph.initializer.extend(numpy_helper.from_array(values, name) for name, values in weights.items())
    return run_passes(model, [NameNodesPass()])


def rewritten(model):
    return run_passes(model, [ConvFromConvTransposePass()])


def operators(model):
    return [node.op_type for node in model.graph.node]


@st.composite
def whole_upsamplings(draw):
    """Kernel, stride, padding and output padding of a convolution with `stride` outputs for each input."""
    stride = draw(st.integers(1, 6))
    kernel = draw(st.integers(1, 13))
    longer = draw(st.integers(0, stride - 1))
    cut = kernel + longer - stride
    if cut < 0:
        kernel, cut = kernel - cut, 0
    before = draw(st.integers(0, cut))
    return kernel, stride, (before, cut - before), longer


@settings(deadline=None)
@given(whole_upsamplings(), st.booleans(), st.integers(1, 9))
def test_the_plain_convolution_computes_the_same(shape, bias, frames):
    model = transposed(*shape, bias=bias)
    result = rewritten(model)
    assert operators(result) == ["Conv", "Reshape", "Transpose", "Reshape"]
    assert result.graph.node[0].name == model.graph.node[0].name
    x = np.random.default_rng(0).standard_normal((2, 4, frames)).astype(np.float32)
    (wanted,) = ReferenceEvaluator(model).run(None, {"x": x})
    (got,) = ReferenceEvaluator(result).run(None, {"x": x})
    assert got.shape == (2, 3, frames * shape[1])
    # At most 4 * 13 products of standard normal values.
    np.testing.assert_allclose(got, wanted, atol=2e-5)


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((4, 2, (0, 0), 0), {}),
        ((4, 2, (1, 1), 1), {}),
        ((3, 2, (1, 1), 0), {}),
        ((4, 2, (1, 1), 0), {"group": 2}),
        ((2, 1, (1, 1), 0), {"attributes": ", dilations: ints = [2]"}),
    ],
)
def test_what_has_no_plain_form_stays_as_it_is(shape, options):
    assert operators(rewritten(transposed(*shape, **options))) == ["ConvTranspose"]


def test_a_computed_kernel_and_an_unknown_graph_stay_as_they_are():
    model = transposed(4, 2, (1, 1), 0)
    computed = onnx.ModelProto()
    computed.CopyFrom(model)
    computed.graph.node[0].input[1] = "w2"
    computed.graph.node.insert(0, onnx.helper.make_node("Neg", ["w"], ["w2"], name="Neg.0"))
    assert operators(rewritten(computed)) == ["Neg", "ConvTranspose"]
    assert "w" in {tensor.name for tensor in model.graph.initializer}
    assert not {"w", "b"} & {tensor.name for tensor in rewritten(model).graph.initializer}
