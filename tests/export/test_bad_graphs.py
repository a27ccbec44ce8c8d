"""Graphs of an artifact that ONNX, ONNX Runtime or a derivation refuses: one line, and nothing is changed."""

from __future__ import annotations

import json
import shutil

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from voirs_vocoder.calibration import runs
from voirs_vocoder.export.artifact.writer import file_entry
from voirs_vocoder.export.errors import ExportError
from voirs_vocoder.export.graphs.built import BuiltGraph
from voirs_vocoder.export.passes.read_model import read_model
from voirs_vocoder.export.streaming.derived import StreamRefusedError
from voirs_vocoder.export.streaming.stream_graph import stream_graph
from voirs_vocoder.export.tensorrt.shapes import tensors_from_onnx
from voirs_vocoder.runtime import Artifact, ArtifactError, InputError
from voirs_vocoder.runtime.artifact.manifest import decode_manifest, encode_manifest


def set_operator(model):
    model.graph.node[0].op_type = "Nonsense"


def read_the_weight_as_input(model):
    model.graph.node[0].input[0] = model.graph.node[0].input[1]


def break_shapes(model):
    del model.graph.initializer[0].dims[-1]


def drop_weight(model):
    del model.graph.initializer[0]


def shorten(model):
    """Half of the samples: valid ONNX, but not what the manifest states."""
    model.graph.node[-1].output[0] = "whole"
    nodes = [helper.make_node("Slice", ["whole", "first", "far", "last", "two"], ["audio"], "every second")]
    model.graph.node.extend(nodes)
    for name, value in (("first", 0), ("far", 1 << 40), ("last", 2), ("two", 2)):
        model.graph.initializer.append(numpy_helper.from_array(np.array([value]), name))


def add_domain(model):
    model.graph.node[0].domain = "custom"


def no_version(model):
    del model.opset_import[:]


def name_twice(model):
    model.graph.node[0].name = model.graph.node[1].name


BAD = [set_operator, break_shapes, drop_weight, read_the_weight_as_input, shorten, add_domain, no_version]


@pytest.fixture
def artifact_with(tiny_artifact, tmp_path):
    """Makes a copy of the tiny artifact whose offline FP32 graph was changed, and recorded as if it were right."""

    def make(change):
        root = tmp_path / "artifact"
        shutil.copytree(tiny_artifact, root)
        artifact = Artifact.open(root)
        entry = artifact.graph("offline", "fp32")
        model = onnx.load_from_string(artifact.read(entry.file))
        change(model)
        data = model.SerializeToString()
        (root / entry.file.path).write_bytes(data)
        changed = msgspec.structs.replace(entry, file=file_entry(entry.file.path, data))
        graphs = tuple(changed if graph == entry else graph for graph in artifact.manifest.graphs)
        manifest = msgspec.structs.replace(artifact.manifest, graphs=graphs)
        (root / "manifest.json").write_bytes(encode_manifest(manifest))
        return root

    return make


@pytest.mark.parametrize("change", [*BAD, name_twice], ids=lambda change: change.__name__)
def test_quantize_refuses_a_graph_that_does_not_run(artifact_with, calibration_folder, refused, change):
    root = artifact_with(change)
    line = refused("quantize", root, "--calibration", calibration_folder, "--force")
    assert len(line) < 900


@pytest.mark.parametrize("change", BAD, ids=lambda change: change.__name__)
def test_vocode_refuses_it_too(artifact_with, refused, tmp_path, change):
    root = artifact_with(change)
    np.save(tmp_path / "mel.npy", np.full((10, 20), -5.0, np.float32))
    refused("vocode", root, tmp_path / "mel.npy", "--output", tmp_path / "out.wav")


def test_an_engine_is_not_built_from_it(artifact_with, refused):
    pytest.importorskip("tensorrt_rtx")
    refused("build-engine", artifact_with(add_domain), "--precision", "fp32", "--compute-capability", "86")


@pytest.mark.parametrize("change", BAD[:3], ids=lambda change: change.__name__)
def test_a_model_that_onnx_refuses_is_an_artifact_error(artifact_with, change):
    root = artifact_with(change)
    data = (root / "graphs" / "offline.fp32.onnx").read_bytes()
    with pytest.raises(ArtifactError, match="the graph: not a valid ONNX model"):
        read_model(data, "the graph")


def test_what_onnx_runtime_does_not_take_is_one_error_of_ours():
    node = helper.make_node("Nonsense", ["x"], ["y"])
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in "xy"]
    model = helper.make_model(helper.make_graph([node], "g", infos[:1], infos[1:]))
    feed = {"x": np.zeros(3, np.float32)}
    for run in (lambda: runs.run_all(model, [feed]), lambda: list(runs.observe(model, ["y"], [feed]))):
        with pytest.raises(InputError, match="ONNX Runtime does not take the graph"):
            run()


def test_a_graph_whose_time_is_unclear_is_refused_by_the_streaming_pass(tiny_artifact):
    """The mean over time has no time axis, so the output has another number of axes in time than the input."""
    artifact = Artifact.open(tiny_artifact)
    entry = artifact.graph("offline", "fp32")
    model = onnx.load_from_string(artifact.read(entry.file))
    del model.graph.node[:]
    del model.graph.initializer[:]
    del model.graph.value_info[:]
    model.graph.node.extend(
        [
            helper.make_node("Transpose", ["mel"], ["turned"], "turn", perm=[0, 2, 1]),
            helper.make_node("MatMul", ["turned", "mel"], ["audio"], "square"),
        ]
    )
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    for name in ("b", "t", "u"):
        model.graph.output[0].type.tensor_type.shape.dim.add(dim_param=name)
    with pytest.raises(StreamRefusedError, match="only one can be time"):
        stream_graph(BuiltGraph(entry, model.SerializeToString()), 16)


def test_an_element_type_that_no_engine_has_is_refused():
    for kind in (TensorProto.DOUBLE, TensorProto.STRING, 77):
        value = helper.make_tensor_value_info("mel", TensorProto.FLOAT, ["batch", "frames"])
        value.type.tensor_type.elem_type = kind
        with pytest.raises(ExportError, match=f"mel has the element type {kind} of ONNX"):
            tensors_from_onnx([value])


# Numbers of a manifest.


@pytest.fixture
def document(tiny_artifact):
    """The tiny artifact's manifest, as decoded JSON."""
    return json.loads((tiny_artifact / "manifest.json").read_bytes())


def engine(document):
    shape = [1, 10, 20]
    return {
        "role": "offline", "precision": "fp32", "backend": "tensorrt-rtx", "backend_version": "1",
        "cuda_version": "13", "operating_system": "linux", "machine": "x86_64", "compute_capabilities": [86],
        "gpu_name": None, "driver_version": None, "flags": [],
        "profiles": [{"minimum": {"mel": shape}, "optimum": {"mel": shape}, "maximum": {"mel": shape}}],
        "inputs": document["graphs"][0]["inputs"], "outputs": document["graphs"][0]["outputs"], "hop_length": 16,
        "graph_sha256": "0" * 64, "file": {"path": "engines/e", "sha256": "0" * 64, "size_bytes": 1},
    }  # fmt: skip


def at(document, path):
    """The container of the last step of a path, such as `graphs.0.opset`, and that step."""
    *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    for step in steps:
        document = document[step]
    return document, last


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("format_version", -5),
        ("format_version", 0),
        ("hop_length", 1 << 31),
        ("hop_length", 32),
        ("sample_rate", 44100),
        ("mel.n_fft", 1 << 62),
        ("mel.n_mels", 1 << 20),
        ("mel.hop_length", 8),
        ("context_frames", 1 << 20),
        ("look_ahead_frames", 1 << 20),
        ("look_ahead_samples", 1 << 40),
        ("graphs.0.opset", -1),
        ("graphs.0.file.size_bytes", 1 << 60),
        ("graphs.0.inputs.0.shape.1", 1 << 31),
        ("graphs.0.inputs.0.shape.1", -1),
        ("graphs.0.inputs.0.shape.2", "frames*0"),
        ("graphs.0.inputs.0.shape.2", "frames*" + "9" * 5000),
        ("graphs.0.inputs.0.shape.2", "time"),
        ("graphs.0.inputs.0.dtype", "object"),
        ("graphs.0.outputs.0.dtype", "int64"),
        ("graphs.0.inputs.0.shape", [1] * 99),
        ("graphs.0.facts.state_size", 1 << 31),
        ("graphs.0.facts.delay_samples", 1 << 22),
        ("engines.0.hop_length", 0),
        ("engines.0.profiles.0.minimum.mel", [1, 10]),
        ("engines.0.profiles.0.maximum.mel", [1, 10, 0]),
        ("engines.0.profiles.0.maximum.mel", [1, 10, 5]),
        ("engines.0.profiles.0.maximum", {"other": [1, 10, 20]}),
        ("engines.0.profiles.0", {"minimum": {}, "optimum": {}, "maximum": {}}),
        ("engines.0.inputs.0.shape", ["batch", "frames"]),
    ],
)
def test_a_number_of_a_manifest_without_bound_is_refused_by_every_command(
    document, tmp_path, refused, path, value
):
    document["engines"] = [engine(document)]
    decode_manifest(json.dumps(document).encode(), "before")
    # The graphs and the engine share the objects of their inputs.
    changed = json.loads(json.dumps(document))
    container, last = at(changed, path)
    container[last] = value
    (tmp_path / "artifact").mkdir()
    (tmp_path / "artifact" / "manifest.json").write_text(json.dumps(changed))
    line = refused("inspect", tmp_path / "artifact")
    assert "manifest.json" in line
