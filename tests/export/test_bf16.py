"""BF16 as a precision: what stays FP32, what OpenVINO computes, streams, and refusals where it cannot run."""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from functools import partial

import msgspec
import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto

from voirs_vocoder.export.artifact.change import change_artifact
from voirs_vocoder.export.cli import main
from voirs_vocoder.export.derive import DerivationPlan, derive_graphs
from voirs_vocoder.export.engines import build_engines
from voirs_vocoder.export.errors import ExportError
from voirs_vocoder.export.graphs.bf16 import bf16_graph
from voirs_vocoder.export.graphs.built import BuiltGraph
from voirs_vocoder.export.passes import NameNodesPass, run_passes
from voirs_vocoder.export.pipeline import ExportRequest, export_artifact
from voirs_vocoder.export.precisions import get_precision, precision_of_model
from voirs_vocoder.export.quantize import fp32_source, open_fp32
from voirs_vocoder.export.tensorrt import EngineConfig
from voirs_vocoder.export.tuning.machine import candidate_settings
from voirs_vocoder.export.validation.candidates import cpu_candidates
from voirs_vocoder.runtime import Artifact, InputError, ProviderError, SessionConfig, Vocoder
from voirs_vocoder.runtime.artifact.axes import axis_size
from voirs_vocoder.runtime.machine import Processor, read_processor
from voirs_vocoder.runtime.metrics import snr_db
from voirs_vocoder.runtime.progress import silent
from voirs_vocoder.runtime.providers import get_provider, provider

ROW = get_precision("bf16")
FRAMES = 77
FAMILIES = ["hifigan", *(pytest.param(name, marks=pytest.mark.slow) for name in ("waveglow", "diffwave"))]
needs_bf16 = pytest.mark.skipif(
    get_provider("openvino").bf16_problem() is not None or get_provider("openvino").problem() is not None,
    reason="needs OpenVINO and a CPU with BF16 instructions",
)


@pytest.fixture(scope="module")
def hifigan(tiny_checkpoint, tmp_path_factory):
    root = tmp_path_factory.mktemp("bf16") / "artifact"
    export_artifact(ExportRequest("hifigan", tiny_checkpoint, None, root, ("fp32", "bf16")))
    return root


@pytest.fixture(scope="module")
def waveglow(tiny_waveglow, tmp_path_factory):
    return with_bf16(tiny_waveglow, tmp_path_factory.mktemp("bf16") / "artifact")


@pytest.fixture(scope="module")
def diffwave(tiny_diffwave, tmp_path_factory):
    return with_bf16(tiny_diffwave, tmp_path_factory.mktemp("bf16") / "artifact")


def with_bf16(source, root):
    """A copy of an FP32 artifact, with the BF16 graphs that its export would make."""
    shutil.copytree(source, root)

    def edit(artifact):
        manifest = artifact.manifest
        mel = np.random.default_rng(0).uniform(0, 1, (manifest.mel.n_mels, 8)).astype(np.float32)
        fp32 = [fp32_source(artifact, graph) for graph in manifest.graphs if "bf16" in graph.keep_float]
        plan = DerivationPlan(("bf16",), [mel], None, stream=True, batch=True)
        graphs = derive_graphs(manifest, fp32, plan, partial(open_fp32, artifact), silent)
        entries = (*manifest.graphs, *(graph.entry for graph in graphs))
        changed = msgspec.structs.replace(manifest, graphs=entries)
        return changed, {graph.entry.file.path: graph.data for graph in graphs}

    change_artifact(root, edit)
    return root


def mel_of(vocoder, frames=FRAMES):
    low, high = (0, 1) if vocoder.metadata.family == "diffwave" else (-8, 0)
    shape = (vocoder.metadata.convention.n_mels, frames)
    return np.random.default_rng(0).uniform(low, high, shape).astype(np.float32)


def audio_of(vocoder, frames=FRAMES):
    return vocoder.vocode(mel_of(vocoder, frames)).samples[0]


def executed_precisions(data, entry, hop_length, hint="f32"):
    """Number of layers by kind and by the precision that OpenVINO's compiled model executes them in."""
    import openvino

    core = openvino.Core()
    model = core.read_model(data, b"")
    axes = {
        tensor.name: [axis_size(axis, batch=1, frames=20, hop_length=hop_length) for axis in tensor.shape]
        for tensor in entry.inputs
    }
    model.reshape(axes)
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": hint})
    found = defaultdict(Counter)
    for layer in compiled.get_runtime_model().get_ordered_ops():
        facts = layer.get_rt_info()
        found[facts["layerType"].astype(str)][facts["runtimePrecision"].astype(str)] += 1
    return found


def twin_of(root):
    artifact = Artifact.open(root)
    return next(
        each for each in cpu_candidates(artifact) if (each.precision, each.provider) == ("bf16", "cpu")
    )


def test_the_artifact_has_bf16_graphs_of_every_role(hifigan):
    graphs = {
        graph.name: graph for graph in Artifact.open(hifigan).manifest.graphs if graph.precision == "bf16"
    }
    assert set(graphs) == {"offline.bf16", "stream.bf16", "batch.bf16"}
    for graph in graphs.values():
        assert graph.file.path == f"graphs/{graph.name}.onnx"
        assert precision_of_model(onnx.load(hifigan / graph.file.path)) == "bf16"
    # In FP32 their order of summation alone moves a sum to another BF16 number here and there.
    for role in ("stream.bf16", "batch.bf16"):
        assert (graphs[role].details["snr_db_against_offline"] or np.inf) >= ROW.same_graph_snr_db


def test_the_choice_of_fp32_nodes_keeps_its_budget_and_helps(hifigan):
    artifact = Artifact.open(hifigan)
    entry = artifact.graph("offline", "fp32", None)
    fp32 = BuiltGraph(entry, artifact.read_graph(entry))
    feed = {"mel": np.random.default_rng(1).uniform(-8, 0, (1, 10, 60)).astype(np.float32)}
    made = {share: bf16_graph(fp32, [feed], lambda *_: None, share) for share in (0.0, 0.06, 0.5)}
    details = {share: graph.entry.details for share, graph in made.items()}
    assert not details[0.0]["noise_measured"]
    assert details[0.0]["float_by_noise"] == ""
    for share, facts in details.items():
        assert facts["float_share"] <= share
    assert details[0.5]["twin_snr_db"] > details[0.0]["twin_snr_db"] + 3
    # Whatever is chosen, the sum after which nothing is convolved any more costs nothing in FP32.
    model = onnx.load_from_string(made[0.06].data)
    types = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    divided = next(node for node in model.graph.node if node.op_type == "Div")
    assert types[divided.output[0]] == TensorProto.FLOAT


def test_the_same_inputs_give_the_same_bytes(hifigan):
    artifact = Artifact.open(hifigan)
    entry = artifact.graph("offline", "fp32", None)
    fp32 = BuiltGraph(entry, artifact.read_graph(entry))
    feed = {"mel": np.random.default_rng(1).uniform(-8, 0, (1, 10, 20)).astype(np.float32)}
    assert bf16_graph(fp32, [feed], lambda *_: None).data == bf16_graph(fp32, [feed], lambda *_: None).data


def test_a_graph_without_products_is_refused(hifigan):
    body = "(float[1,4,T] mel) => (float[1,4,T] audio) { audio = Tanh(mel) }"
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 20]> g {body}')
    data = run_passes(model, [NameNodesPass()]).SerializeToString()
    fp32 = BuiltGraph(Artifact.open(hifigan).graph("offline", "fp32", None), data)
    with pytest.raises(ExportError, match="the graph has none; use FP32"):
        bf16_graph(fp32, [], lambda *_: None)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_twin_is_near_fp32_in_every_family(family, request):
    root = request.getfixturevalue(family)
    with Vocoder.load(root) as fp32, twin_of(root).open() as twin:
        assert snr_db(audio_of(fp32), audio_of(twin)) >= 25.0


@needs_bf16
@pytest.mark.parametrize("family", FAMILIES)
def test_openvino_computes_what_the_twin_does(family, request):
    root = request.getfixturevalue(family)
    with Vocoder.load(root, provider="openvino", precision="bf16") as bf16, twin_of(root).open() as twin:
        assert bf16.metadata.precision == "bf16"
        assert snr_db(audio_of(twin), audio_of(bf16)) >= ROW.same_graph_snr_db


@needs_bf16
@pytest.mark.parametrize("family", FAMILIES)
def test_a_stream_in_openvino_equals_its_offline_pass(family, request):
    root = request.getfixturevalue(family)
    with Vocoder.load(root, provider="openvino", precision="bf16") as vocoder:
        mel = mel_of(vocoder)
        offline = vocoder.vocode(mel).samples[0]
        with vocoder.open_stream() as stream:
            chunks = (mel[:, start : start + 11] for start in range(0, FRAMES, 11))
            pieces = [stream.push(chunk).samples[0] for chunk in chunks]
            pieces.append(stream.flush().samples[0])
        assert snr_db(offline, np.concatenate(pieces)) >= ROW.same_graph_snr_db


@needs_bf16
@pytest.mark.parametrize("family", FAMILIES)
def test_openvino_convolves_in_the_precision_that_the_graph_states(family, request):
    artifact = Artifact.open(request.getfixturevalue(family))
    (role,) = {"offline", "step"} & {graph.role for graph in artifact.manifest.graphs}
    entry = artifact.graph(role, "bf16", None)
    data = artifact.read_graph(entry)
    graph = onnx.load_from_string(data).graph
    half = {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.BFLOAT16}
    stated = Counter(
        "bf16" if node.input[1] in half else "f32" for node in graph.node if node.op_type == "Conv"
    )
    assert stated["bf16"] > stated["f32"]
    executed = executed_precisions(data, entry, artifact.manifest.hop_length)
    assert executed["Convolution"] == stated
    assert set(executed["Transpose"]) <= {"bf16", "f32"}
    assert not executed["Deconvolution"]


@needs_bf16
@pytest.mark.parametrize("hint", ["f32", "bf16"])
def test_the_precision_of_an_fp32_graph_is_the_one_that_is_asked_for(hifigan, hint):
    artifact = Artifact.open(hifigan)
    entry = artifact.graph("offline", "fp32", None)
    executed = executed_precisions(artifact.read_graph(entry), entry, artifact.manifest.hop_length, hint)
    assert set(executed["Convolution"]) == {hint}


@pytest.mark.parametrize("name", ["cpu", "auto"])
def test_a_provider_without_bf16_refuses_with_the_remedy(hifigan, name):
    with pytest.raises(ProviderError, match="got 'cpu'; use provider 'openvino', or precision fp32"):
        Vocoder.load(hifigan, provider=name, precision="bf16")


def test_a_cpu_without_bf16_instructions_is_refused_with_the_reason(hifigan, monkeypatch, tmp_path):
    old = msgspec.structs.replace(read_processor(), name="Old CPU", bf16_instructions=())
    assert isinstance(old, Processor)
    monkeypatch.setattr(provider, "read_processor", lambda: old)
    with pytest.raises(
        ProviderError, match=r"CPU with BF16 instructions .* got Old CPU, which has none; use"
    ):
        Vocoder.load(hifigan, provider="openvino", precision="bf16")
    assert not get_provider("openvino").computes("bf16", None)
    assert {each.backend for each in cpu_candidates(Artifact.open(hifigan)) if each.precision == "bf16"} == {
        "cpu, FP32 twin"
    }
    np.save(tmp_path / "mel.npy", np.full((10, 20), -5, np.float32))
    command = ["vocode", str(hifigan), str(tmp_path / "mel.npy"), "-o", str(tmp_path / "out.wav")]
    done = CliRunner().invoke(main, [*command, "--precision", "bf16", "--provider", "openvino"])
    assert done.exit_code == 2
    assert "BF16 instructions" in done.stderr
    assert not (tmp_path / "out.wav").exists()


@needs_bf16
def test_a_graph_that_openvino_would_compute_in_fp32_is_refused(hifigan, monkeypatch):
    import openvino

    monkeypatch.setattr(openvino.Core, "get_property", lambda *_: ["FP32", "INT8"])
    with pytest.raises(ProviderError, match="on this CPU it offers FP32, INT8; use precision fp32 or int8"):
        Vocoder.load(hifigan, provider="openvino", precision="bf16")
    with Vocoder.load(hifigan, provider="openvino", precision="fp32") as vocoder:
        assert vocoder.metadata.precision == "fp32"


@pytest.mark.parametrize("instructions", [(), ("avx512_bf16",)])
def test_tune_tries_bf16_where_the_cpu_runs_it(hifigan, monkeypatch, instructions):
    pytest.importorskip("openvino")
    processor = msgspec.structs.replace(read_processor(), bf16_instructions=instructions)
    monkeypatch.setattr(provider, "read_processor", lambda: processor)
    settings = [setting for setting, _ in candidate_settings(Artifact.open(hifigan), 1)]
    found = {setting.provider for setting in settings if setting.precision == "bf16"}
    assert found == ({"openvino"} if instructions else set())


def test_no_engine_is_built_from_bf16(hifigan):
    config = EngineConfig("tensorrt-rtx", compute_capabilities=(86,))
    with pytest.raises(InputError, match="a precision that GPUs compute, got bf16"):
        build_engines(hifigan, config, ("bf16",))


def test_the_default_precision_stays_fp32(hifigan):
    with Vocoder.load(hifigan, session=SessionConfig(threads=1)) as vocoder:
        assert vocoder.metadata.precision == "fp32"
