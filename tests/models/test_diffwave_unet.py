"""The U-Net: what it costs, how far it reads, and that no position depends on the length around it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from voirs_vocoder.reference_models import ModelConfigError, published
from voirs_vocoder.reference_models.diffusion.unet import DiffWaveUNet, LocalAttention, PositionNorm
from voirs_vocoder.reference_models.diffusion.unet_config import CONDITIONER_REACH_FRAMES, UNetConfig

pytestmark = pytest.mark.numeric

FULL = published.UNET


def test_an_evaluation_costs_at_most_6_gflop_per_second_of_audio():
    model = DiffWaveUNet(UNetConfig.from_mapping(FULL)).requires_grad_(False)
    frames = 86
    noisy, conditioner = torch.zeros(1, 1, 256 * frames), torch.zeros(1, 8, 256 * frames)
    with FlopCounterMode(display=False) as counter:
        model.predict_noise(noisy, torch.tensor([3.0]), conditioner)
    gflop = counter.get_total_flops() / 1e9 * 22050 / (256 * frames)
    assert 3.0 < gflop <= 6.0


@settings(max_examples=12, deadline=None)
@given(levels=st.integers(1, 3), blocks=st.integers(1, 2), reach=st.integers(0, 3), seed=st.integers(0, 99))
def test_one_evaluation_reads_its_context_and_nothing_else(levels, blocks, reach, seed):
    config = small(channels=[4] * levels, blocks=blocks, attention_reach_frames=reach)
    model = random_model(config, seed)
    hop, frames = config.hop_samples, config.context_frames + 1
    samples = (2 * frames + 1) * hop
    noisy = torch.randn(1, 1, samples, dtype=torch.float64, requires_grad=True)
    conditioner = torch.randn(1, 2, samples, dtype=torch.float64)
    predicted = model.predict_noise(noisy, torch.tensor([3.5], dtype=torch.float64), conditioner)
    # Which samples hear the frame in the middle.
    start, end = frames * hop, (frames + 1) * hop

    def depends(sample):
        (gradient,) = torch.autograd.grad(predicted[0, 0, sample], noisy, retain_graph=True)
        return bool(gradient[0, 0, start:end].any())

    first, last = start - config.context_samples, end - 1 + config.context_samples
    assert [depends(sample) for sample in (first - 1, first, last, last + 1)] == [False, True, True, False]


def test_the_conditioner_reads_its_context_and_nothing_else():
    model = random_model(small(channels=[4, 4]), 0)
    mel = torch.randn(1, 3, 9, dtype=torch.float64, requires_grad=True)
    conditioner = model.condition(mel)[0, 0]
    gradients = [
        torch.autograd.grad(conditioner[s], mel, retain_graph=True)[0] for s in (4 * 16, 4 * 16 + 15)
    ]
    read = [torch.nonzero(gradient[0].abs().sum(dim=0)).flatten() for gradient in gradients]
    assert (int(read[0][0]), int(read[1][-1])) == (4 - CONDITIONER_REACH_FRAMES, 4 + CONDITIONER_REACH_FRAMES)


def test_normalization_is_that_of_torch_at_each_position():
    torch.manual_seed(0)
    norm, oracle = PositionNorm(6, 3), torch.nn.GroupNorm(2, 6)
    torch.nn.init.normal_(norm.weight)
    oracle.weight.data = norm.weight.data.flatten()
    x = torch.randn(2, 6, 5)
    alone = torch.stack([oracle(x[..., place]) for place in range(5)], dim=-1)
    torch.testing.assert_close(norm(x), alone)


def test_attention_is_softmax_attention_over_the_neighbours():
    torch.manual_seed(0)
    attention = LocalAttention(4, 2, 2, 2)
    torch.nn.init.normal_(attention.out.weight)
    torch.nn.init.normal_(attention.distance)
    x = torch.randn(1, 4, 7)
    q, k, v = attention.qkv(attention.norm(x))[0].reshape(3, 2, 2, 7)
    expected = torch.zeros(2, 2, 7)
    for place in range(7):
        # Beyond the ends: keys and values of zero.
        around = range(place - 2, place + 3)
        keys = torch.stack([k[..., n] if 0 <= n < 7 else torch.zeros(2, 2) for n in around])
        values = torch.stack([v[..., n] if 0 <= n < 7 else torch.zeros(2, 2) for n in around])
        scores = (keys * q[..., place]).sum(-1) / 2**0.5 + attention.distance[..., 0]
        expected[..., place] = (torch.softmax(scores, dim=0).unsqueeze(-1) * values).sum(0)
    torch.testing.assert_close(attention(x), x + attention.out(expected.reshape(1, 4, 7)))


def test_a_withheld_mel_leaves_no_trace():
    model = random_model(small(channels=[4, 4]), 0)
    noisy, step = torch.randn(1, 1, 48, dtype=torch.float64), torch.tensor([1.0], dtype=torch.float64)
    heard = torch.zeros(1, dtype=torch.float64)
    mels = [torch.randn(1, 3, 3, dtype=torch.float64) for _ in range(2)]
    first, second = (model(noisy, step, mel, heard) for mel in mels)
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert not torch.equal(model(noisy, step, mels[0]), first)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hop_samples": 128}, "hop_samples must be 4 to the power"),
        ({"channels": [64, 100, 256, 256]}, "multiples of group_channels 16, got 100"),
        ({"attention_heads": 3}, "attention_heads must divide"),
        ({"attention_reach_frames": -1}, "attention_reach_frames must be at least 0, got -1"),
        ({"steps": 201}, "steps must be at most those of training, 200"),
        ({"conditioning_dropout": 1.0}, r"conditioning_dropout must be below 1, got 1\.0"),
        ({"blocks": 0}, "blocks must be at least 1"),
        ({"sampler": 3}, "sampler must be text, got 3"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(change, message):
    with pytest.raises(ModelConfigError, match=message):
        UNetConfig.from_mapping({**FULL, **change})


def small(**changes):
    values = {
        **FULL,
        "n_mels": 3,
        "channels": [4, 4],
        "group_channels": 2,
        "attention_heads": 2,
        "attention_reach_frames": 1,
        "conditioner_channels": 2,
        "embedding_channels": 4,
        **changes,
    }
    values["hop_samples"] = 4 ** len(values["channels"])
    return UNetConfig.from_mapping(values)


def random_model(config, seed):
    torch.manual_seed(seed)
    model = DiffWaveUNet(config)
    for name, parameter in model.named_parameters():
        if name.endswith(("conv2.weight", "out.weight", "distance")):
            torch.nn.init.normal_(parameter)
    return model.double().requires_grad_(False)
