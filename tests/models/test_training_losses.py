"""The families' losses, against closed forms and other ways to compute them."""

from __future__ import annotations

import copy
import dataclasses
import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy import signal

from voirs_vocoder.reference_models import get_family
from voirs_vocoder.reference_models.checkpoints.weight_norm import fold_weight_norm
from voirs_vocoder.reference_models.diffusion.channels_last import predict_noise
from voirs_vocoder.reference_models.diffusion.diffwave import DiffWave
from voirs_vocoder.reference_models.diffusion.diffwave_config import DiffWaveConfig
from voirs_vocoder.reference_models.diffusion.recipe import DiffusionTask, noise_level
from voirs_vocoder.reference_models.hifigan.recipe import hifigan_task
from voirs_vocoder.reference_models.training import get_recipe
from voirs_vocoder.reference_models.training.adversarial import discriminator_loss, generator_loss
from voirs_vocoder.reference_models.training.discriminators import Discriminators
from voirs_vocoder.reference_models.training.losses import (
    stft_log_magnitude_l1,
    stft_loss,
)
from voirs_vocoder.reference_models.training.task import Batch
from voirs_vocoder.reference_models.training.torch_vocoder import torch_vocoder
from voirs_vocoder.reference_models.vocos.recipe import vocos_task
from voirs_vocoder.reference_models.waveglow.config import WaveGlowConfig
from voirs_vocoder.reference_models.waveglow.model import WaveGlow
from voirs_vocoder.reference_models.waveglow.recipe import WaveGlowTask, flow_negative_log_likelihood
from voirs_vocoder.runtime.diffusion import NoiseSchedule

pytestmark = [pytest.mark.numeric, pytest.mark.usefixtures("one_thread")]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def tiny_flow():
    config = copy.deepcopy(dict(get_recipe("waveglow").config))
    config["waveglow_config"] |= {
        "n_mel_channels": 2, "n_flows": 3, "n_group": 8,
        "WN_config": {"n_layers": 2, "n_channels": 4, "kernel_size": 3},
    }  # fmt: skip
    torch.manual_seed(0)
    return WaveGlow(WaveGlowConfig.from_mapping(config))


def nudged(model):
    """With couplings that are no identities, and mixings that can be inverted."""
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator(parameter.numel()))
    for mixing in model.convinv:
        weight = mixing.conv.weight.data[..., 0]
        mixing.conv.weight.data = (torch.eye(len(weight)) + 0.2 * weight).unsqueeze(-1)
    return model.double()


def test_a_flow_that_changes_nothing_has_the_likelihood_of_its_prior():
    # At the start couplings are identities and mixings rotations: z is as long as the audio.
    model, sigma = tiny_flow(), 0.7
    audio = torch.randn(2, 512, generator=generator()) * 0.3
    nll = flow_negative_log_likelihood(model(torch.randn(2, 2, 2, generator=generator()), audio), sigma)
    expected = -torch.distributions.Normal(0.0, sigma).log_prob(audio).mean()
    assert float(nll.detach()) == pytest.approx(float(expected), rel=1e-5)


def test_the_likelihood_of_a_flow_is_that_of_its_jacobian():
    model = nudged(tiny_flow())
    mel = torch.randn(1, 2, 1, generator=generator(), dtype=torch.float64)
    audio = torch.randn(1, 64, generator=generator(), dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda x: model(mel, x).z.flatten(), audio).squeeze(1)
    z = model(mel, audio).z.detach()
    log_density = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum() + torch.linalg.slogdet(jacobian)[1]
    nll = flow_negative_log_likelihood(model(mel, audio), 1.0)
    assert float(nll.detach()) == pytest.approx(float(-log_density) / 64, rel=1e-5)


def test_training_samples_through_the_inverse_of_what_it_measures():
    model = nudged(tiny_flow())
    mel = torch.randn(2, 2, 3, generator=generator(), dtype=torch.float64)
    audio = torch.randn(2, 3 * 256, generator=generator(), dtype=torch.float64)
    conditions = model.conditions(mel, audio.shape[1])
    z = model.noise_from_audio(audio, conditions).z
    again = model.audio_from_noise(z, conditions).detach()
    assert float((again - audio).abs().max()) < 1e-9


def test_a_flow_begins_with_white_speech():
    recipe = get_recipe("waveglow")
    model = WaveGlowTask(recipe.config).model
    # A first-order autoregressive process of the level that the recipe assumes.
    drawn = np.random.default_rng(0).standard_normal(65536)
    audio = signal.lfilter([0.07 * math.sqrt(1 - 0.9**2)], [1, -0.9], drawn)
    first, _ = model.flows()[0]
    mixed, determinant = first(torch.from_numpy(audio.reshape(1, -1, 8)).float().transpose(1, 2))
    covariance = np.cov(mixed[0].detach().numpy())
    assert np.abs(covariance - np.eye(8)).max() < 0.05
    assert torch.isfinite(determinant)


def batch_of(count=16, frames=4, bands=80):
    audio = 0.1 * torch.randn(count, 1, 256 * frames, generator=generator(1))
    return Batch(audio, torch.rand(count, bands, frames, generator=generator(2)))


def diffusion_task(predict, **options):
    recipe = get_recipe("diffwave")
    return DiffusionTask(torch.nn.Identity(), tuple(recipe.config["noise_schedule"]), predict, **options)


def training_roots():
    levels = NoiseSchedule(tuple(get_recipe("diffwave").config["noise_schedule"])).alphas_cumulative
    return torch.from_numpy(np.sqrt(levels)).float()


def test_noisy_audio_has_the_noise_level_that_the_network_is_told():
    seen = {}

    def predict(noisy, step, mel, generator):
        seen.update(noisy=noisy, step=step)
        return torch.zeros_like(noisy)

    batch = batch_of()
    quiet = Batch(torch.ones_like(batch.audio), batch.mel)
    list(diffusion_task(predict).turns(quiet, 0, generator(), bf16=False))
    levels = NoiseSchedule(tuple(get_recipe("diffwave").config["noise_schedule"])).alphas_cumulative
    signal_ = np.interp(seen["step"].numpy(), np.arange(50), np.sqrt(levels))
    noise = (seen["noisy"][:, 0].numpy() - signal_[:, None]) / np.sqrt(1 - signal_**2)[:, None]
    assert np.abs(noise.mean(axis=1)).max() < 5 / math.sqrt(noise.shape[1])
    assert np.abs(noise.std(axis=1) - 1).max() < 5 / math.sqrt(2 * noise.shape[1])
    # One from each sixteenth of the schedule.
    assert (np.floor(np.sort(seen["step"].numpy()) / 49 * 16) == np.arange(16)).all()


def test_the_network_that_knows_the_audio_has_no_loss():
    batch = batch_of()
    roots = training_roots()

    def predict(noisy, step, mel, generator):
        level = noise_level(roots, step)[:, None, None]
        return (noisy - level * batch.audio) / torch.sqrt(1 - level**2)

    (turn,) = diffusion_task(predict).turns(batch, 0, generator(), bf16=False)
    assert float(turn.loss) < 1e-3


@pytest.mark.parametrize(("kind", "factor"), [("white", 1.0), ("constant", (1 + 2 + 4) / 3)])
def test_averaging_lets_errors_at_low_frequencies_count_more_and_white_ones_alike(kind, factor):
    batch = batch_of()
    silent = Batch(torch.zeros_like(batch.audio), batch.mel)
    white = 0.1 * torch.randn(batch.audio.shape, generator=generator(5))
    error = white if kind == "white" else torch.full_like(white, 0.1)
    roots = training_roots()

    def predict(noisy, step, mel, generator):
        return noisy / torch.sqrt(1 - noise_level(roots, step)[:, None, None] ** 2) + error

    def noise_l1(averaged):
        (turn,) = diffusion_task(predict, averaged=averaged).turns(silent, 0, generator(), bf16=False)
        return float(turn.figures["noise_l1"])

    assert noise_l1((1, 4, 16)) == pytest.approx(factor * noise_l1((1,)), rel=0.03)


def test_spectra_count_only_below_the_noise_that_hides_them():
    batch = batch_of()

    def predict(noisy, step, mel, generator):
        return torch.zeros_like(noisy)

    def stft(limit):
        (turn,) = diffusion_task(predict, spectra_below=limit).turns(batch, 0, generator(), bf16=False)
        return float(turn.figures["stft_log_l1"])

    assert stft(0.0) == 0.0 < stft(0.05) < stft(math.inf)


@pytest.mark.parametrize("bf16", [False, True])
def test_channels_last_changes_neither_the_noise_nor_its_gradient(bf16):
    torch.manual_seed(0)
    recipe = get_recipe("diffwave")
    config = {**recipe.config, "residual_layers": 3, "residual_channels": 8, "dilation_cycle_length": 3}
    model = DiffWave(DiffWaveConfig.from_mapping(config))
    torch.nn.init.normal_(model.output_projection.weight)
    noisy, mel, step = torch.randn(2, 1, 1024), torch.rand(2, 80, 4), torch.tensor([3.5, 40.0])

    def run(predict):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            predicted = predict(noisy, step, model.condition(mel)).float()
        predicted.square().sum().backward()
        return predicted.detach(), torch.cat([p.grad.flatten() for p in model.parameters()])

    expected, gradient = run(model.predict_noise)
    fast, its_gradient = run(partial(predict_noise, model))
    tolerance = 0.03 if bf16 else 1e-5
    assert float((fast - expected).norm() / expected.norm()) < tolerance
    assert float((its_gradient - gradient).norm() / gradient.norm()) < tolerance


def test_diffwave_begins_with_ears_for_the_mel():
    recipe = get_recipe("diffwave")
    mel = torch.rand(1, 80, 20, generator=generator())
    stretched = recipe.task(recipe.config).model.condition(mel).detach()
    expected = torch.nn.functional.interpolate(mel, scale_factor=256, mode="linear")
    assert stretched.shape == expected.shape
    assert float(torch.corrcoef(torch.stack([stretched.flatten(), expected.flatten()]))[0, 1]) > 0.95
    assert float(stretched.std()) > 0.5


def test_a_noise_level_is_told_as_the_samplers_tell_it():
    training = NoiseSchedule(tuple(get_recipe("diffwave").config["noise_schedule"]))
    fast = NoiseSchedule(tuple(get_recipe("diffwave").config["inference_noise_schedule"]))
    roots = torch.from_numpy(np.sqrt(training.alphas_cumulative)).float()
    told = torch.from_numpy(training.steps_of(fast)).float()
    assert noise_level(roots, told).numpy() == pytest.approx(np.sqrt(fast.alphas_cumulative), rel=1e-5)


def test_the_unet_is_not_always_told_the_mel():
    recipe = get_recipe("diffwave-unet")
    task = recipe.task(
        {**recipe.config, "conditioning_dropout": 0.5, "channels": [4, 4, 4, 4], "group_channels": 2}
    )
    heard = []
    forward = task.model.forward
    task.model.forward = lambda noisy, step, mel, own: heard.append(own) or forward(noisy, step, mel, own)
    for seed in range(8):
        list(task.turns(batch_of(), 0, generator(seed), bf16=False))
    assert 0.3 < float(torch.stack(heard).mean()) < 0.7


@pytest.mark.parametrize("n_fft", [256, 1024])
def test_stft_losses_agree_with_scipy(n_fft):
    reference, estimate = (0.1 * torch.randn(1, 8192, generator=generator(seed)) for seed in (1, 2))

    def magnitude(x):
        padded = np.pad(x[0].double().numpy(), n_fft // 2, "reflect")
        window = signal.windows.hann(n_fft, sym=False)
        _, _, spectrum = signal.stft(
            padded, window=window, nperseg=n_fft, noverlap=n_fft - n_fft // 4, boundary=None, padded=False
        )
        # scipy divides by the window's sum.
        return np.abs(spectrum) * window.sum()

    a, b = magnitude(reference), magnitude(estimate)
    expected = np.linalg.norm(a - b) / np.linalg.norm(a) + np.abs(np.log(a) - np.log(b)).mean()
    assert float(stft_loss(reference, estimate, (n_fft,))) == pytest.approx(expected, rel=1e-3)
    raised = np.abs(np.log(a + 1e-3) - np.log(b + 1e-3)).mean()
    assert float(stft_log_magnitude_l1(reference, estimate, (n_fft,))[0]) == pytest.approx(raised, rel=1e-3)


def test_adversarial_losses_are_those_of_their_equations():
    def verdicts(score, *activations):
        return [(torch.tensor(score), [x]) for x in activations]

    seen = torch.tensor([[1.0, 1.0]], requires_grad=True)
    made = torch.tensor([[2.0, 4.0]], requires_grad=True)
    of_real, of_made = verdicts([[1.0, 3.0]], seen, seen), verdicts([[0.0, 2.0]], made, made)
    # Real: ((1-1)^2 + (3-1)^2) / 2; made: (0 + 4) / 2; two discriminators.
    assert float(discriminator_loss(of_real, of_made)) == 2 * (2.0 + 2.0)
    adversarial, features = generator_loss(of_real, of_made)
    # ((0-1)^2 + (2-1)^2) / 2, and (1 + 3) / 2.
    assert float(adversarial) == 2 * 1.0
    assert float(features.detach()) == 2 * 2.0
    features.backward()
    # What is real is a fact, not something to be learned.
    assert seen.grad is None
    assert (made.grad > 0).all()


def test_the_generator_turn_leaves_no_gradient_in_the_discriminators():
    recipe = get_recipe("vocos")
    small = {**recipe.config, "dim": 8, "intermediate_dim": 8, "num_layers": 1}
    task = vocos_task(small, adversarial_from_step=0)
    batch = Batch(audio=0.1 * torch.randn(1, 1, 16 * 256), mel=torch.randn(1, 80, 16))
    for turn in task.turns(batch, 0, torch.Generator(), bf16=False):
        task.players()[turn.player].zero_grad(set_to_none=True)
        turn.loss.backward()
        with_gradient = {
            name: any(p.grad is not None for p in player.parameters())
            for name, player in task.players().items()
        }
        if turn.player == "discriminators":
            assert with_gradient["discriminators"]
            task.discriminators.zero_grad(set_to_none=True)
        else:
            assert with_gradient == {"model": True, "discriminators": False}


def test_the_discriminators_have_the_size_of_the_recipe():
    assert sum(p.numel() for p in Discriminators().parameters()) == pytest.approx(2.8e6, rel=0.02)


def test_the_adversarial_phase_teaches_discriminators_to_tell_and_the_generator_to_pass():
    recipe = get_recipe("hifigan")
    small = {
        **recipe.config, "upsample_initial_channel": 16, "resblock_kernel_sizes": [3],
        "resblock_dilation_sizes": [[1, 3, 5]],
    }  # fmt: skip
    torch.manual_seed(0)
    task = hifigan_task(small, adversarial_from_step=1)
    batch = dataclasses.replace(batch_of(1, 8), mel=-5 + torch.rand(1, 80, 8, generator=generator()))
    (alone,) = task.turns(batch, 0, generator(), bf16=False)
    assert alone.player == "model"
    assert float(alone.figures["adversarial"]) == 0.0
    optimizers = {name: torch.optim.AdamW(p.parameters(), 1e-3) for name, p in task.players().items()}
    figures = []
    for step in range(1, 5):
        turns = []
        for turn in task.turns(batch, step, generator(), bf16=False):
            turns.append(turn.player)
            optimizers[turn.player].zero_grad()
            turn.loss.backward()
            optimizers[turn.player].step()
            figures.append(turn.figures)
        assert turns == ["discriminators", "model"]
    judged = [float(own["discriminator"]) for own in figures if "discriminator" in own]
    assert judged[-1] < judged[0]
    assert all(float(own["adversarial"]) > 0 for own in figures if "adversarial" in own)


def test_copy_synthesis_of_a_diffusion_model_is_the_published_sampling(data_dir, monkeypatch):
    folder = data_dir / "diffwave" / "tiny"
    noises = np.load(folder / "fast_noise.npy")
    for module in ("diffusion.stage", "drivers.diffusion_batch"):
        monkeypatch.setattr(
            f"voirs_vocoder.runtime.{module}.noise",
            lambda seed, draw, start, count: noises[draw].reshape(-1)[start : start + count],
        )
    family = get_family("diffwave")
    model = family.load(folder / "weights.pt", folder / "params.json")
    audio = torch_vocoder("diffwave", model).vocode(np.load(folder / "mel.npy")[0]).samples[0]
    assert np.abs(audio - np.load(folder / "fast_audio.npy").reshape(-1)).max() < 1e-4


@pytest.mark.parametrize("family", ["hifigan", "waveglow"])
def test_copy_synthesis_needs_no_knowledge_of_the_family(
    family, data_dir, shipped_checkpoint, shipped_config
):
    loader = get_family(family)
    if family == "hifigan":
        model = loader.load(shipped_checkpoint, shipped_config)
    else:
        recipe = get_recipe(family)
        model = recipe.task(recipe.config).model.eval()
        fold_weight_norm(model)
    bands = model.description.mel.n_mels
    audio = torch_vocoder(family, model).vocode(np.full((bands, 6), -5.0, np.float32)).samples[0]
    assert audio.shape == (6 * 256,)
    assert np.isfinite(audio).all()
