"""BigVGAN: official files load as they are and give the official audio; what is not official is refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from voirs_vocoder.reference_models import get_family
from voirs_vocoder.reference_models.bigvgan.activation import AntiAliasedSnake
from voirs_vocoder.reference_models.bigvgan.config import BigVganConfig
from voirs_vocoder.reference_models.bigvgan.model import BigVgan
from voirs_vocoder.reference_models.errors import CheckpointError, ModelConfigError
from voirs_vocoder.reference_models.layers import HALF_BAND_FILTER
from voirs_vocoder.reference_models.layouts.table import read_model

ZOO = Path(__file__).resolve().parents[1] / "data" / "zoo" / "bigvgan"
TINY = {
    "resblock": "1",
    "upsample_rates": [4, 2],
    "upsample_kernel_sizes": [8, 4],
    "upsample_initial_channel": 8,
    "resblock_kernel_sizes": [3, 5],
    "resblock_dilation_sizes": [[1, 3], [1, 2]],
    "activation": "snakebeta",
    "snake_logscale": True,
    "num_mels": 4,
    "n_fft": 64,
    "hop_size": 8,
    "win_size": 64,
    "sampling_rate": 8000,
    "fmin": 0,
    "fmax": None,
}
BASE = {
    **TINY,
    "upsample_rates": [8, 8, 2, 2],
    "upsample_kernel_sizes": [16, 16, 4, 4],
    "upsample_initial_channel": 512,
    "resblock_kernel_sizes": [3, 7, 11],
    "resblock_dilation_sizes": [[1, 3, 5]] * 3,
    "num_mels": 100,
    "n_fft": 1024,
    "win_size": 1024,
    "hop_size": 256,
    "sampling_rate": 24000,
}
LARGE = {
    **BASE,
    "upsample_rates": [4, 4, 2, 2, 2, 2],
    "upsample_kernel_sizes": [8, 8, 4, 4, 4, 4],
    "upsample_initial_channel": 1536,
}


def tiny(**changes):
    torch.manual_seed(0)
    model = BigVgan(BigVganConfig.from_mapping({**TINY, **changes}))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".act." in name:
                parameter.uniform_(-1.0, 1.5) if model.config.snake_logscale else parameter.uniform_(0.2, 3.0)
    return model.eval().requires_grad_(False)


@pytest.mark.parametrize("place", ["shared", "resblock2"])
def test_a_folder_as_published_gives_the_official_audio(place):
    model = get_family("bigvgan").load(ZOO / place, None)
    mel = torch.from_numpy(np.load(ZOO / place / "mel.npy"))[None]
    audio = model(mel)[0, 0].numpy()
    np.testing.assert_allclose(audio, np.load(ZOO / place / "audio.npy"), atol=1e-4)
    assert read_model(ZOO / place, None).layout == model.layout == "BigVGAN by NVIDIA"


def test_a_checkpoint_of_version_1_is_recognized_by_its_configuration_and_names(tmp_path):
    shutil.copy(ZOO / "shared" / "config.json", tmp_path)
    shutil.copy(ZOO / "shared" / "bigvgan_generator.pt", tmp_path / "g_05000000")
    assert read_model(tmp_path, None).family == "bigvgan"


def test_a_network_of_version_1_ends_with_a_bias_and_tanh():
    model = tiny(activation="snake", snake_logscale=False)
    names = set(model.state_dict())
    assert "conv_post.bias" in names
    assert not any(name.endswith(".beta") for name in names)
    with torch.no_grad():
        model.conv_post.bias += 5.0
    audio = model(torch.randn(1, 4, 9))
    assert 0.99 < float(audio.max()) <= 1.0
    assert set(tiny(use_bias_at_final=False).state_dict()) >= {
        "conv_post.weight_g",
        "activation_post.act.beta",
    }
    assert "conv_post.bias" not in tiny(use_bias_at_final=False).state_dict()


def official_activation(x, alpha, beta):
    """The activation as the official code computes it, step by step."""
    channels = x.shape[1]
    weight = HALF_BAND_FILTER.to(x).expand(channels, 1, -1)
    y = functional.pad(x, (5, 5), "replicate")
    y = 2.0 * functional.conv_transpose1d(y, weight, stride=2, groups=channels)
    y = y[..., 15:-15]
    y = y + torch.sin(y * alpha) ** 2 / (beta + 1e-9)
    return functional.conv1d(functional.pad(y, (5, 6), "replicate"), weight, stride=2, groups=channels)


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 64])
@pytest.mark.parametrize("log_scale", [False, True])
@pytest.mark.parametrize("has_beta", [False, True])
@pytest.mark.parametrize("folded", [False, True])
def test_an_activation_equals_the_official_steps_up_to_both_ends(folded, has_beta, log_scale, steps):
    generator = torch.Generator().manual_seed(steps)
    layer = AntiAliasedSnake(16, has_beta=has_beta, log_scale=log_scale).requires_grad_(False)
    alpha = torch.rand(16, generator=generator) * 4.0 - (2.0 if log_scale else -0.05)
    beta = torch.rand(16, generator=generator) * 4.0 - (2.0 if log_scale else -0.05) if has_beta else alpha
    layer.act.alpha.copy_(alpha)
    if has_beta:
        layer.act.beta.copy_(beta)
    alpha, beta = alpha.double()[:, None], beta.double()[:, None]
    if log_scale:
        alpha, beta = alpha.exp(), beta.exp()
    if folded:
        layer.fold()
    x = 3.0 * torch.randn(2, 16, steps, generator=generator)
    # In FP32 both round phases of up to 130 radians.
    torch.testing.assert_close(
        layer(x), official_activation(x, alpha.float(), beta.float()), rtol=1e-5, atol=5e-5
    )
    expected = official_activation(x.double(), alpha, beta)
    torch.testing.assert_close(layer.double()(x.double()), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("divisor", [1e-4, 0.04, 0.06, 1.0])
def test_a_small_divisor_costs_no_precision(divisor):
    layer = AntiAliasedSnake(2, has_beta=True, log_scale=False).requires_grad_(False)
    alpha, beta = torch.tensor([0.7, 2.0]), torch.full((2,), divisor)
    layer.act.alpha.copy_(alpha)
    layer.act.beta.copy_(beta)
    layer.fold()
    x = 1e-3 * torch.randn(1, 2, 64, generator=torch.Generator().manual_seed(0))
    expected = official_activation(x, alpha[:, None], beta[:, None])
    torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=5e-6)


def test_a_frequency_of_zero_leaves_the_signal_to_the_filters():
    layer = AntiAliasedSnake(2, has_beta=False, log_scale=False).requires_grad_(False)
    layer.fold()
    x = torch.randn(1, 2, 20)
    expected = official_activation(x, torch.zeros(2, 1), torch.ones(2, 1))
    torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("config", "frames"), [(BASE, 18), (LARGE, 38)])
def test_context_and_look_ahead_of_the_published_sizes(config, frames):
    assert BigVganConfig.from_mapping(config).look_ahead_frames == frames


@pytest.mark.parametrize("resblock", ["1", "2"])
def test_an_output_depends_on_exactly_the_stated_future_and_past(resblock):
    model = tiny(resblock=resblock).double()
    hop, config = model.config.hop_size, model.config
    frame = config.look_ahead_frames + 3
    mel = torch.randn(1, 4, 2 * frame, dtype=torch.float64, requires_grad=True)
    audio = model(mel)[0, 0]
    before, after = [], []
    for sample in range(frame * hop, (frame + 1) * hop):
        # A derivative, since a change that is filtered often enough drowns in the rounding of the sums.
        (slope,) = torch.autograd.grad(audio[sample], mel, retain_graph=True)
        frames = torch.nonzero(slope.abs().sum((0, 1))).flatten()
        before.append(sample - ((int(frames[0]) + 1) * hop - 1))
        after.append(int(frames[-1]) * hop - sample)
    assert (max(before), max(after)) == (config.look_ahead_samples, config.look_ahead_samples)


@pytest.mark.parametrize(
    ("keys", "convention"),
    [
        ({"sampling_rate": 22050, "num_mels": 80}, "bigvgan-22k-80band"),
        ({"sampling_rate": 22050, "num_mels": 80, "fmax": 8000}, "hifigan-22k"),
        ({"sampling_rate": 44100, "num_mels": 128}, "bigvgan-44k-128band-256x"),
    ],
)
def test_published_configurations_have_published_conventions(keys, convention):
    assert BigVganConfig.from_mapping({**BASE, **keys}).mel_convention().id == convention


def test_the_mel_convention_follows_from_the_configuration():
    convention = BigVganConfig.from_mapping(BASE).mel_convention()
    assert convention.id == "bigvgan-24k-100band"
    assert (convention.f_max_hz, convention.framing, convention.magnitude_epsilon) == (
        12000,
        "hop-aligned",
        1e-9,
    )
    other = BigVganConfig.from_mapping({**BASE, "fmax": 8000}).mel_convention()
    assert other.id.startswith("bigvgan-24000hz-100x256-")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation": "relu"}, "activation"),
        ({"snake_alpha": 2.0}, "snake_alpha"),
        ({"snake_logscale": "yes"}, "snake_logscale must be true or false"),
        ({"resblock": "3"}, "resblock must be '1' or '2'"),
        ({"hop_size": 16}, "must be hop_size, got 16"),
        ({"upsample_kernel_sizes": [7, 4]}, "must exceed it by an even number, got 7"),
        ({"upsample_kernel_sizes": [8]}, "one entry per upsample rate"),
        ({"resblock_kernel_sizes": [3, 4]}, "must be odd, got 4"),
        ({"upsample_initial_channel": 6}, "divisible by"),
        ({"fmax": 5000}, "nyquist"),
    ],
)
def test_a_configuration_that_is_no_bigvgan_is_refused_by_name(changes, message):
    with pytest.raises(ModelConfigError, match=message):
        BigVganConfig.from_mapping({**TINY, **changes})


def test_what_training_alone_reads_is_taken_as_it_is():
    keys = {
        "lambda_melloss": 15,
        "use_cqtd_instead_of_mrd": True,
        "cqtd_filters": 128,
        "mpd_reshapes": [2, 3],
    }
    assert BigVganConfig.from_mapping({**TINY, **keys, "clip_grad_norm": 500}).variant == "custom"


def changed(tmp_path, change):
    folder = shutil.copytree(ZOO / "resblock2", tmp_path / "model")
    weights = torch.load(folder / "bigvgan_generator.pt", weights_only=True)
    change(weights["generator"])
    torch.save(weights, folder / "bigvgan_generator.pt")
    return folder


def test_other_filters_than_the_official_ones_are_refused(tmp_path):
    name = "resblocks.1.activations.0.downsample.lowpass.filter"
    folder = changed(tmp_path, lambda weights: weights[name].mul_(1.01))
    with pytest.raises(CheckpointError, match=f"Kaiser sinc, got 12 others in '{name}'"):
        get_family("bigvgan").load(folder, None)


def test_a_checkpoint_in_half_precision_has_the_official_filters(tmp_path):
    folder = shutil.copytree(ZOO / "resblock2", tmp_path / "model")
    weights = torch.load(folder / "bigvgan_generator.pt", weights_only=True)["generator"]
    halves = {name: tensor.half() for name, tensor in weights.items()}
    torch.save({"generator": halves}, folder / "bigvgan_generator.pt")
    assert get_family("bigvgan").load(folder, None).layout == "BigVGAN by NVIDIA"


def test_missing_and_unexpected_weights_are_listed(tmp_path):
    folder = changed(tmp_path, lambda weights: weights.pop("activation_post.act.beta"))
    with pytest.raises(CheckpointError, match=r"1 missing: activation_post\.act\.beta"):
        get_family("bigvgan").load(folder, None)


def test_a_configuration_of_the_other_activation_is_refused(tmp_path):
    folder = shutil.copytree(ZOO / "resblock2", tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "activation": "snake"}))
    with pytest.raises(CheckpointError, match=r"13 unexpected: resblocks"):
        get_family("bigvgan").load(folder, None)
