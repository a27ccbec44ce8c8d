"""2-D convolutions from 1-D ones: the same results, and changes of shape at the borders only."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import graph_feed
from voirs_vocoder.export.graphs.built import BuiltGraph
from voirs_vocoder.export.graphs.reduced import fp16_graph, with_2d_convolutions
from voirs_vocoder.export.passes import (
    Conv2dFromConv1dPass,
    NameNodesPass,
    UndilatedConv2dPass,
    half_twin,
    run_passes,
)
from voirs_vocoder.export.passes.gpu_linter import cpu_nodes, fixed_sizes
from voirs_vocoder.runtime import Artifact
from voirs_vocoder.runtime.metrics import snr_db

KERNEL = "float[4,4,3] w"


def graph(body: str, weights: str = KERNEL, inputs: str = "float[N,4,T] x", outputs: str = "float[N,C,U] y"):
    """A model in ONNX's text form, its nodes named; its float weights are random."""
    text = f'<ir_version: 10, opset_import: ["" : 20]> g ({inputs}) => ({outputs}) {{ {body} }}'
    model = onnx.parser.parse_model(text)
    rng = np.random.default_rng(0)
    for declared in filter(None, weights.split(", ")):
        shape, name = declared.removeprefix("float").split(" ")
        values = rng.standard_normal([int(size) for size in shape.strip("[]").split(",")], np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    return run_passes(model, [NameNodesPass()])


def run(model: onnx.ModelProto, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, feed)


def converted(model: onnx.ModelProto) -> onnx.ModelProto:
    return run_passes(model, [Conv2dFromConv1dPass()])


def added(before: onnx.ModelProto, after: onnx.ModelProto) -> Counter[str]:
    count = [Counter(node.op_type for node in model.graph.node) for model in (before, after)]
    return count[1] - count[0]


def require_equal(before: onnx.ModelProto, after: onnx.ModelProto, frames: int = 13, batch: int = 2) -> None:
    x = np.random.default_rng(1).standard_normal((batch, 4, frames), np.float32)
    for wanted, got in zip(run(before, {"x": x}), run(after, {"x": x}), strict=True):
        assert got.shape == wanted.shape
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-6 * max(1, np.abs(wanted).max()))


BETWEEN = {
    "elementwise": "b = Sigmoid(a) c = Mul(a, b)",
    "weights of one axis": "c = Mul(a, row)",
    "weights of two axes": "c = Add(a, column)",
    "weights of three axes": "c = Add(a, bias)",
    "concatenation of channels": "b = Concat<axis = 1>(a, a) p, c = Split<axis = 1, num_outputs = 2>(b)",
    "concatenation along time": "b = Concat<axis = -1>(a, a) c = Tanh(b)",
    "slice of time": "i = Constant<value_ints = [1]>() j = Constant<value_ints = [-2]>() "
    "k = Constant<value_ints = [2]>() c = Slice(a, i, j, k)",
    "slice of channels": "i = Constant<value_ints = [0]>() j = Constant<value_ints = [4]>() "
    "k = Constant<value_ints = [1]>() c = Slice(a, i, j, k)",
    "slice of the first axes": "i = Constant<value_ints = [0, 0]>() j = Constant<value_ints = [9, 4]>() "
    "c = Slice(a, i, j)",
    "padding of all axes": "i = Constant<value_ints = [0, 0, 2, 0, 0, 1]>() c = Pad(a, i)",
    "padding of time": 'i = Constant<value_ints = [2, 1]>() j = Constant<value_ints = [-1]>() c = Pad(a, i, "", j)',
    "mean over channels": "i = Constant<value_ints = [1]>() m = ReduceMean(a, i) c = Sub(a, m)",
    "softmax over channels": "c = Softmax<axis = 1>(a)",
    "exchange of axes": "b = Transpose<perm = [0, 2, 1]>(a) d = Softmax<axis = -1>(b) "
    "c = Transpose<perm = [0, 2, 1]>(d)",
    "reshape to and fro": "i = Constant<value_ints = [0, 2, 2, -1]>() j = Constant<value_ints = [0, 4, -1]>() "
    "b = Reshape(a, i) c = Reshape(b, j)",
    "sums over time": "i = Constant<value_ints = [2]>() m = ReduceMean(a, i) s = Squeeze(m, i) "
    "u = Unsqueeze(s, i) c = Add(a, u)",
}


@pytest.mark.parametrize("between", BETWEEN.values(), ids=BETWEEN)
def test_what_lies_between_two_convolutions_needs_no_change_of_shape(between):
    before = graph(
        f"a = Conv<pads = [1, 1]>(x, w) {between} y = Conv<pads = [1, 1]>(c, v)",
        f"{KERNEL}, float[4,4,3] v, float[1] row, float[4,1] column, float[1,4,1] bias",
    )
    after = converted(before)
    require_equal(before, after)
    assert added(before, after) <= Counter(Squeeze=1, Unsqueeze=1)
    assert [node.op_type for node in after.graph.node][-2:] == ["Conv", "Squeeze"]


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from(["Conv", "ConvTranspose"]),
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from([1, 2, 4]),
    st.tuples(st.integers(0, 2), st.integers(0, 2)),
    st.integers(9, 20),
)
def test_every_convolution_gives_the_same(op_type, stride, dilation, group, pads, frames):
    before = graph(
        f"y = {op_type}<strides = [{stride}], dilations = [{dilation}], group = {group}, "
        f"pads = [{pads[0]}, {pads[1]}]>(x, w, b)",
        f"float[4,{4 // group},3] w, float[{4 if op_type == 'Conv' else 4 // group * group}] b",
    )
    require_equal(before, converted(before), frames)


def test_an_operator_that_needs_three_axes_stands_between_borders():
    before = graph("a = Conv<pads = [1, 1]>(x, w) m = MatMul(p, a) y = Conv(m, w)", f"{KERNEL}, float[4,4] p")
    after = converted(before)
    require_equal(before, after)
    assert added(before, after) == Counter(Squeeze=2, Unsqueeze=2)


def test_a_value_that_is_returned_and_read_keeps_its_name_and_shape():
    before = graph("y = Conv<pads = [1, 1]>(x, w) z = Relu(y)", outputs="float[N,4,T] y, float[N,4,T] z")
    after = converted(before)
    require_equal(before, after)
    assert [value.name for value in after.graph.output] == ["y", "z"]


def test_a_weight_that_is_shared_serves_both_of_its_readers():
    before = graph("a = Add(x, w) y = Conv<pads = [1, 1]>(a, v)", "float[1,4,1] w, float[4,4,3] v")
    twice = graph(
        "m = MatMul(w, w) a = Conv<pads = [1, 1]>(x, w) y = Add(a, s)", "float[4,4,4] w, float[1,4,1] s"
    )
    require_equal(before, converted(before))
    assert {len(t.dims) for t in converted(twice).graph.initializer if t.name.startswith("w")} == {3, 4}


def test_names_of_nodes_and_weights_stay():
    before = graph("a = Conv(x, w) y = LeakyRelu(a)")
    after = converted(before)
    assert {node.name for node in before.graph.node} < {node.name for node in after.graph.node}
    assert [tensor.name for tensor in after.graph.initializer if len(tensor.dims) == 4] == ["w"]


def test_a_graph_without_1d_convolutions_stays_as_it_is():
    before = graph("y = Relu(x)", "", outputs="float[N,4,T] y")
    assert converted(before) == run_passes(before, [NameNodesPass()])


def undilated(model: onnx.ModelProto) -> onnx.ModelProto:
    return run_passes(converted(model), [UndilatedConv2dPass()])


def dilations(model: onnx.ModelProto) -> set[int]:
    found = (a.ints for node in model.graph.node for a in node.attribute if a.name == "dilations")
    return {value for values in found for value in values}


@settings(deadline=None, max_examples=40)
@given(
    st.integers(2, 5),
    st.sampled_from([1, 2, 4]),
    st.tuples(st.integers(0, 9), st.integers(0, 9)),
    st.integers(11, 40),
    st.sampled_from(["", ', auto_pad = "NOTSET", strides = [1], kernel_shape = [3]']),
)
def test_a_dilated_convolution_is_one_over_a_view(dilation, group, pads, frames, attributes):
    before = graph(
        f"y = Conv<dilations = [{dilation}], group = {group}, pads = [{pads[0]}, {pads[1]}]{attributes}>(x, w, b)",
        f"float[4,{4 // group},3] w, float[4] b",
    )
    after = undilated(before)
    assert dilations(after) == {1}
    require_equal(before, after, frames)


def test_two_dilated_convolutions_may_share_a_kernel_and_an_input():
    before = graph(
        "a = Conv<dilations = [2], pads = [2, 2]>(x, w) b = Conv<dilations = [3], pads = [3, 3]>(x, w) y = Add(a, b)"
    )
    require_equal(before, undilated(before))


def test_a_dilated_convolution_with_a_stride_stays():
    before = graph("y = Conv<dilations = [2], strides = [2]>(x, w)")
    assert dilations(undilated(before)) == {1, 2}
    require_equal(before, undilated(before))


@pytest.mark.parametrize("fixture", ["tiny_artifact", "tiny_waveglow", "tiny_diffwave"])
def test_every_graph_of_an_artifact_gives_the_same(fixture, request):
    require_equal_artifact(request.getfixturevalue(fixture))


def require_equal_artifact(root: Path) -> None:
    """Every graph of an artifact, in every precision, against its 2-D forms."""
    artifact = Artifact.open(root)
    hop_length = artifact.manifest.hop_length
    for entry in artifact.manifest.graphs:
        before = onnx.load(root / entry.file.path)
        feed = graph_feed(entry, hop_length)
        expected = run(before, feed)
        for after in (converted(before), undilated(before)):
            assert [*after.graph.input, *after.graph.output] == [*before.graph.input, *before.graph.output]
            sizes = fixed_sizes(after, batch=2, frames=32, hop_length=hop_length)
            assert cpu_nodes(after, sizes) == (), entry.name
            for wanted, got in zip(expected, run(after, feed), strict=True):
                if entry.precision == "fp32":
                    limit = 1e-6 * max(1, np.abs(wanted).max())
                    np.testing.assert_allclose(got, wanted, rtol=0, atol=limit)
                else:  # sums in another order round differently here and there
                    assert snr_db(wanted.reshape(-1), got.reshape(-1)) > 45, entry.name


@pytest.mark.parametrize("undilated", [False, True])
def test_fp16_in_2d_rounds_as_fp16_in_1d(tiny_artifact, undilated):
    """Judged by the twins, which round wherever FP16 would."""
    artifact = Artifact.open(tiny_artifact)
    for source in artifact.manifest.graphs:
        if source.precision != "fp32" or source.role not in ("offline", "stream", "batch"):
            continue
        feed = graph_feed(source, artifact.manifest.hop_length)
        # The graphs of the artifact are in 2-D already.
        narrow = fp16_graph(BuiltGraph(source, artifact.read(source.file)), [feed])
        entry = narrow.entry
        wide = with_2d_convolutions(narrow, undilated=undilated)
        assert (wide.entry.inputs, wide.entry.outputs) == (entry.inputs, entry.outputs)
        assert wide.entry.facts == entry.facts
        assert wide.entry.file.path == entry.file.path
        assert wide.entry.file.sha256 != entry.file.sha256
        fp32 = artifact.read(artifact.graph(entry.role, "fp32").file)
        (reference, *_) = run(onnx.load_from_string(fp32), feed)
        ratios = [
            snr_db(
                reference.reshape(-1), run(half_twin(onnx.load_from_string(form.data)), feed)[0].reshape(-1)
            )
            for form in (narrow, wide)
        ]
        assert abs(ratios[1] - ratios[0]) < 1.0, entry.name
