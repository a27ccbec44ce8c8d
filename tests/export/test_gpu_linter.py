"""The linter finds what a GPU provider in strict mode would refuse, and finds nothing in what the export writes."""

from __future__ import annotations

import onnx
import pytest

from voirs_vocoder.export.errors import ExportError
from voirs_vocoder.export.passes import Conv2dFromConv1dPass, NameNodesPass, run_passes
from voirs_vocoder.export.passes.gpu_linter import cpu_nodes, fixed_sizes, require_gpu_graph
from voirs_vocoder.runtime import Artifact

SIZES = {"batch": 2, "frames": 8}


def graph(body: str, inputs: str = "float[batch,4,frames] mel", outputs: str = "float[batch,a,b] y"):
    """A model in ONNX's text form, its nodes named."""
    text = f'<ir_version: 10, opset_import: ["" : 20]> g ({inputs}) => ({outputs}) {{ {body} }}'
    return run_passes(onnx.parser.parse_model(text), [NameNodesPass()])


def found(model: onnx.ModelProto, sizes: dict[str, int] | None = None) -> dict[str, str]:
    return {node.op_type: node.reason for node in cpu_nodes(model, SIZES if sizes is None else sizes)}


PLACES = (
    "s = Shape<start = 2, end = 3>(mel) n = Squeeze(s) z = Constant<value_int = 0>() o = Constant<value_int = 1>() "
    "r = Range(z, n, o) c = Cast<to = 1>(r) y = Add(mel, c)"
)


def test_shape_arithmetic_folds_once_the_dimensions_are_fixed():
    assert found(graph(PLACES)) == {}


def test_shape_arithmetic_on_dynamic_dimensions_is_found_with_what_follows():
    left = found(graph(PLACES), {"batch": 2})
    assert set(left) == {"Shape", "Squeeze", "Range", "Cast", "Add"}
    assert "shape of a tensor" in left["Shape"]
    assert "computed on the CPU" in left["Range"]


def test_integers_that_follow_the_inputs_stay_on_the_gpu():
    model = graph(
        "o = Constant<value_ints = [1]>() t = Constant<value_ints = [2]>() p = Constant<value_ints = [0, 1, 2, 3]>() "
        "k = Mul(lengths, t) l = Unsqueeze(k, o) m = Less(p, l) c = Cast<to = 1>(m) u = Unsqueeze(c, o) "
        "y = Add(mel, u)",
        "float[batch,4,4] mel, int64[batch] lengths",
    )
    assert found(model) == {}


def test_a_shape_that_an_input_decides_makes_the_gpu_wait():
    left = found(
        graph(
            "z = Constant<value_int = 0>() o = Constant<value_int = 1>() r = Range(z, count, o) "
            "c = Cast<to = 1>(r) y = Add(mel, c)",
            "float[batch,4,frames] mel, int64 count",
        )
    )
    assert "must be a constant" in left["Range"]


def test_a_type_without_a_kernel_is_found():
    left = found(
        graph(
            "c = Cast<to = 7>(mel) p = Constant<value_ints = [0, 0, 1, 0, 0, 0]>() d = Pad(c, p) y = Cast<to = 1>(d)"
        )
    )
    assert left["Pad"] == "it has no CUDA kernel for int64"
    assert "computed on the CPU" in left["Cast"]


def test_an_operator_without_a_kernel_is_found():
    left = found(graph("y = Hardmax(mel)", outputs="float[batch,4,frames] y"))
    assert left == {"Hardmax": "no CUDA kernel is known for this operator"}


def test_an_uneven_padding_of_a_transposed_convolution_is_found():
    body = (
        "s = Constant<value_ints = [4, 4, 5]>() w = ConstantOfShape<value = float[1] {0.5}>(s) "
        "y = ConvTranspose<strides = [2], pads = [PADS]>(mel, w)"
    )
    assert found(graph(body.replace("PADS", "1, 1"))) == {}
    assert "padding" in found(graph(body.replace("PADS", "2, 1")))["ConvTranspose"]


def test_a_graph_that_does_not_load_is_one_line():
    with pytest.raises(
        ExportError, match=r"^the graph must load with the sizes \{'frames': 3\}, got .*"
    ) as caught:
        cpu_nodes(
            graph("b = Add(mel, v) y = Relu(b)", "float[1,4,frames] mel, float[1,4,2] v"), {"frames": 3}
        )
    assert "\n" not in str(caught.value)


def test_an_export_of_such_a_graph_is_refused():
    model = graph("y = Hardmax(mel)", outputs="float[batch,4,frames] y")
    with pytest.raises(
        ExportError, match=r"offline\.fp32: a GPU must be able to run every node, got 1 .*Hardmax"
    ):
        require_gpu_graph("offline.fp32", model, 256)


def test_the_names_of_dimensions_get_their_sizes():
    inputs = {
        "mel": ["batch", 4, "frames"],
        "noise": ["batch", 8, "32*frames"],
        "audio": ["batch", 1, "samples"],
    }
    values = [onnx.helper.make_tensor_value_info(name, 1, shape) for name, shape in inputs.items()]
    model = onnx.helper.make_model(onnx.helper.make_graph([], "g", values, []))
    sizes = fixed_sizes(model, batch=2, frames=3, hop_length=256)
    assert sizes == {"batch": 2, "frames": 3, "32*frames": 96, "samples": 768}


@pytest.mark.parametrize("fixture", ["tiny_artifact", "tiny_waveglow", "tiny_diffwave"])
def test_a_gpu_takes_every_graph_of_an_artifact_whole(fixture, request):
    root = request.getfixturevalue(fixture)
    manifest = Artifact.open(root).manifest
    for entry in manifest.graphs:
        model = onnx.load(root / entry.file.path)
        for batch, frames in ((1, 1), (1, 16), (4, 64)):
            sizes = fixed_sizes(model, batch=batch, frames=frames, hop_length=manifest.hop_length)
            for form in (model, run_passes(model, [Conv2dFromConv1dPass()])):
                assert cpu_nodes(form, sizes) == (), entry.name
