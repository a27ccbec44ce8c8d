"""A family plugs in: thirty lines take a new one from export to speech, and no other file knows of it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from voirs_vocoder.export.pipeline import ExportRequest, export_artifact
from voirs_vocoder.reference_models import FAMILIES, ReferenceModelError, get_family, register_family
from voirs_vocoder.reference_models.family import (
    GraphSpec,
    ModelDescription,
    TensorSpec,
    VocoderModule,
)
from voirs_vocoder.reference_models.training import get_recipe
from voirs_vocoder.runtime import Vocoder
from voirs_vocoder.runtime.mel.convention import MelConvention

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]

MEL = MelConvention(
    id="toy-8k", sample_rate=8000, n_fft=64, win_length=64, hop_length=16, n_mels=10, f_min_hz=0.0, f_max_hz=4000.0,
    framing="hop-aligned", mel_scale="slaney", mel_norm="slaney", compression="ln", floor=1e-5,
)  # fmt: skip


class Toy(VocoderModule):
    description = ModelDescription("direct", "tiny", 16, MEL, {})

    def __init__(self):
        super().__init__()
        self.head = nn.Conv1d(10, 8, 3, padding=1)
        self.up = nn.ConvTranspose1d(8, 1, 16, 16)

    def forward(self, mel):
        return torch.tanh(self.up(nn.functional.leaky_relu(self.head(mel), 0.1)))


class ToyFamily:
    def load(self, checkpoint, config):
        module = Toy()
        module.load_state_dict(torch.load(checkpoint, weights_only=True))
        return module.eval()

    def graphs(self, module):
        mel = TensorSpec("mel", ("batch", 10, "frames"), example_mean=-5.0)
        audio = TensorSpec("audio", ("batch", 1, "frames*16"))
        return [GraphSpec("offline", module, (mel,), (audio,), 1, 1, {"fp16": ("up", "Tanh.*")})]


@pytest.fixture(scope="module")
def toy_artifact(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("toy")
    torch.save(Toy().state_dict(), folder / "toy.pt")
    register_family("toy", ToyFamily())
    request = ExportRequest(
        "toy", folder / "toy.pt", None, folder / "artifact", ("fp32", "fp16", "int8"), folder / "mels"
    )
    (folder / "mels").mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        np.save(folder / "mels" / f"{number}.npy", rng.normal(-5, 2, (10, 250)).astype(np.float32))
    export_artifact(request)
    return folder


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_new_family_goes_from_checkpoint_to_speech(toy_artifact, precision):
    mel = np.random.default_rng(1).normal(-5, 2, (10, 77)).astype(np.float32)
    module = ToyFamily().load(toy_artifact / "toy.pt", None)
    expected = module(torch.from_numpy(mel)[None]).detach().numpy()[0]
    with Vocoder.load(toy_artifact / "artifact", precision=precision) as vocoder:
        audio = vocoder.vocode(mel)
    assert audio.samples.shape == (1, 77 * 16)
    tolerance = {"fp32": 1e-5, "fp16": 1e-2, "int8": 5e-2}[precision]
    np.testing.assert_allclose(audio.samples, expected, atol=tolerance)


def test_a_name_is_taken_once(toy_artifact):
    with pytest.raises(ReferenceModelError, match="must be new"):
        register_family("toy", ToyFamily())
    with pytest.raises(ReferenceModelError, match=r"known: .*hifigan.*toy"):
        get_family("melgan")


@pytest.mark.parametrize("row", FAMILIES.values(), ids=FAMILIES)
def test_a_row_of_the_table_is_a_family_that_can_be_trained_and_is_documented(row):
    family = get_family(row.name)
    assert callable(family.load)
    assert callable(family.graphs)
    if row.recipe is not None:
        assert get_recipe(row.name).family == row.name
    for readme in ("README.md", "reference_models/README.md"):
        assert f"| `{row.name}` |" in (ROOT / readme).read_text(encoding="utf-8"), readme
