"""A precision plugs in: one row and one pass take it from export through validation to speech and the command line."""

import dataclasses

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from click.testing import CliRunner
from onnx import numpy_helper

from voirs_vocoder.export import precisions
from voirs_vocoder.export.cli import main
from voirs_vocoder.export.graphs.built import BuiltGraph
from voirs_vocoder.export.graphs.reduced import derived_graph
from voirs_vocoder.export.passes import run_passes
from voirs_vocoder.export.pipeline import ExportRequest, export_artifact
from voirs_vocoder.export.precisions import (
    Gate,
    MakeOptions,
    PrecisionSpec,
    get_precision,
    register_precision,
)
from voirs_vocoder.export.validation.compare.thresholds import consistency_gates
from voirs_vocoder.export.validation.gates import gates_of
from voirs_vocoder.export.validation.validate import record_validation, validate_artifact
from voirs_vocoder.runtime import Artifact, InputError, ProviderError, Vocoder

pytestmark = pytest.mark.slow

FRAMES = 77


def rounded_to_bfloat16(values):
    """Float32 values rounded half to even to the 8 bits of precision of bfloat16, as float32."""
    bits = np.array(values, np.float32).view(np.uint32)
    kept = (bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)
    return np.asarray(kept, np.uint32).view(np.float32)


class BfloatWeightsPass(ir.passes.InPlacePass):
    """Rounds every float32 weight to bfloat16; the graph still computes in float32."""

    def call(self, model):
        for value in model.graph.initializers.values():
            if value.const_value.dtype == ir.DataType.FLOAT:
                rounded = rounded_to_bfloat16(value.const_value.numpy())
                value.const_value = ir.tensor(rounded, name=value.name)
        return ir.passes.PassResult(model, modified=True)


def make_toy(fp32, feeds, options, progress):
    assert feeds, "a reduced precision is given inputs to try its graphs on"
    progress(f"{fp32.entry.role}: rounding weights", 0, 0)
    model = run_passes(onnx.load_from_string(fp32.data), [BfloatWeightsPass()])
    return [derived_graph(fp32, model, "bf16w", None, {"rounded": "weights"})]


TOY = PrecisionSpec(
    name="bf16w", gates={None: (Gate("snr_db", "min", 25.0),)}, same_graph_snr_db=60.0, make=make_toy
)


@pytest.fixture(autouse=True)
def table(monkeypatch):
    """The table of precisions with the toy's row, for one test only."""
    monkeypatch.setattr(precisions, "_table", dict(precisions._table))
    register_precision(TOY)


@pytest.fixture(scope="module")
def toy_artifact(tiny_checkpoint, tmp_path_factory):
    root = tmp_path_factory.mktemp("toy-precision") / "artifact"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(precisions, "_table", {**precisions._table, TOY.name: TOY})
        export_artifact(ExportRequest("hifigan", tiny_checkpoint, None, root, ("fp32", TOY.name)))
    return root


def mel():
    return np.random.default_rng(0).uniform(-8, 0, (10, FRAMES)).astype(np.float32)


def test_export_makes_its_graphs_and_their_streams(toy_artifact):
    manifest = Artifact.open(toy_artifact).manifest
    made = {graph.name: graph for graph in manifest.graphs if graph.precision == TOY.name}
    assert set(made) == {"offline.bf16w", "stream.bf16w", "batch.bf16w"}
    model = onnx.load(toy_artifact / made["offline.bf16w"].file.path)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            np.testing.assert_array_equal(values, rounded_to_bfloat16(values))


def test_it_speaks_near_fp32_offline_and_as_a_stream(toy_artifact):
    audio = {}
    for precision in ("fp32", TOY.name):
        with Vocoder.load(toy_artifact, precision=precision) as vocoder:
            assert vocoder.metadata.precision == precision
            audio[precision] = vocoder.vocode(mel()).samples[0]
            with vocoder.open_stream() as stream:
                chunks = (mel()[:, start : start + 11] for start in range(0, FRAMES, 11))
                pieces = [stream.push(chunk).samples[0] for chunk in chunks]
                pieces.append(stream.flush().samples[0])
            np.testing.assert_allclose(np.concatenate(pieces), audio[precision], atol=1e-5)
    difference = audio["fp32"] - audio[TOY.name]
    assert 0 < np.abs(difference).max() < 0.1


@pytest.mark.parametrize(("limit_db", "verdict"), [(25.0, "passed"), (500.0, "failed")])
def test_validation_judges_it_by_its_own_gates(toy_artifact, tmp_path, sample_recordings, limit_db, verdict):
    (tmp_path / sample_recordings[0].name).symlink_to(sample_recordings[0])
    row = dataclasses.replace(TOY, gates={None: (Gate("snr_db", "min", limit_db),)})
    precisions._table[TOY.name] = row
    report = validate_artifact(toy_artifact, tmp_path)
    (measured,) = (row for row in report.rows if row.graph == TOY.name and row.provider == "cpu")
    assert [(result.gate.figure, result.gate.limit) for result in measured.gates] == [("snr_db", limit_db)]
    assert measured.verdict == verdict
    if verdict == "passed":
        recorded = record_validation(toy_artifact, report)
        assert recorded.graph("offline", TOY.name).validation["snr_db"] == measured.figures["snr_db"]


def test_comparisons_know_what_its_graphs_owe_each_other(toy_artifact):
    manifest = Artifact.open(toy_artifact).manifest
    (same,) = consistency_gates(manifest, (TOY.name, None), (TOY.name, None))
    (other,) = consistency_gates(manifest, (TOY.name, None), ("fp16", None))
    assert same.limit == 60.0
    assert 24.9 < other.limit <= 25.0


def test_the_command_line_takes_it_and_its_help_lists_it(tiny_checkpoint, tmp_path):
    np.save(tmp_path / "mel.npy", mel())
    root, audio = str(tmp_path / "artifact"), str(tmp_path / "out.wav")
    export = ["export", "hifigan", "--checkpoint", str(tiny_checkpoint), "--output", root, "--no-stream"]
    done = CliRunner().invoke(main, [*export, "--precision", "fp32", "--precision", TOY.name])
    assert done.exit_code == 0, done.stderr
    assert "offline.bf16w" in CliRunner().invoke(main, ["inspect", root]).stdout
    assert "bf16w" in CliRunner().invoke(main, ["export", "--help"]).stdout
    vocode = ["vocode", root, str(tmp_path / "mel.npy"), "-o", audio]
    spoken = CliRunner().invoke(main, [*vocode, "--precision", TOY.name])
    assert spoken.exit_code == 0, spoken.stderr
    del precisions._table[TOY.name]
    # What an artifact holds decides what can be run, not what export can make.
    spoken = CliRunner().invoke(main, [*vocode, "--precision", TOY.name])
    assert spoken.exit_code == 0, spoken.stderr


def test_an_artifact_without_it_says_what_it_holds(tiny_artifact):
    with pytest.raises(ProviderError, match=r"no graph offline\.bf16w .* holds offline\.fp32"):
        Vocoder.load(tiny_artifact, precision=TOY.name)


def test_a_name_is_taken_once_and_an_unknown_one_lists_what_is_known():
    with pytest.raises(InputError, match="must be new"):
        register_precision(TOY)
    precisions.unregister_precision(TOY.name)
    with pytest.raises(InputError, match="known: fp32, fp16, bf16, int8"):
        get_precision("q4")
    with pytest.raises(InputError, match="only a registered precision"):
        precisions.unregister_precision("fp32")


def test_a_target_that_a_precision_does_not_have_is_refused(toy_artifact):
    artifact = Artifact.open(toy_artifact)
    fp32 = BuiltGraph(artifact.graph("offline", "fp32"), b"")
    with pytest.raises(InputError, match="among cpu, tensorrt, got 'npu'"):
        get_precision("int8").make(fp32, [], MakeOptions(targets=("npu",)), lambda *_: None)
    with pytest.raises(InputError, match="one of the targets cpu, tensorrt, got npu"):
        gates_of(artifact.manifest, "int8", "npu")
    with pytest.raises(InputError, match="one of the targets None, got cpu"):
        gates_of(artifact.manifest, TOY.name, "cpu")
