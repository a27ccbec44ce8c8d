"""Validation: gates that can fail, figures with an oracle, and speech that was not calibrated on."""

import json
import re
import shutil

import msgspec
import numpy as np
import onnx
import pytest
import soundfile

from voirs_vocoder.export.artifact.writer import file_entry, locked_artifact, replace_manifest
from voirs_vocoder.export.precisions import get_precision, precision_names
from voirs_vocoder.export.validation.gates import gates_of, judged
from voirs_vocoder.export.validation.report import REPORT_PATH, encode_report, report_table
from voirs_vocoder.export.validation.validate import record_validation, validate_artifact
from voirs_vocoder.runtime import Artifact, InputError
from voirs_vocoder.runtime.artifact.manifest import Diffusion


@pytest.fixture(scope="module")
def report(tiny_artifact, tiny_checkpoint, speech):
    return validate_artifact(tiny_artifact, speech, checkpoint=tiny_checkpoint)


def replaced(root, name, change):
    """Change a graph of an artifact, hashes and all."""
    with locked_artifact(root) as artifact:
        entry = next(graph for graph in artifact.manifest.graphs if graph.name == name)
        model = onnx.load_from_string(artifact.read(entry.file))
        change(model)
        data = model.SerializeToString()
        graphs = tuple(
            msgspec.structs.replace(graph, file=file_entry(graph.file.path, data))
            if graph is entry
            else graph
            for graph in artifact.manifest.graphs
        )
        manifest = msgspec.structs.replace(artifact.manifest, graphs=graphs)
        replace_manifest(artifact, manifest, {entry.file.path: data})


def scale_weight(model, name, factor):
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor) * factor, name))


def test_every_graph_is_measured_on_every_backend_that_runs_it(report):
    assert {(row.graph, row.provider) for row in report.rows} == {
        ("fp32", "cpu"),
        ("fp16", "cpu, FP32 twin"),
        ("int8.cpu", "cpu"),
        ("int8.tensorrt", "cpu"),
        ("fp32", "openvino"),
        ("int8.tensorrt", "openvino"),
    }
    assert report.reference == "pytorch"


def test_the_fp32_graph_is_the_model_and_precision_costs_something(report):
    rows = {(row.graph, row.provider): row for row in report.rows}
    assert rows["fp32", "cpu"].figures["max_abs_error"] < 1e-5
    assert rows["fp32", "cpu"].verdict == "passed"
    assert rows["fp16", "cpu, FP32 twin"].figures["snr_db"] > rows["int8.cpu", "cpu"].figures["snr_db"] > 10


@pytest.mark.slow
def test_a_graph_that_differs_fails_its_gate(artifact_copy, tiny_checkpoint, speech):
    replaced(
        artifact_copy, "offline.fp32", lambda model: scale_weight(model, "conv_post.weight", np.float32(1.05))
    )
    report = validate_artifact(artifact_copy, speech, checkpoint=tiny_checkpoint)
    row = next(row for row in report.rows if row.graph == "fp32")
    assert row.verdict == "failed"
    assert not report.passed


def test_without_a_checkpoint_the_fp32_graph_is_the_reference_and_the_report_says_so(tiny_artifact, speech):
    report = validate_artifact(tiny_artifact, speech)
    assert report.reference == "fp32"
    assert next(row for row in report.rows if row.graph == "fp32").figures["max_abs_error"] == 0


def test_another_checkpoint_is_refused(artifact_copy, shipped_checkpoint, speech):
    with pytest.raises(InputError, match="exported from the checkpoint with SHA-256"):
        validate_artifact(artifact_copy, speech, checkpoint=shipped_checkpoint)


def test_a_recording_that_was_calibrated_on_is_refused(tiny_artifact, calibration_folder):
    with pytest.raises(InputError, match="calibrated on this recording"):
        validate_artifact(tiny_artifact, calibration_folder)


def test_a_folder_without_recordings_is_refused(tiny_artifact, tmp_path):
    with pytest.raises(InputError, match="no recordings"):
        validate_artifact(tiny_artifact, tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        validate_artifact(tiny_artifact, tmp_path / "missing")


def test_the_report_and_its_figures_enter_the_artifact(artifact_copy, report):
    record_validation(artifact_copy, report)
    artifact = Artifact.open(artifact_copy)
    assert all(error is None for _, error in artifact.verify())
    figures = {graph.name: graph.validation for graph in artifact.manifest.graphs}
    rows = {row.graph: row for row in reversed(report.rows)}
    assert figures["offline.int8.cpu"]["snr_db"] == pytest.approx(rows["int8.cpu"].figures["snr_db"])
    document = json.loads((artifact_copy / REPORT_PATH).read_bytes())
    assert document["passed"] == report.passed
    assert "`offline.int8.cpu`" in (artifact_copy / "MODEL_CARD.md").read_text()


def test_the_table_has_a_row_for_the_reference_and_each_variant(report):
    table = report_table(report)
    assert len(table) == 2 + len(report.rows)
    assert len({len(row) for row in table}) == 1


@pytest.mark.parametrize(
    ("figure", "status"),
    [(1e-4, "passed"), (1.1e-4, "failed"), (float("nan"), "failed"), (None, "not run")],
)
def test_a_gate_passes_at_its_limit_and_fails_beyond_it(figure, status):
    (result,) = judged(get_precision("fp32").gates[None], {"max_abs_error": figure})
    assert result.status == status


def test_errors_of_sampling_steps_add_up_and_their_loudness_is_no_excuse_for_what_is_heard(tiny_artifact):
    one_pass = Artifact.open(tiny_artifact).manifest
    assert gates_of(one_pass, "int8", "cpu") == get_precision("int8").gates["cpu"]
    diffusion = Diffusion(
        training_betas=(1e-4, 1e-3, 0.01, 0.05),
        fast_betas=None,
        sampler="ddim",
        steps=4,
        drops_conditioning=False,
    )
    sampled = msgspec.structs.replace(one_pass, diffusion=diffusion)
    rng = np.random.default_rng(0)
    signal, errors = rng.standard_normal(100_000), 0.01 * rng.standard_normal((4, 100_000))

    def snr_db(error):
        return 10 * np.log10((signal**2).mean() / (error**2).mean())

    lost_db = snr_db(errors[0]) - snr_db(errors.sum(axis=0))
    snr, pesq = gates_of(sampled, "int8", "cpu")
    assert snr.limit == pytest.approx(get_precision("int8").gates["cpu"][0].limit - lost_db, abs=0.1)
    assert pesq == get_precision("int8").gates["cpu"][1]
    assert gates_of(sampled, "fp32", None) == get_precision("fp32").gates[None]


def test_only_the_providers_that_were_asked_for_are_measured(tiny_artifact, speech):
    report = validate_artifact(tiny_artifact, speech, providers=["cpu"])
    assert {row.provider.partition(",")[0] for row in report.rows} == {"cpu"}
    with pytest.raises(InputError, match="'cuda' cannot be measured on; choose among cpu"):
        validate_artifact(tiny_artifact, speech, providers=["cuda"])


def test_the_readme_of_export_states_the_gates(repository_root):
    text = (repository_root / "export" / "README.md").read_text(encoding="utf-8")
    rows = dict(
        re.findall(r"^\| ([A-Z0-9]+(?: `\w+`)?) \| (.+) \|$", text.partition("### Gates")[2], re.MULTILINE)
    )
    stated = {
        title: [(word, float(limit)) for word, limit in re.findall(r"at (least|most) ([\d.]*\d)", cell)]
        for title, cell in rows.items()
    }
    words = {"min": "least", "max": "most"}
    assert stated == {
        name.upper() + (f" `{target}`" if target else ""): [(words[gate.bound], gate.limit) for gate in gates]
        for name in precision_names()
        for target, gates in get_precision(name).gates.items()
    }


def test_recordings_that_cannot_be_judged_are_named_and_the_others_are(
    tiny_artifact, sample_recordings, tmp_path, caplog
):
    for number, path in enumerate(sample_recordings[:2]):
        shutil.copy(path, tmp_path / f"{number}{path.suffix}")
    speech, rate = soundfile.read(sample_recordings[0])
    soundfile.write(tmp_path / "brief.wav", speech[rate : rate + rate // 5], rate)
    soundfile.write(tmp_path / "silent.wav", np.zeros(8000), 8000)
    soundfile.write(tmp_path / "short.wav", np.ones(100), 8000)
    with caplog.at_level("WARNING"):
        report = validate_artifact(tiny_artifact, tmp_path, providers=["cpu"])
    assert "short.wav: left out" in caplog.text
    assert "silent.wav: left out" in caplog.text
    assert [recording.name for recording in report.recordings][-1] == "brief.wav"
    (note,) = report.notes
    assert note.startswith("brief.wav: PESQ")
    for row in report.rows:
        assert row.figures["pesq_wb"] is not None
        assert row.figures["multi_resolution_stft"] < 100
        assert row.verdict != "not run"
    assert json.loads(encode_report(report))["notes"] == [note]


def test_a_gate_fails_where_most_recordings_cannot_be_judged(tiny_artifact, sample_recordings, tmp_path):
    shutil.copy(sample_recordings[0], tmp_path)
    speech, rate = soundfile.read(sample_recordings[0])
    for number, name in enumerate(("a.wav", "b.wav"), 1):
        soundfile.write(tmp_path / name, speech[number * rate :][: rate // 5], rate)
    report = validate_artifact(tiny_artifact, tmp_path, providers=["cpu"])
    (row,) = [row for row in report.rows if row.graph == "int8.cpu"]
    results = {result.gate.figure: result for result in row.gates}
    assert results["pesq_lost"].status == "failed"
    assert results["pesq_lost"].measured is None
    assert row.verdict == "failed"


def test_a_folder_of_recordings_that_are_too_short_is_refused(tiny_artifact, tmp_path):
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, np.ones(1000), 8000)
    with pytest.raises(InputError, match=r"2 of 2 are shorter or silent \(a\.wav, b\.wav\)"):
        validate_artifact(tiny_artifact, tmp_path)
