"""A client that is not ours: sherpa-onnx takes the offline graph as its vocoder, as it is, and speaks with it.

sherpa-onnx runs a vocoder only behind a text-to-speech model such as Matcha, whose place a graph takes here that knows
a single mel. It brings its own ONNX Runtime and crashes where it refuses a vocoder, so it runs in its own process.
"""

import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from voirs_vocoder.export.pipeline import ExportRequest, export_artifact
from voirs_vocoder.runtime import Vocoder, mel_spectrogram, read_audio

pytestmark = pytest.mark.slow

# Without silence_scale=1 for the generation (the configuration's own has no effect), sherpa-onnx shortens pauses.
CLIENT = """
import sys
import numpy as np
import sherpa_onnx

acoustic_model, vocoder, lexicon, tokens, output = sys.argv[1:]
matcha = sherpa_onnx.OfflineTtsMatchaModelConfig(
    acoustic_model=acoustic_model, vocoder=vocoder, lexicon=lexicon, tokens=tokens
)
model = sherpa_onnx.OfflineTtsModelConfig(matcha=matcha, num_threads=1, provider="cpu")
config = sherpa_onnx.OfflineTtsConfig(model=model)
if not config.validate():
    sys.exit("sherpa-onnx refused its configuration")
generation = sherpa_onnx.GenerationConfig()
generation.silence_scale = 1.0
speech = sherpa_onnx.OfflineTts(config).generate("a", generation)
np.savez(output, samples=np.array(speech.samples, np.float32), sample_rate=speech.sample_rate)
"""


@pytest.fixture(scope="module")
def artifact(shipped_checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sherpa") / "artifact"
    export_artifact(ExportRequest("hifigan", shipped_checkpoint, None, folder))
    return folder


@pytest.fixture(scope="module")
def graph(artifact):
    return artifact / "graphs" / "offline.fp32.onnx"


@pytest.fixture(scope="module")
def mel(sample_recordings):
    """The shortest recording's."""
    audio = min(map(read_audio, sample_recordings), key=lambda recording: recording.duration_s)
    return mel_spectrogram(audio.samples, audio.sample_rate)


def acoustic_model(mel):
    """A Matcha model whose speech is always `mel`, with the inputs and properties that sherpa-onnx looks for.

    `jieba` chooses the frontend that needs a lexicon and no data of espeak.
    """
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.INT64, ["batch", "tokens"]),
        helper.make_tensor_value_info("x_length", TensorProto.INT64, ["batch"]),
        helper.make_tensor_value_info("noise_scale", TensorProto.FLOAT, [1]),
        helper.make_tensor_value_info("length_scale", TensorProto.FLOAT, [1]),
    ]
    outputs = [
        helper.make_tensor_value_info("mel", TensorProto.FLOAT, ["batch", mel.convention.n_mels, "frames"])
    ]
    speak = helper.make_node("Identity", ["speech"], ["mel"])
    speech = numpy_helper.from_array(mel.values[np.newaxis], "speech")
    model = helper.make_model(
        helper.make_graph([speak], "acoustic_model", inputs, outputs, [speech]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    properties = {"sample_rate": "22050", "n_speakers": "1", "use_eos_bos": "0", "pad_id": "0", "jieba": "1"}
    helper.set_model_props(model, properties)
    onnx.checker.check_model(model)
    return model


def run_sherpa_onnx(folder, mel, vocoder):
    """sherpa-onnx's finished process; what it said, if anything, is in `folder`/speech.npz."""
    onnx.save(acoustic_model(mel), folder / "acoustic_model.onnx")
    (folder / "lexicon.txt").write_text("a a\n", encoding="utf-8")
    (folder / "tokens.txt").write_text("_ 0\na 1\n", encoding="utf-8")
    files = ["acoustic_model.onnx", vocoder, "lexicon.txt", "tokens.txt", "speech.npz"]
    command = [sys.executable, "-c", CLIENT, *files]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_sherpa_onnx_speaks_with_our_graph(tmp_path, artifact, graph, mel):
    client = run_sherpa_onnx(tmp_path, mel, graph)
    assert client.returncode == 0, client.stderr
    speech = np.load(tmp_path / "speech.npz")
    with Vocoder.load(artifact) as vocoder:
        expected = vocoder.vocode(mel)
    assert speech["sample_rate"] == expected.sample_rate
    assert speech["samples"].shape == (expected.samples.shape[1],)
    np.testing.assert_allclose(speech["samples"], expected.samples[0], atol=1e-4)
    assert np.abs(speech["samples"]).max() > 0.1


@pytest.mark.parametrize(
    ("model_type", "complaint"), [("waveglow", "Unsupported model_type: waveglow"), (None, "No model_type")]
)
def test_sherpa_onnx_chooses_its_vocoder_by_model_type(tmp_path, graph, mel, model_type, complaint):
    other = onnx.load(graph)
    properties = {entry.key: entry.value for entry in other.metadata_props if entry.key != "model_type"}
    helper.set_model_props(
        other, properties if model_type is None else {**properties, "model_type": model_type}
    )
    onnx.save(other, tmp_path / "other.onnx")
    client = run_sherpa_onnx(tmp_path, mel, tmp_path / "other.onnx")
    assert client.returncode != 0
    assert complaint in client.stderr
    assert not (tmp_path / "speech.npz").exists()
