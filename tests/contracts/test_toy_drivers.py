"""Families plug into every driver: a toy flow and a toy diffusion model go from export to speech and streams.

The toy of the driver `direct` has a test of its own, `test_toy_family.py`.
"""

import numpy as np
import pytest
import torch
from torch import nn

from voirs_vocoder.export.pipeline import ExportRequest, export_artifact
from voirs_vocoder.reference_models import register_family
from voirs_vocoder.reference_models.family import GraphSpec, ModelDescription, TensorSpec, VocoderModule
from voirs_vocoder.reference_models.training.torch_vocoder import torch_vocoder
from voirs_vocoder.runtime import Vocoder, VocodingConfig
from voirs_vocoder.runtime.artifact.manifest import Diffusion
from voirs_vocoder.runtime.mel.convention import MelConvention

pytestmark = pytest.mark.slow

MEL = MelConvention(
    id="toy-8k", sample_rate=8000, n_fft=64, win_length=64, hop_length=16, n_mels=10, f_min_hz=0.0, f_max_hz=4000.0,
    framing="hop-aligned", mel_scale="slaney", mel_norm="slaney", compression="ln", floor=1e-5,
)  # fmt: skip
MEL_INPUT = TensorSpec("mel", ("batch", 10, "frames"), example_mean=-5.0)


class ToyFlow(VocoderModule):
    """Groups of four samples: noise and mel are added and mixed over three groups."""

    description = ModelDescription("flow", "tiny", 4, MEL, {})

    def __init__(self):
        super().__init__()
        self.stretch = nn.ConvTranspose1d(10, 4, 4, 4)
        self.mix = nn.Conv1d(4, 4, 3, padding=1)
        self.ungroup = nn.ConvTranspose1d(4, 1, 4, 4)

    def forward(self, mel, noise):
        return torch.tanh(self.ungroup(self.mix(noise + self.stretch(mel))))


class ToyFlowFamily:
    def load(self, checkpoint, config):
        module = ToyFlow()
        module.load_state_dict(torch.load(checkpoint, weights_only=True))
        return module.eval()

    def graphs(self, module):
        noise = TensorSpec("noise", ("batch", 4, "frames*4"))
        audio = TensorSpec("audio", ("batch", 1, "frames*16"))
        return [GraphSpec("offline", module, (MEL_INPUT, noise), (audio,), 1, 1)]


class Network(nn.Module):
    """The noise in noisy audio, from the audio, the step and the stretched mel."""

    def __init__(self):
        super().__init__()
        self.noisy, self.mel, self.step = nn.Conv1d(1, 8, 3, padding=1), nn.Conv1d(2, 8, 1), nn.Linear(1, 8)
        self.out = nn.Conv1d(8, 1, 1)

    def forward(self, noisy_audio, step, conditioner):
        embedded = self.step(step.unsqueeze(1) / 50).unsqueeze(2)
        return self.out(torch.tanh(self.noisy(noisy_audio) + self.mel(conditioner) + embedded))


class ToyDiffusion(VocoderModule):
    betas = tuple(np.linspace(1e-3, 0.2, 50).tolist())
    sampling = Diffusion(
        training_betas=betas, fast_betas=None, sampler="ddim", steps=4, drops_conditioning=False
    )
    description = ModelDescription("diffusion", "tiny", 1, MEL, {}, sampling)

    def __init__(self):
        super().__init__()
        self.stretch, self.network = nn.ConvTranspose1d(10, 2, 16, 16), Network()


class ToyDiffusionFamily:
    def load(self, checkpoint, config):
        module = ToyDiffusion()
        module.load_state_dict(torch.load(checkpoint, weights_only=True))
        return module.eval()

    def graphs(self, module):
        conditioner = TensorSpec("conditioner", ("batch", 2, "frames*16"))
        noisy = TensorSpec("noisy_audio", ("batch", 1, "samples"))
        inputs = (noisy, TensorSpec("step", ("batch",)), TensorSpec("conditioner", ("batch", 2, "samples")))
        predicted = TensorSpec("predicted_noise", ("batch", 1, "samples"))
        return [
            GraphSpec("conditioner", module.stretch, (MEL_INPUT,), (conditioner,), 0, 0),
            GraphSpec("step", module.network, inputs, (predicted,), 1, 1),
        ]


TOYS = [("toy-flow", ToyFlow, ToyFlowFamily), ("toy-diffusion", ToyDiffusion, ToyDiffusionFamily)]


@pytest.fixture(scope="module", params=TOYS, ids=lambda toy: toy[0])
def toy(request, tmp_path_factory):
    """Name, model and artifact of a toy family."""
    name, model, family = request.param
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp(name)
    torch.save(model().state_dict(), folder / "toy.pt")
    register_family(name, family())
    export_artifact(ExportRequest(name, folder / "toy.pt", None, folder / "artifact", ("fp32", "fp16")))
    return name, family().load(folder / "toy.pt", None), folder / "artifact"


@pytest.fixture
def mel():
    return np.random.default_rng(1).normal(-5, 2, (10, 77)).astype(np.float32)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("fp16", 2e-2)])
def test_a_toy_family_goes_from_checkpoint_to_speech(toy, mel, precision, tolerance):
    name, model, artifact = toy
    expected = torch_vocoder(name, model).vocode(mel, VocodingConfig(seed=3)).samples
    with Vocoder.load(artifact, precision=precision) as vocoder:
        audio = vocoder.vocode(mel, VocodingConfig(seed=3)).samples
    assert audio.shape == (1, 77 * 16)
    assert np.abs(audio).max() > 0.05
    np.testing.assert_allclose(audio, expected, rtol=0, atol=tolerance)


def test_the_stream_of_a_toy_family_equals_its_offline_output(toy, mel):
    _, _, artifact = toy
    config = VocodingConfig(seed=3)
    with Vocoder.load(artifact) as vocoder:
        pieces = vocoder.vocode_stream(iter((mel[:, :20], mel[:, 20:21], mel[:, 21:])), config)
        streamed = np.concatenate([piece.samples for piece in pieces], axis=1)
        whole = vocoder.vocode(mel, config).samples
    np.testing.assert_allclose(streamed, whole, rtol=0, atol=1e-5)
