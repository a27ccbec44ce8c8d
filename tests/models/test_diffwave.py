"""DiffWave against the official implementation: single evaluations, and the published sampling as a whole."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from voirs_vocoder.reference_models import CheckpointError, ModelConfigError, get_family
from voirs_vocoder.reference_models.diffusion.diffwave import DiffWave
from voirs_vocoder.reference_models.diffusion.diffwave_config import MEL_REACH_SAMPLES, DiffWaveConfig
from voirs_vocoder.reference_models.layers import StepEmbedding
from voirs_vocoder.runtime import VocodingConfig
from voirs_vocoder.runtime.diffusion.choice import chosen_plan

pytestmark = pytest.mark.numeric

# github.com/lmnt-com/diffwave at 0594106, params.py.
BASE = {
    "sample_rate": 22050,
    "n_mels": 80,
    "n_fft": 1024,
    "hop_samples": 256,
    "residual_layers": 30,
    "residual_channels": 64,
    "dilation_cycle_length": 10,
    "unconditional": False,
    "noise_schedule": [float(beta) for beta in np.linspace(1e-4, 0.05, 50)],
    "inference_noise_schedule": [0.0001, 0.001, 0.01, 0.05, 0.2, 0.5],
}


@pytest.fixture(scope="module")
def folder(data_dir):
    return data_dir / "diffwave" / "tiny"


@pytest.fixture(scope="module")
def golden(folder):
    return {path.stem: torch.from_numpy(np.load(path)) for path in folder.glob("*.npy")}


@pytest.fixture(scope="module")
def model(folder):
    return get_family("diffwave").load(folder / "weights.pt", None)


@pytest.mark.slow
def test_names_and_shapes_are_the_official_ones(data_dir):
    layouts = json.loads((data_dir / "state_dict_layouts.json").read_text(encoding="utf-8"))
    config = DiffWaveConfig.from_mapping(BASE)
    with torch.device("meta"):
        state = DiffWave(config).state_dict()
    assert {name: list(tensor.shape) for name, tensor in state.items()} == layouts["diffwave_base"]
    assert (config.variant, config.mel_convention().id) == ("base", "lmnt-diffwave-22k")
    assert (config.context_samples, config.context_frames) == (3069, 12)


@pytest.mark.parametrize(("step", "file"), [(20.0, "eps_step20"), (13.37, "eps_step13_37")])
def test_the_predicted_noise_is_that_of_the_official_code(model, golden, step, file):
    predicted = model(golden["x"].unsqueeze(1), torch.tensor([step]), golden["mel"])
    torch.testing.assert_close(predicted.squeeze(1), golden[file].reshape(1, -1), rtol=0, atol=1e-5)


def test_the_published_sampling_is_that_of_the_official_code(model, golden):
    diffusion = model.description.diffusion
    plan = chosen_plan(diffusion, VocodingConfig())
    told = sorted(step.step for step in plan.steps)
    np.testing.assert_allclose(told, golden["fast_steps"].numpy(), atol=1e-4)
    noise = golden["fast_noise"].numpy()
    conditioner = model.condition(golden["mel"])
    x = noise[0]
    for number, step in enumerate(plan.steps):
        noisy = torch.from_numpy(x).unsqueeze(1)
        eps = model.predict_noise(noisy, torch.tensor([step.step]), conditioner).squeeze(1).numpy()
        x = step.apply(x, eps, None, noise[number + 1] if step.d else None)
    np.testing.assert_allclose(x, golden["fast_audio"].numpy(), rtol=0, atol=1e-4)


def test_the_step_table_is_interpolated_and_limited():
    embedding = StepEmbedding(50, 8)
    between = embedding.embedding[13] + (embedding.embedding[14] - embedding.embedding[13]) * 0.25
    table = embedding.embedding.clone()
    with torch.no_grad():
        got = embedding(torch.tensor([13.25, 60.0, -3.0]))
        embedding.embedding.copy_(between.expand_as(table))
        torch.testing.assert_close(got[0], embedding(torch.zeros(1))[0])
        embedding.embedding.copy_(table)
        torch.testing.assert_close(got[1:], embedding(torch.tensor([49.0, 0.0])))


@settings(max_examples=25, deadline=None)
@given(layers=st.integers(1, 8), cycle=st.integers(1, 4))
def test_one_evaluation_reads_its_context_and_nothing_else(layers, cycle):
    values = {**BASE, "residual_layers": layers, "dilation_cycle_length": cycle, "residual_channels": 2}
    config = DiffWaveConfig.from_mapping({**values, "n_mels": 2})
    model = DiffWave(config).double()
    # With positive weights and inputs no unit is silent and nothing cancels.
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, 0.1)
    center = config.context_samples + 1
    noisy = torch.ones(1, 1, 2 * center + 1, dtype=torch.float64, requires_grad=True)
    conditioner = torch.rand(1, 2, 2 * center + 1, dtype=torch.float64)
    predicted = model.predict_noise(noisy, torch.tensor([3.5], dtype=torch.float64), conditioner)
    (gradient,) = torch.autograd.grad(predicted[0, 0, center], noisy)
    read = torch.nonzero(gradient[0, 0]).flatten()
    assert (int(read[0]), int(read[-1])) == (1, 2 * center - 1)


def test_a_frame_of_the_mel_is_heard_as_far_as_computed(model):
    mel = torch.zeros(1, 80, 5, requires_grad=True)
    conditioner = model.condition(mel).sum(dim=1)[0]
    heard = [
        bool(torch.autograd.grad(conditioner[sample], mel, retain_graph=True)[0][..., 2].any())
        for sample in (
            512 - MEL_REACH_SAMPLES - 1,
            512 - MEL_REACH_SAMPLES,
            768 + MEL_REACH_SAMPLES - 1,
            768 + 136,
        )
    ]
    assert heard == [False, True, True, False]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hop_samples": 300}, "hop_samples must be 256"),
        ({"noise_schedule": []}, "length of at least 1"),
        ({"noise_schedule": [0.1, 1.0]}, r"noise_schedule\[1\] must be below 1, got 1\.0"),
        ({"inference_noise_schedule": [0.0]}, r"inference_noise_schedule\[0\] must be above 0"),
        ({"noise_schedule": ["a"]}, r"noise_schedule\[0\] must be a number, got 'a'"),
        ({"unconditional": True}, "'unconditional' must be false"),
        ({"residual_layers": 0}, "residual_layers must be at least 1"),
        ({"dilation_cycle_length": 30}, "dilation_cycle_length must be at most 16"),
    ],
)
def test_parameters_that_cannot_work_are_refused(change, message):
    with pytest.raises(ModelConfigError, match=message):
        DiffWaveConfig.from_mapping({**BASE, **change})


def test_a_checkpoint_of_another_family_is_refused(folder, data_dir):
    other = data_dir / "waveglow" / "tiny" / "pickled_module.pt"
    with pytest.raises(CheckpointError, match="this is WaveGlow by NVIDIA"):
        get_family("diffwave").load(other, folder / "params.json")


@pytest.mark.parametrize(("layers", "kept"), [(12, True), (30, False)])
def test_int8_keeps_the_first_dilated_convolutions_float_where_the_search_cannot_afford_them(layers, kept):
    values = {**BASE, "residual_layers": layers, "residual_channels": 2}
    _, step = get_family("diffwave").graphs(DiffWave(DiffWaveConfig.from_mapping(values)))
    assert ("network.residual_layers.[012].dilated_conv" in step.keep_float["int8"]) == kept
