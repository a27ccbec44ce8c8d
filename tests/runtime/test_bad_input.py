"""Whatever is wrong with the input: one line that says what and what to do, exit status 2, and nothing half-written."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from onnx import TensorProto, helper

from voirs_vocoder.export.artifact.writer import create_artifact, file_entry
from voirs_vocoder.export.cli import main
from voirs_vocoder.runtime.artifact.manifest import (
    Calibration,
    GraphEntry,
    GraphFacts,
    Manifest,
    Recording,
    Source,
    TensorInfo,
)
from voirs_vocoder.runtime.mel.convention import MelConvention

RATE, HOP, BANDS = 8000, 16, 10
CONVENTION = MelConvention(
    id="toy-8k",
    sample_rate=RATE,
    n_fft=64,
    win_length=64,
    hop_length=HOP,
    n_mels=BANDS,
    f_min_hz=0.0,
    f_max_hz=4000.0,
    framing="hop-aligned",
    mel_scale="slaney",
    mel_norm="slaney",
    compression="ln",
    floor=1e-5,
)


def toy_graph() -> bytes:
    """One transposed convolution, mel to audio."""
    graph = helper.make_graph(
        [helper.make_node("ConvTranspose", ["mel", "weight"], ["audio"], strides=[HOP])],
        "toy",
        [helper.make_tensor_value_info("mel", TensorProto.FLOAT, ["batch", BANDS, "frames"])],
        [helper.make_tensor_value_info("audio", TensorProto.FLOAT, ["batch", 1, "samples"])],
        [helper.make_tensor("weight", TensorProto.FLOAT, [BANDS, 1, HOP], np.full(BANDS * HOP, 1e-3))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return model.SerializeToString(deterministic=True)


def toy_entry(precision: str, target: str | None, data: bytes) -> GraphEntry:
    name = ".".join(part for part in ("offline", precision, target) if part)
    return GraphEntry(
        role="offline",
        precision=precision,
        target=target,
        file=file_entry(f"graphs/{name}.onnx", data),
        opset=20,
        inputs=(TensorInfo(name="mel", dtype="float32", shape=("batch", BANDS, "frames")),),
        outputs=(TensorInfo(name="audio", dtype="float32", shape=("batch", 1, f"frames*{HOP}")),),
        facts=GraphFacts(activation_bytes_per_frame=1024),
        details={},
    )


@pytest.fixture(scope="session")
def recording(tmp_path_factory) -> Path:
    """Half a second of noise at 8 kHz."""
    path = tmp_path_factory.mktemp("recording") / "noise.wav"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, RATE // 2), RATE)
    return path


@pytest.fixture(scope="session")
def pristine_artifact(tmp_path_factory, recording) -> Path:
    """Made by hand, calibrated on `recording`."""
    data = toy_graph()
    entries = [
        toy_entry("fp32", None, data),
        toy_entry("int8", "cpu", data),
        toy_entry("int8", "tensorrt", data),
    ]
    report = b"{}\n"
    manifest = Manifest(
        format_version=1,
        family="hifigan",
        driver="direct",
        variant="custom",
        sample_rate=RATE,
        hop_length=HOP,
        mel=CONVENTION,
        context_frames=0,
        look_ahead_frames=0,
        look_ahead_samples=0,
        source=Source(checkpoint_sha256="0" * 64, config={}),
        licence=None,
        graphs=tuple(entries),
        calibration=Calibration(
            recordings=(
                Recording(name=recording.name, sha256=hashlib.sha256(recording.read_bytes()).hexdigest()),
            ),
            segments=1,
            segment_frames=8,
        ),
        files=(file_entry("validation/report.json", report),),
        tools={},
    )
    root = tmp_path_factory.mktemp("artifacts") / "toy"
    files = {entry.file.path: data for entry in entries}
    create_artifact(root, manifest, {**files, "validation/report.json": report}, force=False)
    return root


@pytest.fixture
def artifact(pristine_artifact, tmp_path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(pristine_artifact, tmp_path / "toy"))


@pytest.fixture
def vocode(refused, artifact, tmp_path):
    """`refused` for vocoding one file."""
    return lambda source, *more: refused("vocode", artifact, source, "-o", tmp_path / "out.wav", *more)


def saved(path: Path, values: np.ndarray) -> Path:
    np.save(path, values)
    return path


def good_mel(frames: int = 40) -> np.ndarray:
    return np.random.default_rng(1).uniform(-8, 0, (BANDS, frames)).astype(np.float32)


# --- mels


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_mel_with_a_value_that_is_not_finite_is_refused(vocode, tmp_path, value):
    mel = good_mel()
    mel[3, 17] = value
    assert "frame 17" in vocode(saved(tmp_path / "mel.npy", mel))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.zeros((BANDS + 1, 9), np.float32), "10 mel bands"),
        (np.zeros((BANDS, 0), np.float32), "at least one frame"),
        (np.zeros((BANDS, 9)), "float32, got float64"),
        (np.zeros((9, BANDS), np.float32), "transpose it"),
        (np.zeros((2, BANDS, 9), np.float32), "one utterance at a time"),
        (np.zeros(BANDS, np.float32), "a mel must be"),
    ],
    ids=["bands", "no-frames", "float64", "transposed", "batch", "one-axis"],
)
def test_a_mel_of_another_shape_or_type_is_refused(vocode, tmp_path, values, said):
    assert said in vocode(saved(tmp_path / "mel.npy", values))


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_pickled_npy_is_refused_and_never_executed(vocode, tmp_path):
    vocode(saved(tmp_path / "mel.npy", np.array([Bomb(tmp_path / "executed")], object)))
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"not numpy at all"])
def test_a_broken_npy_is_refused(vocode, tmp_path, content):
    path = tmp_path / "mel.npy"
    path.write_bytes(content)
    vocode(path)


def test_a_truncated_npy_is_refused(vocode, tmp_path):
    path = saved(tmp_path / "mel.npy", good_mel())
    path.write_bytes(path.read_bytes()[:-40])
    assert "copy it again" in vocode(path)


def test_a_mel_convention_that_is_not_the_artifacts_is_refused(vocode, tmp_path):
    path = saved(tmp_path / "mel.npy", good_mel())
    assert "'toy-8k'" in vocode(path, "--mel-convention", "hifigan-22k")
    assert "hifigan-22k" in vocode(path, "--mel-convention", "whatever")


# --- recordings and other files


@pytest.mark.parametrize("content", [b"", b"RIFF", b"these are words, not samples" * 9])
def test_an_empty_or_broken_recording_is_refused(vocode, tmp_path, content):
    path = tmp_path / "speech.wav"
    path.write_bytes(content)
    vocode(path)


def test_a_truncated_recording_is_refused(vocode, tmp_path, recording):
    whole = tmp_path / "whole.flac"
    soundfile.write(whole, soundfile.read(recording)[0], RATE)
    path = tmp_path / "speech.flac"
    path.write_bytes(whole.read_bytes()[:-2000])
    vocode(path)


@pytest.mark.parametrize(
    "arguments",
    [
        ("vocode", "ARTIFACT", "absent.wav", "-o", "out.wav"),
        ("vocode", "ARTIFACT", "absent.npy", "-o", "out.wav"),
        ("vocode", "absent", "RECORDING", "-o", "out.wav"),
        ("vocode", "ARTIFACT", "RECORDING", "-o", "absent/out.wav"),
        ("inspect", "absent"),
        ("quantize", "absent", "--calibration", "."),
        ("quantize", "ARTIFACT", "--force", "--calibration", "absent"),
        ("validate", "ARTIFACT", "--speech", "absent"),
        ("validate", "absent", "--speech", "."),
        ("validate", "ARTIFACT", "--speech", ".", "--json", "absent/report.json"),
        ("bench", "absent"),
        ("export", "hifigan", "--checkpoint", "absent.pt", "--config", "CONFIG", "--output", "out"),
        ("export", "hifigan", "--checkpoint", "RECORDING", "--config", "absent.json", "--output", "out"),
        ("build-engine", "absent", "--backend", "tensorrt-rtx", "--compute-capability", "86"),
    ],
    ids=" ".join,
)
def test_a_path_where_nothing_is_is_refused_by_name(
    refused, artifact, recording, tiny_hifigan_config_file, arguments
):
    given = {"ARTIFACT": artifact, "RECORDING": recording, "CONFIG": tiny_hifigan_config_file}
    line = refused(*(given.get(word, word) for word in arguments))
    assert "absent" in line


def test_an_output_format_that_cannot_be_written_is_refused(refused, artifact, recording, tmp_path):
    assert ".wav" in refused("vocode", artifact, recording, "-o", tmp_path / "out.aac")
    assert "bits" in refused("vocode", artifact, recording, "-o", tmp_path / "out.flac", "--bits", 32)


# --- checkpoints


@pytest.fixture
def export(refused, tmp_path):
    """`refused` for exporting one checkpoint."""
    return lambda checkpoint, config: refused(
        "export", "hifigan", "--checkpoint", checkpoint, "--config", config, "--output", tmp_path / "out"
    )


@pytest.fixture
def own_checkpoint(tiny_checkpoint, tmp_path) -> Path:
    """A copy to be changed."""
    return Path(shutil.copy(tiny_checkpoint, tmp_path))


def test_a_checkpoint_that_would_execute_code_is_refused_and_never_does(
    export, tmp_path, tiny_hifigan_config_file
):
    path = tmp_path / "evil.pt"
    path.write_bytes(pickle.dumps({"generator": Bomb(tmp_path / "executed")}))
    assert "execute code" in export(path, tiny_hifigan_config_file)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.99])
def test_an_empty_or_truncated_checkpoint_is_refused(export, own_checkpoint, tiny_hifigan_config_file, kept):
    data = own_checkpoint.read_bytes()
    own_checkpoint.write_bytes(data[: int(len(data) * kept)])
    export(own_checkpoint, tiny_hifigan_config_file)


def test_the_wrong_configuration_for_a_checkpoint_is_refused(
    export, own_checkpoint, tiny_hifigan_config, tmp_path
):
    wider = tmp_path / "wider.json"
    wider.write_text(json.dumps({**tiny_hifigan_config, "upsample_initial_channel": 16}))
    assert "configuration" in export(own_checkpoint, wider)


# --- choices


@pytest.mark.parametrize(
    ("option", "value", "known"),
    [
        ("--provider", "npu", "openvino"),
        ("--precision", "fp8", "int8"),
        ("--bits", "12", "24"),
        ("--threads", "0", "1"),
        ("--window-frames", "many", "integer"),
    ],
)
def test_an_unknown_choice_names_the_known_ones(vocode, recording, option, value, known):
    line = vocode(recording, option, value)
    assert value in line
    assert known in line


@pytest.mark.parametrize(
    ("arguments", "known"),
    [
        (("--backend", "tensorrt-rtx", "--compute-capability", "90"), "86"),
        (("--backend", "tensorrt-rtx"), "86"),
        (("--backend", "tensorflow", "--compute-capability", "86"), "tensorrt-rtx"),
        (("--backend", "tensorrt-rtx", "--compute-capability", "8.6"), "integer"),
        (("--backend", "tensorrt", "--compute-capability", "86"), "tensorrt-rtx"),
        (("--backend", "tensorrt-rtx", "--compute-capability", "86", "--precision", "fp64"), "fp16"),
    ],
)
def test_an_engine_that_cannot_be_built_is_refused_at_once(
    refused, artifact, recording, tmp_path, arguments, known
):
    assert known in refused("build-engine", artifact, *arguments)
    exported = ("export", "hifigan", "--checkpoint", recording, "--output", tmp_path / "out")
    assert known in refused(*exported, *arguments)


def test_an_unknown_family_names_the_known_ones(refused, recording, tmp_path):
    line = refused("export", "hifigun", "--checkpoint", recording, "--output", tmp_path / "out")
    assert "hifigan" in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--output"),
        (("--output", "out", "--precision", "int8"), "--calibration"),
        (("--output", "out", "--calibration", "."), "calibration is for precisions that need it, got fp32"),
        (("--output", "out", "--compute-capability", "86"), "--backend"),
        (("--output", "out", "--no-such-flag"), "--no-such-flag"),
    ],
)
def test_wrong_usage_of_export_says_what_is_missing(refused, recording, arguments, said):
    assert said in refused("export", "hifigan", "--checkpoint", recording, *arguments)


def test_an_unknown_command_is_refused(refused):
    assert "vocod" in refused("vocod")


def test_a_configuration_without_its_checkpoint_is_refused(refused, artifact, tmp_path):
    assert "--checkpoint" in refused("validate", artifact, "--speech", tmp_path, "--config", "config.json")


# --- providers


def test_a_provider_that_is_not_there_is_refused_and_nothing_runs_instead(vocode, recording):
    from voirs_vocoder.runtime.providers import get_provider

    if get_provider("cuda").problem() is None:
        pytest.skip("CUDA is there")
    assert "cuda" in vocode(recording, "--provider", "cuda")


def test_a_precision_that_the_artifact_lacks_is_refused(vocode, recording):
    assert "offline.fp16" in vocode(recording, "--precision", "fp16")


def test_an_engine_that_was_never_built_is_refused(vocode, recording):
    assert "build-engine" in vocode(recording, "--provider", "tensorrt-engine")


# --- artifacts


def edited_manifest(root: Path, edit) -> None:
    path = root / "manifest.json"
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))


def test_an_artifact_with_a_changed_byte_is_refused(vocode, artifact, recording):
    graph = artifact / "graphs" / "offline.fp32.onnx"
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(data)
    assert "offline.fp32.onnx" in vocode(recording)
    assert "1 of 4 files damaged" in refused_verification(artifact)


def refused_verification(artifact: Path) -> str:
    """`inspect --verify` prints what there is, then the error."""
    result = CliRunner().invoke(main, ["inspect", str(artifact), "--verify"])
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def test_an_artifact_with_a_missing_file_is_refused(vocode, artifact, recording):
    (artifact / "graphs" / "offline.fp32.onnx").unlink()
    assert "offline.fp32.onnx" in vocode(recording)
    assert "offline.fp32.onnx" in refused_verification(artifact)


@pytest.mark.parametrize(
    "path", ["../outside.onnx", "/etc/passwd", "graphs/../../outside.onnx", "a\\..\\b", ""]
)
@pytest.mark.parametrize("command", ["vocode", "inspect"])
def test_a_path_that_leaves_the_artifact_is_refused(refused, artifact, recording, tmp_path, path, command):
    (tmp_path / "outside.onnx").write_bytes((artifact / "graphs" / "offline.fp32.onnx").read_bytes())
    edited_manifest(artifact, lambda document: document["graphs"][0]["file"].update(path=path))
    arguments = (recording, "-o", tmp_path / "out.wav") if command == "vocode" else ()
    assert "must stay inside the artifact" in refused(command, artifact, *arguments)


def test_a_link_that_leaves_the_artifact_is_refused(vocode, artifact, recording, tmp_path):
    graph = artifact / "graphs" / "offline.fp32.onnx"
    shutil.move(graph, tmp_path / "outside.onnx")
    graph.symlink_to(tmp_path / "outside.onnx")
    assert "leads out of the artifact" in vocode(recording)
    assert "leads out of the artifact" in refused_verification(artifact)


def test_a_later_format_version_is_refused(vocode, refused, artifact, recording):
    edited_manifest(artifact, lambda document: document.update(format_version=2, something_new=True))
    assert "update voirs-vocoder" in vocode(recording)
    assert "update voirs-vocoder" in refused("inspect", artifact)
    assert "update voirs-vocoder" in refused("quantize", artifact, "--calibration", recording.parent)


def test_an_artifact_of_the_layout_before_0_1_is_refused(vocode, refused, artifact, recording):
    def old_layout(document):
        for graph in document["graphs"]:
            graph["details"] |= graph.pop("facts")

    edited_manifest(artifact, old_layout)
    assert "export the artifact again" in vocode(recording)
    assert "export the artifact again" in refused("inspect", artifact)
    assert "export the artifact again" in refused("quantize", artifact, "--calibration", recording.parent)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"format_version": 1}'])
def test_a_broken_manifest_is_refused(refused, artifact, content):
    (artifact / "manifest.json").write_bytes(content)
    refused("inspect", artifact)


# --- outputs


def test_an_existing_artifact_is_kept_without_force(refused, artifact, recording):
    assert "--force" in refused("quantize", artifact, "--calibration", recording.parent)
    exported = ("export", "hifigan", "--checkpoint", recording, "--output", artifact)
    assert "--force" in refused(*exported)


def test_force_replaces_artifacts_and_nothing_else(refused, recording, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.txt").write_text("precious")
    exported = ("export", "hifigan", "--checkpoint", recording, "--output", tmp_path / "thesis", "--force")
    assert "artifacts only" in refused(*exported)


def test_a_full_disk_leaves_no_half_written_audio(vocode, recording, tmp_path, full_disk):
    with full_disk(free_bytes=1000):
        assert "cannot be written" in vocode(recording)
    (tmp_path / "out.wav").write_bytes(b"precious")
    with full_disk(free_bytes=1000):
        assert "cannot be written" in vocode(recording)


@pytest.mark.slow
def test_a_full_disk_leaves_no_half_written_artifact(
    export, own_checkpoint, tiny_hifigan_config_file, full_disk
):
    with full_disk(free_bytes=5000):
        line = export(own_checkpoint, tiny_hifigan_config_file)
    assert "cannot write the artifact" in line or "takes no graph: File too large" in line


def test_an_artifact_that_somebody_else_is_changing_is_left_alone(refused, artifact, recording):
    import fcntl

    with (artifact / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another process" in refused(
            "quantize", artifact, "--calibration", recording.parent, "--force"
        )


# --- recordings that would flatter


def test_validation_on_a_recording_that_was_calibrated_on_is_refused(refused, artifact, recording, tmp_path):
    speech = tmp_path / "speech"
    speech.mkdir()
    shutil.copyfile(recording, speech / "renamed.wav")
    assert "calibrated on" in refused("validate", artifact, "--speech", speech)


# --- interruption


def test_an_interrupted_command_leaves_nothing_and_no_traceback(
    artifact, recording, tmp_path, monkeypatch, tree
):
    from voirs_vocoder.runtime.audio.write import AudioWriter

    written = []

    def interrupted(self, samples):
        written.append(samples.size)
        raise KeyboardInterrupt

    monkeypatch.setattr(AudioWriter, "write", interrupted)
    before = tree(tmp_path)
    result = CliRunner().invoke(
        main, ["vocode", str(artifact), str(recording), "-o", str(tmp_path / "out.wav")]
    )
    assert (result.exit_code, result.stderr.split()) == (130, ["interrupted"])
    assert written
    assert tree(tmp_path) == before
