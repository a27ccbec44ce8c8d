"""INT8 of diffusion models: noise is measured where it remains, and the noise floor stays near that of FP32."""

import shutil

import numpy as np
import pytest

from artifacts.shipped import SAMPLES, SHIPPED
from voirs_vocoder.calibration.config import Int8Config
from voirs_vocoder.export.graphs.example_inputs import feeds_from_mels
from voirs_vocoder.export.pipeline import ExportRequest, export_artifact
from voirs_vocoder.export.precisions import MakeOptions
from voirs_vocoder.runtime import Vocoder, VocodingConfig
from voirs_vocoder.runtime.audio import read_mono
from voirs_vocoder.runtime.diffusion.choice import chosen_plan
from voirs_vocoder.runtime.mel import mel_spectrogram
from voirs_vocoder.runtime.metrics import lsd

pytestmark = [pytest.mark.slow, pytest.mark.numeric]

UNET = next(each for each in SHIPPED if each.family == "diffwave-unet")
FRAMES = 240


@pytest.fixture(scope="module")
def unet(tmp_path_factory):
    """The shipped U-Net in FP32 and INT8, without a search for what else should stay float."""
    folder = tmp_path_factory.mktemp("unet")
    calibration = folder / "calibration"
    calibration.mkdir()
    for path in sorted((SAMPLES / "calibration").glob("*.flac"))[:2]:
        shutil.copy(path, calibration)
    request = ExportRequest(
        family=UNET.family,
        checkpoint=UNET.weights,
        config=None,
        output=folder / "artifact",
        precisions=("fp32", "int8"),
        calibration=calibration,
        stream=False,
        batch=False,
        options=MakeOptions(targets=("cpu",), int8=Int8Config(max_float_share=0.0)),
    )
    return export_artifact(request)


def spoken(manifest):
    path = sorted(SAMPLES.glob("*.flac"))[0]
    samples = read_mono(path).samples[0][: FRAMES * manifest.hop_length]
    return samples, mel_spectrogram(samples, manifest.sample_rate, manifest.mel).values[:, :FRAMES]


def test_int8_raises_the_noise_floor_of_the_shipped_unet_little(unet):
    speech, mel = spoken(unet.manifest)
    distances = {}
    for precision in ("fp32", "int8"):
        with Vocoder.load(unet.root, precision=precision) as vocoder:
            audio = vocoder.vocode(mel, VocodingConfig(seed=0)).samples[0]
        distances[precision] = lsd(speech, audio[: speech.size])
    assert distances["int8"] <= distances["fp32"] + 0.15


def test_feeds_of_a_diffusion_step_begin_with_the_last_step_of_each_mel(unet):
    manifest = unet.manifest
    entry = next(graph for graph in manifest.graphs if graph.name == "step.fp32")

    class Session:
        def __init__(self, role):
            self.role = role

        def run(self, feed):
            if self.role == "conditioner":
                return {
                    "conditioner": np.zeros((1, 3, feed["mel"].shape[2] * manifest.hop_length), np.float32)
                }
            return {"predicted_noise": np.zeros_like(feed["noisy_audio"])}

    mels = [np.zeros((80, 4), np.float32)] * 2
    feeds = feeds_from_mels(entry, mels, manifest.hop_length, manifest.diffusion, Session)
    steps = [step.step for step in chosen_plan(manifest.diffusion, VocodingConfig()).steps]
    assert [float(feed["step"][0]) for feed in feeds] == pytest.approx([*steps[::-1]] * 2)
    assert steps[-1] < steps[0]
