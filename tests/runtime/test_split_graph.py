"""Graphs read as a stream: the weights beside the skeleton are those of the file, and ONNX Runtime works with them."""

from __future__ import annotations

import hashlib
import io

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from voirs_vocoder.runtime.artifact.reading import Artifact
from voirs_vocoder.runtime.artifact.split_graph import WEIGHTS_LOCATION, split_graph
from voirs_vocoder.runtime.config import SessionConfig
from voirs_vocoder.runtime.errors import ArtifactError
from voirs_vocoder.runtime.providers.onnxruntime import OrtSession


@pytest.fixture(scope="module")
def model():
    """A convolution followed by a product with a constant, which ONNX Runtime would fold into its weight."""
    rng = np.random.default_rng(0)
    weight = numpy_helper.from_array(rng.normal(0, 0.1, (64, 16, 17)).astype(np.float32), "conv.weight")
    scale = numpy_helper.from_array(rng.normal(0, 1, (1, 64, 1)).astype(np.float32), "scale")
    table = numpy_helper.from_array(np.arange(1 << 14), "table")
    nodes = [
        helper.make_node("Conv", ["mel", "conv.weight"], ["convolved"], pads=[8, 8]),
        helper.make_node("Mul", ["convolved", "scale"], ["scaled"]),
        helper.make_node("Shape", ["table"], ["unused"]),
        helper.make_node("Tanh", ["scaled"], ["audio"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("mel", TensorProto.FLOAT, ["batch", 16, "frames"])],
        [helper.make_tensor_value_info("audio", TensorProto.FLOAT, ["batch", 64, "frames"])],
        [weight, scale, table],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_large_float_weights_lie_beside_a_skeleton_of_everything_else(model):
    data = model.SerializeToString()
    split = split_graph(io.BytesIO(data), len(data))
    assert split.sha256 == hashlib.sha256(data).hexdigest()
    assert list(split.weights) == ["conv.weight"]
    np.testing.assert_array_equal(
        split.weights["conv.weight"], numpy_helper.to_array(model.graph.initializer[0])
    )
    skeleton = onnx.load_from_string(split.skeleton)
    (reference,) = skeleton.graph.initializer[0].external_data
    assert (reference.key, reference.value) == ("location", WEIGHTS_LOCATION)
    del skeleton.graph.initializer[0]
    expected = onnx.ModelProto()
    expected.CopyFrom(model)
    del expected.graph.initializer[0]
    assert skeleton == expected


def test_onnx_runtime_works_with_the_weights_beside_the_skeleton(model, tiny_artifact):
    data = model.SerializeToString()
    entry = Artifact.open(tiny_artifact).graph("offline", "fp32")
    session = OrtSession(split_graph(io.BytesIO(data), len(data)), entry, "cpu", SessionConfig())
    mel = np.random.default_rng(1).normal(0, 1, (1, 16, 30)).astype(np.float32)
    expected = onnxruntime.InferenceSession(data).run(None, {"mel": mel})[0]
    np.testing.assert_allclose(session.run({"mel": mel})["audio"], expected, atol=1e-5)


def test_kernels_of_2d_convolutions_stay_in_the_graph(tiny_artifact):
    """ONNX Runtime reorders them while it optimizes the graph, before it looks for weights beside it."""
    rng = np.random.default_rng(0)
    kernels = [rng.standard_normal((64, channels, 1, 7), np.float32) for channels in (16, 64)]
    graph = helper.make_graph(
        [
            helper.make_node("Unsqueeze", ["mel", "axis"], ["wide"]),
            helper.make_node("Conv", ["wide", "kernel.0"], ["hidden"], pads=[0, 3, 0, 3]),
            helper.make_node("Conv", ["hidden", "kernel.1"], ["audio"], pads=[0, 3, 0, 3]),
        ],
        "wide",
        [helper.make_tensor_value_info("mel", TensorProto.FLOAT, ["batch", 16, "frames"])],
        [helper.make_tensor_value_info("audio", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(np.array([2]), "axis"),
            *(numpy_helper.from_array(kernel, f"kernel.{i}") for i, kernel in enumerate(kernels)),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    data = model.SerializeToString()
    split = split_graph(io.BytesIO(data), len(data))
    assert not split.weights
    session = OrtSession(split, Artifact.open(tiny_artifact).graph("offline", "fp32"), "cpu", SessionConfig())
    mel = rng.standard_normal((1, 16, 30), np.float32)
    expected = onnxruntime.InferenceSession(data).run(None, {"mel": mel})[0]
    np.testing.assert_allclose(session.run({"mel": mel})["audio"], expected, rtol=0, atol=1e-4)


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(1, 70_000))
def test_a_graph_that_is_cut_off_is_refused(model, cut):
    data = model.SerializeToString()
    with pytest.raises(ArtifactError):
        split_graph(io.BytesIO(data[:-cut]), len(data))


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=200))
def test_bytes_that_are_no_graph_are_refused_or_kept_as_they_are(data):
    try:
        split = split_graph(io.BytesIO(data), len(data))
    except ArtifactError:
        return
    assert not split.weights


def test_a_large_artifact_with_a_changed_byte_is_refused(tiny_artifact):
    artifact = Artifact.open(tiny_artifact)
    entry = artifact.graph("offline", "fp32")
    assert artifact.read_split(entry.file).sha256 == entry.file.sha256
    file = msgspec.structs.replace(entry.file, sha256="0" * 64)
    with pytest.raises(ArtifactError, match="differs from what the manifest recorded"):
        artifact.read_split(file)
