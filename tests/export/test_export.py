"""Export: the graph computes what the module computes, at every size, in the same bytes each time."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from voirs_vocoder.calibration.config import Int8Config
from voirs_vocoder.export.errors import ExportError
from voirs_vocoder.export.graphs.onnx_from_torch import onnx_from_torch
from voirs_vocoder.export.graphs.parity import activation_bytes_per_frame, parity_error
from voirs_vocoder.export.pipeline import ExportRequest, export_artifact
from voirs_vocoder.export.precisions import MakeOptions
from voirs_vocoder.export.quantize import quantize_artifact
from voirs_vocoder.reference_models.family import GraphSpec, TensorSpec
from voirs_vocoder.runtime import Artifact, InputError, Vocoder


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(4, 1, 3, padding=1)

    def forward(self, mel):
        return self.conv(mel)


class BranchOnLength(Small):
    def forward(self, mel):
        audio = self.conv(mel)
        return audio * 2 if audio.shape[2] // 4 * 4 > 16 else audio


class FixedLength(Small):
    def forward(self, mel):
        return self.conv(mel) + torch.zeros(1, 1, 24)


def spec_of(module):
    inputs = (TensorSpec("mel", ("batch", 4, "frames")),)
    return GraphSpec("offline", module.eval(), inputs, (TensorSpec("audio", ("batch", 1, "frames")),), 1, 1)


@pytest.fixture(scope="module")
def small_graph():
    torch.manual_seed(0)
    spec = spec_of(Small())
    return spec, onnx_from_torch(spec, {"model_type": "small"})


@pytest.mark.slow
def test_the_same_module_gives_the_same_bytes(small_graph):
    spec, model = small_graph
    again = onnx_from_torch(spec, {"model_type": "small"})
    assert again.SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)


def test_a_graph_tells_nothing_of_the_machine_that_made_it(small_graph, repository_root):
    data = small_graph[1].SerializeToString()
    assert str(repository_root).encode() not in data
    assert b"site-packages" not in data
    assert b".py" not in data


def test_every_size_of_a_dynamic_axis_is_parity_checked(small_graph):
    spec, model = small_graph
    assert parity_error(model, spec) < 1e-5


def test_a_graph_that_computes_something_else_is_refused(small_graph):
    spec, model = small_graph
    wrong = onnx.ModelProto()
    wrong.CopyFrom(model)
    bias = next(tensor for tensor in wrong.graph.initializer if tensor.name == "conv.bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + 1e-3, bias.name))
    with pytest.raises(ExportError, match="differs from PyTorch"):
        parity_error(wrong, spec)


def test_an_axis_that_the_exporter_narrows_is_refused():
    with pytest.raises(ExportError, match=r"axis 'frames' of input 'mel' was narrowed to \[20, "):
        onnx_from_torch(spec_of(BranchOnLength()), {})


def test_an_axis_that_the_exporter_fixes_is_refused():
    with pytest.raises(ExportError, match="offline"):
        onnx_from_torch(spec_of(FixedLength()), {})


def test_activation_memory_is_that_of_the_widest_stage(tiny_artifact):
    """At 16 steps a frame, 2 channels: the stage's input, two branches and the sum live together, and little else."""
    graph = Artifact.open(tiny_artifact).graph("offline", "fp32", None)
    tensor_bytes = 16 * 2 * 4
    assert 3 * tensor_bytes <= graph.facts.activation_bytes_per_frame <= 6 * tensor_bytes


def test_activation_memory_counts_what_lives_at_once():
    """mel (4 floats a frame) and a (8) live together, then a (8) and b (1); weights do not count."""
    nodes = [
        helper.make_node("Conv", ["mel", "w"], ["a"], pads=[1, 1]),
        helper.make_node("Conv", ["a", "v"], ["audio"], pads=[1, 1]),
    ]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("mel", TensorProto.FLOAT, ["batch", 4, "frames"])],
            [helper.make_tensor_value_info("audio", TensorProto.FLOAT, ["batch", 1, "frames"])],
            [
                onnx.numpy_helper.from_array(np.zeros((8, 4, 3), np.float32), "w"),
                onnx.numpy_helper.from_array(np.zeros((1, 8, 3), np.float32), "v"),
            ],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
    )
    assert activation_bytes_per_frame(model, 1) == (4 + 8) * 4


def test_the_artifact_holds_every_precision_and_both_int8_targets(tiny_artifact):
    manifest = Artifact.open(tiny_artifact).manifest
    assert [graph.name for graph in manifest.graphs] == [
        "offline.fp32", "offline.fp16", "offline.int8.cpu", "offline.int8.tensorrt",
        "stream.fp32", "stream.fp16", "stream.int8.cpu", "stream.int8.tensorrt",
        "extrapolator.fp32", "extrapolator.fp16", "extrapolator.int8.cpu", "extrapolator.int8.tensorrt",
        "batch.fp32", "batch.fp16", "batch.int8.cpu", "batch.int8.tensorrt",
    ]  # fmt: skip
    assert all(error is None for _, error in Artifact.open(tiny_artifact).verify())
    assert manifest.calibration is not None
    assert len(manifest.calibration.recordings) == 8
    assert manifest.mel.id.startswith("hifigan-8000hz")


def test_each_graph_says_what_it_is(tiny_artifact):
    artifact = Artifact.open(tiny_artifact)
    for graph in artifact.manifest.graphs:
        model = onnx.load_from_string(artifact.read(graph.file))
        if graph.role == "extrapolator":
            continue
        properties = {entry.key: entry.value for entry in model.metadata_props}
        assert properties == {
            "model_type": "hifigan", "sample_rate": "8000", "hop_length": "16", "n_mels": "10",
            "mel_convention": artifact.manifest.mel.id, "voirs_format": "1",
        }  # fmt: skip
        more = {"stream": (["begin", "end", "state"], ["next_state"]), "batch": (["lengths"], [])}.get(
            graph.role, ([], [])
        )
        assert [value.name for value in model.graph.input] == ["mel", *more[0]]
        assert [value.name for value in model.graph.output] == ["audio", *more[1]]
        assert model.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT
        assert model.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT


@pytest.mark.slow
def test_the_same_checkpoint_gives_the_same_artifact(
    tiny_artifact, tiny_checkpoint, calibration_folder, tmp_path
):
    request = ExportRequest(
        "hifigan", tiny_checkpoint, None, tmp_path / "again", ("fp32", "fp16", "int8"), calibration_folder
    )
    export_artifact(request)
    first, again = (
        {graph.name: graph.file.sha256 for graph in Artifact.open(root).manifest.graphs}
        for root in (tiny_artifact, tmp_path / "again")
    )
    assert first == again


def test_int8_needs_calibration_and_nothing_else_takes_it(tmp_path):
    with pytest.raises(InputError, match="needs calibration"):
        ExportRequest("hifigan", tmp_path, None, tmp_path, ("int8",), None)
    with pytest.raises(InputError, match="is for precisions that need it"):
        ExportRequest("hifigan", tmp_path, None, tmp_path, ("fp32",), tmp_path)


@pytest.mark.slow
def test_quantize_adds_to_an_artifact_what_export_would_have_made(
    tiny_artifact, tiny_checkpoint, calibration_folder, tmp_path
):
    root = tmp_path / "plain"
    export_artifact(ExportRequest("hifigan", tiny_checkpoint, None, root))
    quantize_artifact(root, calibration_folder)
    graphs = {graph.name: graph.file.sha256 for graph in Artifact.open(root).manifest.graphs}
    for graph in Artifact.open(tiny_artifact).manifest.graphs:
        if graph.precision == "int8":
            assert graphs[graph.name] == graph.file.sha256
    with pytest.raises(InputError, match="force=True"):
        quantize_artifact(root, calibration_folder)
    with Vocoder.load(root, precision="int8") as vocoder:
        assert vocoder.metadata.precision == "int8"


@pytest.mark.slow
def test_int8_is_made_for_the_targets_asked_for_and_without_the_search_for_noise(
    tiny_checkpoint, calibration_folder, tmp_path
):
    root = tmp_path / "artifact"
    export_artifact(ExportRequest("hifigan", tiny_checkpoint, None, root, stream=False))
    config = Int8Config(max_float_share=0.0)
    artifact = quantize_artifact(root, calibration_folder, options=MakeOptions(targets=("cpu",), int8=config))
    graphs = [graph for graph in artifact.manifest.graphs if graph.precision == "int8"]
    assert {(graph.role, graph.target) for graph in graphs} == {("offline", "cpu"), ("batch", "cpu")}
    (graph,) = (graph for graph in graphs if graph.role == "offline")
    assert not graph.details["noise_measured"]
    assert graph.details["float_share"] == 0
