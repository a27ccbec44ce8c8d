"""WaveGlow against the official implementation, in both directions, and the formats of its checkpoints."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from voirs_vocoder.reference_models import CheckpointError, ModelConfigError, get_family, published
from voirs_vocoder.reference_models.checkpoints.weight_norm import fold_weight_norm
from voirs_vocoder.reference_models.waveglow.config import WaveGlowConfig
from voirs_vocoder.reference_models.waveglow.model import WaveGlow
from voirs_vocoder.reference_models.waveglow.synthesis import WaveGlowSynthesis

pytestmark = pytest.mark.numeric

OFFICIAL = published.WAVEGLOW


@pytest.fixture(scope="module")
def folder(data_dir):
    return data_dir / "waveglow"


@pytest.fixture(scope="module")
def golden(folder):
    return {path.stem: torch.from_numpy(np.load(path)) for path in (folder / "tiny").glob("*.npy")}


@pytest.fixture(scope="module")
def model(folder):
    return get_family("waveglow").load(folder / "tiny" / "state_dict.pt", folder / "config.json")


def test_names_and_shapes_are_the_official_ones(data_dir):
    layouts = json.loads((data_dir / "state_dict_layouts.json").read_text(encoding="utf-8"))
    config = WaveGlowConfig.from_mapping(OFFICIAL)
    with torch.device("meta"):
        state = WaveGlow(config).state_dict()
    assert {name: list(tensor.shape) for name, tensor in state.items()} == layouts["waveglow_256"]
    assert (config.variant, config.mel_convention().id) == ("256ch", "tacotron2-22k")
    assert (config.look_ahead_samples, config.look_ahead_frames, config.context_frames) == (24480, 96, 99)


@pytest.mark.parametrize("file", ["state_dict.pt", "pickled_module.pt"])
def test_audio_is_that_of_the_official_code(folder, golden, file):
    family = get_family("waveglow")
    model = family.load(folder / "tiny" / file, folder / "config.json")
    (graph,) = family.graphs(model)
    audio = graph.module(golden["mel"], golden["z"])
    torch.testing.assert_close(audio[:, 0], golden["audio"], rtol=0, atol=1e-4)


def test_noise_and_determinants_are_those_of_the_official_code(model, golden):
    result = model(golden["mel"], golden["audio"])
    torch.testing.assert_close(result.z, golden["z"], rtol=0, atol=1e-4)
    log_s = torch.cat([scale.flatten() for scale in result.log_s])
    torch.testing.assert_close(log_s, golden["forward_log_s"], rtol=0, atol=1e-4)
    # The matrices are orthogonal, so each log-determinant is rounding alone, repeated at every position. An LU of n
    # channels is exact for a matrix that differs by at most n roundings of eps / 2 per row, which moves log |det| by at
    # most n^2 eps / 2 (the trace of a perturbation of an orthogonal matrix); both sides of the comparison have that.
    positions = golden["z"].shape[2]
    for flow, determinant in enumerate(result.log_determinants):
        channels = model.flows()[flow][0].conv.weight.shape[0]
        allowed = channels**2 * torch.finfo(torch.float32).eps
        difference = (determinant - golden["forward_logdet"][flow]) / positions
        assert abs(float(difference.detach())) < allowed


def test_the_log_determinants_are_those_of_the_jacobian():
    config = WaveGlowConfig.from_mapping(small(n_flows=3, n_early_every=2))
    model = random_model(config)
    mel = torch.randn(1, 2, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    audio = torch.randn(1, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(4))

    def outputs(samples):
        return model(mel, samples).z.flatten()

    jacobian = torch.autograd.functional.jacobian(outputs, audio).reshape(16, 16)
    result = model(mel, audio)
    stated = sum(scale.sum() for scale in result.log_s) + sum(result.log_determinants)
    torch.testing.assert_close(stated, torch.linalg.slogdet(jacobian).logabsdet)


def test_the_layout_from_before_convert_model_gives_the_same_audio(folder, golden, tmp_path):
    state = torch.load(folder / "tiny" / "state_dict.pt", weights_only=True)["state_dict"]
    former = {}
    for name, tensor in state.items():
        stem, _, leaf = name.rpartition(".")
        coupling, _, layer = stem.rpartition(".")
        if coupling.endswith("res_skip_layers"):
            parts = tensor.chunk(2) if tensor.shape[0] > 16 else (tensor,)
            kinds = ("res", "skip")[-len(parts) :]
            for kind, part in zip(kinds, parts, strict=True):
                former[f"{coupling.replace('res_skip', kind)}.{layer}.{leaf}"] = part.clone()
        elif stem.endswith("cond_layer"):
            for number, part in enumerate(tensor.chunk(4)):
                former[f"{stem}s.{number}.{leaf}"] = part.clone()
        else:
            former[name] = tensor
    assert any(".skip_layers." in name for name in former)
    torch.save({"model": former}, tmp_path / "former.pt")
    family = get_family("waveglow")
    (graph,) = family.graphs(family.load(tmp_path / "former.pt", folder / "config.json"))
    audio = graph.module(golden["mel"], golden["z"])
    torch.testing.assert_close(audio[:, 0], golden["audio"], rtol=0, atol=1e-4)


@st.composite
def small_configs(draw):
    n_flows = draw(st.integers(1, 4))
    return WaveGlowConfig.from_mapping(
        small(
            n_flows=n_flows,
            n_early_every=draw(st.integers(2, 4)),
            n_layers=draw(st.integers(1, 4)),
            kernel_size=draw(st.sampled_from([1, 3, 5])),
        )
    )


@settings(max_examples=20, deadline=None)
@given(config=small_configs())
def test_look_ahead_is_the_exact_reach_of_any_geometry(config):
    model = random_model(config)
    for name, parameter in model.named_parameters():
        parameter.data.fill_(0.0 if name.endswith("bias") else 0.05)
    for convinv in model.convinv:
        # Mixes every channel into every other, with an inverse that does as well.
        size = convinv.conv.weight.shape[0]
        convinv.conv.weight.data = (torch.eye(size).double() + 0.1 / size).unsqueeze(-1)
    synthesis = WaveGlowSynthesis(model).double()
    frame = config.look_ahead_frames + 1
    mel = torch.zeros(1, 2, frame + config.context_frames + 2, dtype=torch.float64, requires_grad=True)
    noise = torch.ones(1, 8, 32 * mel.shape[2], dtype=torch.float64, requires_grad=True)
    audio = synthesis(mel, noise)[0, 0]

    def depends(sample, on, place):
        (gradient,) = torch.autograd.grad(audio[sample], on, retain_graph=True)
        return bool(gradient[0, :, place].any())

    start, reach = 256 * frame, config.look_ahead_samples
    # The last half of a group is what a coupling changes.
    changed = start + 7
    noise_reached = [depends(changed - offset, noise, 32 * frame) for offset in (reach, reach + 8)]
    assert noise_reached == [True, False]
    # The mel enters after each layer's convolution, so it reaches a layer's step less far.
    samples = (start - reach - 1, start, start + 255, start + 255 + 768 + reach + 1)
    assert [depends(sample, mel, frame) for sample in samples] == [False, True, True, False]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_group": 7}, "n_group must be even"),
        ({"n_early_size": 8, "n_early_every": 1}, "leave channels"),
        ({"kernel_size": 4}, "kernel_size must be odd"),
        ({"n_flows": 0}, "n_flows must be at least 1"),
        ({"hop_length": 300}, "hop_length must be 256"),
        ({"mel_fmax": 20000.0}, "nyquist"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(change, message):
    with pytest.raises(ModelConfigError, match=message):
        WaveGlowConfig.from_mapping(small(**change))


def test_a_wrong_value_is_named_by_its_place_in_the_sections():
    with pytest.raises(
        ModelConfigError, match=r"\$\.waveglow_config\.WN_config\.n_layers must be an integer, got '8'"
    ):
        WaveGlowConfig.from_mapping(small(n_layers="8"))


def test_a_configuration_without_its_mel_is_refused():
    with pytest.raises(
        ModelConfigError, match="'data_config' is missing; is this the configuration of a Wave"
    ):
        WaveGlowConfig.from_mapping({"waveglow_config": OFFICIAL["waveglow_config"]})


def test_a_checkpoint_of_another_family_is_refused(folder, data_dir):
    other = data_dir / "hifigan" / "tiny_resblock1" / "generator"
    with pytest.raises(CheckpointError, match="the weights are expected under 'model' or 'state_dict'"):
        get_family("waveglow").load(other, folder / "config.json")


def small(**changes):
    """A configuration of two bands; `changes` go wherever their keys belong."""
    values = json.loads(json.dumps(OFFICIAL))
    model, data = values["waveglow_config"], values["data_config"]
    model.update(n_mel_channels=2, n_flows=2)
    model["WN_config"].update(n_layers=2, n_channels=4)
    for key, value in changes.items():
        section = next(s for s in (model["WN_config"], model, data) if key in s)
        section[key] = value
    return values


def random_model(config):
    torch.manual_seed(0)
    model = WaveGlow(config)
    fold_weight_norm(model)
    for parameter in model.parameters():
        if parameter.dim() > 1 and parameter.shape[0] != parameter.shape[1]:
            torch.nn.init.normal_(parameter, 0, 0.2)
    return model.double().requires_grad_(False)
