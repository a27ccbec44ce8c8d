"""An artifact of format 1, made once and kept: this version opens and verifies it, and it speaks the same samples."""

import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from voirs_vocoder.export.artifact.change import change_artifact
from voirs_vocoder.export.cli import main
from voirs_vocoder.runtime import Artifact, SessionConfig, StreamingConfig, Vocoder
from voirs_vocoder.runtime.artifact.effects import chosen_chain
from voirs_vocoder.runtime.artifact.manifest import decode_manifest, encode_manifest
from voirs_vocoder.runtime.metrics import snr_db

# Sums of at most some hundred products of numbers up to 1, in a few layers, in another order.
FP32_TOLERANCE = 1e-5
# INT8 was 34 dB from FP32 when it was recorded. On another instruction set other values are rounded to the next step:
# the errors of two such runs, were they independent, would leave 3 dB less between them; 3 dB more are for chance.
INT8_SNR_DB = 28.0


@pytest.fixture(scope="module")
def frozen(data_dir):
    return data_dir / "frozen_artifact_v1"


@pytest.fixture(scope="module")
def mel(frozen):
    return np.load(frozen / "mel.npy")


@pytest.fixture(params=["fp32", "int8"])
def precision(request):
    return request.param


@pytest.fixture
def recorded(frozen, precision):
    return np.load(frozen / f"audio_{precision}.npy")


def require_same(precision, recorded, audio):
    assert audio.shape == recorded.shape
    if precision == "fp32":
        np.testing.assert_allclose(audio, recorded, rtol=0, atol=FP32_TOLERANCE)
    else:
        assert snr_db(recorded, audio) >= INT8_SNR_DB


def test_it_opens_with_all_its_facts(frozen):
    manifest = Artifact.open(frozen / "artifact").manifest
    assert manifest.format_version == 1
    assert {graph.name for graph in manifest.graphs} == {
        f"{role}.{kind}"
        for role in ("offline", "stream", "extrapolator", "batch")
        for kind in ("fp32", "int8.cpu")
    }
    (stream,) = (graph for graph in manifest.graphs if graph.name == "stream.fp32")
    assert (stream.facts.delay_samples, stream.facts.state_size) == (106, stream.inputs[-1].shape[-1])
    assert all(
        graph.facts.activation_bytes_per_frame for graph in manifest.graphs if graph.role != "extrapolator"
    )
    (offline,) = (graph for graph in manifest.graphs if graph.name == "offline.int8.cpu")
    assert offline.validation["snr_db"] > 30.0
    assert len(manifest.calibration.recordings) == 8


def test_its_manifest_loses_nothing_when_it_is_written_again(frozen):
    manifest = Artifact.open(frozen / "artifact").manifest
    assert decode_manifest(encode_manifest(manifest), "again") == manifest


def test_inspect_verifies_it(frozen):
    result = CliRunner().invoke(main, ["inspect", str(frozen / "artifact"), "--verify"])
    assert result.exit_code == 0, result.output


def test_it_speaks_the_same_samples(frozen, mel, precision, recorded):
    with Vocoder.load(frozen / "artifact", precision=precision) as vocoder:
        require_same(precision, recorded, vocoder.vocode(mel).samples[0])


def test_its_streams_speak_the_same_samples(frozen, mel, precision, recorded):
    with (
        Vocoder.load(frozen / "artifact", precision=precision) as vocoder,
        vocoder.open_stream() as stream,
    ):
        pieces = [stream.push(mel[:, start : start + 7]).samples[0] for start in range(0, mel.shape[1], 7)]
        pieces.append(stream.flush().samples[0])
    require_same(precision, recorded, np.concatenate(pieces))


def test_its_batches_speak_the_same_samples(frozen, mel, precision, recorded):
    session = SessionConfig(batching="together")
    with Vocoder.load(frozen / "artifact", precision=precision, session=session) as vocoder:
        whole, _ = vocoder.vocode_batch([mel, mel[:, :50]])
    require_same(precision, recorded, whole.samples[0])


def test_its_low_latency_streams_run_on_its_extrapolator(frozen, mel, precision, recorded):
    with (
        Vocoder.load(frozen / "artifact", precision=precision) as vocoder,
        vocoder.open_stream(streaming=StreamingConfig(look_ahead_frames=2)) as stream,
    ):
        pieces = [stream.push(mel[:, frame : frame + 1]).samples[0] for frame in range(mel.shape[1])]
        pieces.append(stream.flush().samples[0])
    audio = np.concatenate(pieces)
    assert audio.shape == recorded.shape
    assert np.abs(audio).max() <= 1.0


def test_its_effects_are_read(frozen):
    assert chosen_chain("artifact", Artifact.open(frozen / "artifact")) is not None


def test_it_can_be_changed(frozen, tmp_path):
    root = tmp_path / "artifact"
    shutil.copytree(frozen / "artifact", root)
    changed = change_artifact(root, lambda artifact: (artifact.manifest, {}))
    assert [error for _, error in changed.verify() if error] == []
