"""Names and metadata: what a pattern can say, and what a graph must not tell."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from voirs_vocoder.export.errors import ExportError
from voirs_vocoder.export.passes import (
    NameNodesPass,
    SetModelMetadataPass,
    StripExporterMetadataPass,
    run_passes,
)


def conv_model() -> onnx.ModelProto:
    """Two convolutions that share one module, a split and activations, named and annotated as exporters do."""
    nodes = [
        helper.make_node("Conv", ["mel", "pre.weight", "pre.bias"], ["conv1d"], name="node_conv"),
        helper.make_node(
            "LeakyRelu", ["conv1d"], ["relu"], name="node_relu", doc_string="File /home/me/a.py"
        ),
        helper.make_node("Conv", ["relu", "blocks.0.weight"], ["conv1d_1"], name="node_conv"),
        helper.make_node("Conv", ["conv1d_1", "blocks.0.weight"], ["conv1d_2"]),
        helper.make_node("Split", ["conv1d_2"], ["left", "right"], axis=1, num_outputs=2),
        helper.make_node("Add", ["left", "right"], ["sum"]),
        helper.make_node("LeakyRelu", ["sum"], ["audio"]),
    ]
    for node in nodes:
        node.metadata_props.add(key="pkg.torch.onnx.stack_trace", value="/home/me/a.py line 3")
    nodes[1].attribute.append(helper.make_attribute("alpha", 0.1, doc_string="slope"))
    initializers = [
        numpy_helper.from_array(np.full(shape, 0.5, np.float32), name)
        for name, shape in (("pre.weight", (4, 4, 1)), ("pre.bias", (4,)), ("blocks.0.weight", (4, 4, 1)))
    ]
    initializers[0].doc_string = "made on host.example"
    shape = ["batch", 4, "frames"]
    inner = helper.make_tensor_value_info("conv1d", TensorProto.FLOAT, shape)
    inner.metadata_props.add(key="pkg.torch.onnx.original_node_name", value="conv1d")
    graph = helper.make_graph(
        nodes,
        "main_graph",
        [helper.make_tensor_value_info("mel", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("audio", TensorProto.FLOAT, ["batch", 2, "frames"])],
        initializers,
        value_info=[inner],
        doc_string="graph",
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    model.producer_name, model.producer_version = "pytorch", "2.13.0+cpu"
    model.metadata_props.add(key="onnxsim.removed_nodes", value="")
    return model


def test_nodes_bear_the_names_of_their_modules_or_operators():
    named = run_passes(conv_model(), [NameNodesPass()])
    assert [node.name for node in named.graph.node] == [
        *("pre", "LeakyRelu.0", "blocks.0", "blocks.0/1", "Split.0", "Add.0", "LeakyRelu.1")
    ]
    assert list(named.graph.node[4].output) == ["Split.0.output.0", "Split.0.output.1"]
    assert named.graph.node[2].output[0] == "blocks.0.output"
    assert [named.graph.input[0].name, named.graph.output[0].name] == ["mel", "audio"]
    assert [tensor.name for tensor in named.graph.initializer] == [
        "pre.weight",
        "pre.bias",
        "blocks.0.weight",
    ]


def test_naming_twice_names_once():
    once = run_passes(conv_model(), [NameNodesPass()])
    assert run_passes(once, [NameNodesPass()]).SerializeToString() == once.SerializeToString()


def test_a_module_called_like_an_operator_does_not_take_its_name_away():
    model = conv_model()
    for tensor in model.graph.initializer:
        tensor.name = tensor.name.replace("pre.", "LeakyRelu.1.")
    model.graph.node[0].input[1:] = ["LeakyRelu.1.weight", "LeakyRelu.1.bias"]
    names = [node.name for node in run_passes(model, [NameNodesPass()]).graph.node]
    assert names[0] == "LeakyRelu.1"
    assert names[-1] == "LeakyRelu.1/1"


def test_an_output_that_a_node_leaves_out_stays_left_out():
    graph = helper.make_graph(
        [helper.make_node("LayerNormalization", ["x", "scale"], ["y", "", "inverse"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 8])],
        [helper.make_tensor_value_info("inverse", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ones(8, np.float32), "scale")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    named = run_passes(model, [NameNodesPass()]).graph.node[0]
    assert list(named.output) == ["LayerNormalization.0.output.0", "", "inverse"]


def test_nothing_of_the_exporting_machine_remains_in_the_bytes():
    content = run_passes(conv_model(), [StripExporterMetadataPass()]).SerializeToString()
    for telltale in (
        b"home",
        b"a.py",
        b"pkg.torch",
        b"onnxsim",
        b"pytorch",
        b"2.13",
        b"host.example",
        b"slope",
    ):
        assert telltale not in content


def test_stripping_keeps_weights_and_computation():
    model, stripped = conv_model(), run_passes(conv_model(), [StripExporterMetadataPass()])
    assert [node.op_type for node in stripped.graph.node] == [node.op_type for node in model.graph.node]
    for before, after in zip(model.graph.initializer, stripped.graph.initializer, strict=True):
        np.testing.assert_array_equal(numpy_helper.to_array(before), numpy_helper.to_array(after))


def test_weights_outside_the_graph_are_refused(tmp_path):
    path = tmp_path / "m.onnx"
    onnx.save(conv_model(), path, save_as_external_data=True, size_threshold=0)
    outside = onnx.load(path, load_external_data=False)
    with pytest.raises(ExportError, match="weights inside the model"):
        run_passes(outside, [StripExporterMetadataPass()])


def test_model_metadata_is_merged_and_sorted():
    passes = [SetModelMetadataPass({"b": "1", "c": "2"}), SetModelMetadataPass({"c": "3", "a": "4"})]
    model = run_passes(conv_model(), [StripExporterMetadataPass(), *passes])
    assert [(p.key, p.value) for p in model.metadata_props] == [("a", "4"), ("b", "1"), ("c", "3")]


@pytest.mark.parametrize("properties", [{"": "x"}, {"sample_rate": 22050}])
def test_model_metadata_that_is_no_text_is_refused(properties):
    with pytest.raises(ExportError, match="convert it with str"):
        SetModelMetadataPass(properties)


def test_passes_leave_the_given_model_alone_and_give_the_same_bytes_again():
    model = conv_model()
    before = model.SerializeToString()
    passes = [StripExporterMetadataPass(), NameNodesPass(), SetModelMetadataPass({"model_type": "hifigan"})]
    first, second = (run_passes(model, passes).SerializeToString() for _ in range(2))
    assert first == second
    assert model.SerializeToString() == before


def test_a_model_that_contradicts_its_shapes_is_refused():
    model = conv_model()
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 3
    with pytest.raises(ExportError, match="shapes can be inferred"):
        run_passes(model, [NameNodesPass()])
