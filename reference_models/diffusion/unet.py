"""A U-Net that takes DiffWave's place at a tenth of its cost: encoder and decoder over the waveform.

This project's own design. It can be windowed, batched and streamed exactly: normalization takes its statistics over
the channels of a group at each position (Y. Wu and K. He, Group Normalization, arXiv 1803.08494, take them over time
as well), and attention reaches a fixed number of positions to each side, so the receptive field is finite.

Inside, input and output have unit variance at every noise level (T. Karras et al., Elucidating the design space of
diffusion-based generative models, arXiv 2206.00364, table 1 and appendix B.6): a network that predicted the noise
itself would have to amplify what is left of it a hundredfold at the last steps.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from voirs_vocoder.reference_models.diffusion.unet_config import (
    CONDITIONER_REACH_FRAMES,
    STRIDE,
    UNetConfig,
)
from voirs_vocoder.reference_models.family import ModelDescription, VocoderModule
from voirs_vocoder.reference_models.layers import StepEmbedding, interpolated_rows
from voirs_vocoder.runtime.artifact.manifest import Diffusion

__all__ = ["DiffWaveUNet", "LocalAttention", "PositionNorm"]

_EPSILON = 1e-5
_FEATURE_CHANNELS = 128


class PositionNorm(nn.Module):
    """Group normalization whose statistics are those of each position alone."""

    def __init__(self, channels: int, group_channels: int) -> None:
        super().__init__()
        self.groups = channels // group_channels
        self.weight = nn.Parameter(torch.ones(channels, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: [batch, channels, positions] -> the same."""
        batch, channels, _ = x.shape
        grouped = x.reshape(batch, self.groups, channels // self.groups, -1)
        centered = grouped - grouped.mean(dim=2, keepdim=True)
        deviation = torch.sqrt((centered * centered).mean(dim=2, keepdim=True) + _EPSILON)
        return (centered / deviation).reshape(batch, channels, -1) * self.weight + self.bias


class _Block(nn.Module):
    """Two convolutions, conditioned on the step and the mel in between, with a residual."""

    def __init__(self, channels_in: int, channels: int, level: int, config: UNetConfig) -> None:
        super().__init__()
        stride = STRIDE ** (level + 1)
        self.norm1 = PositionNorm(channels_in, config.group_channels)
        self.conv1 = nn.Conv1d(channels_in, channels, 3, padding=1)
        self.condition = nn.Conv1d(config.conditioner_channels, channels, stride, stride, bias=False)
        self.step = nn.Linear(config.embedding_channels, 2 * channels)
        self.norm2 = PositionNorm(channels, config.group_channels)
        self.conv2 = nn.Conv1d(channels, channels, 3, padding=1)
        self.skip = nn.Conv1d(channels_in, channels, 1) if channels_in != channels else nn.Identity()
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor, step: Tensor, conditioner: Tensor) -> Tensor:
        """Shapes: [batch, channels_in, positions], step [batch, embedding], conditioner at the audio's rate."""
        h = self.conv1(functional.silu(self.norm1(x))) + self.condition(conditioner)
        scale, shift = self.step(step).unsqueeze(-1).chunk(2, dim=1)
        h = self.norm2(h) * (1.0 + scale) + shift
        result: Tensor = self.skip(x) + self.conv2(functional.silu(h))
        return result


class LocalAttention(nn.Module):
    """Self-attention in which a position sees a fixed number of others on each side.

    Beyond the ends lie keys and values of zero, as the padding of a convolution does, so that nothing depends on how
    long the utterance is.
    """

    def __init__(self, channels: int, heads: int, reach: int, group_channels: int) -> None:
        super().__init__()
        self.heads, self.reach = heads, reach
        self.norm = PositionNorm(channels, group_channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1, bias=False)
        self.distance = nn.Parameter(torch.zeros(2 * reach + 1, heads, 1))
        self.out = nn.Conv1d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: [batch, channels, positions] -> the same."""
        batch, channels, _ = x.shape
        queries, keys, values = self.qkv(self.norm(x)).chunk(3, dim=1)
        shape = (batch, self.heads, channels // self.heads, -1)
        queries = queries.reshape(shape) / math.sqrt(channels // self.heads)
        scores = torch.stack([(queries * key.reshape(shape)).sum(dim=2) for key in self._around(keys)], dim=1)
        weights = torch.softmax(scores + self.distance, dim=1)
        attended = [
            weights[:, place].unsqueeze(2) * value.reshape(shape)
            for place, value in enumerate(self._around(values))
        ]
        result: Tensor = x + self.out(torch.stack(attended).sum(dim=0).reshape(batch, channels, -1))
        return result

    def _around(self, x: Tensor) -> list[Tensor]:
        """For each distance from -reach to reach, what lies there: 2 * reach + 1 times the shape of `x`."""
        padded = functional.pad(x, (self.reach, self.reach))
        last = 2 * self.reach
        return [padded[..., place : (place - last) or None] for place in range(last + 1)]


class DiffWaveUNet(VocoderModule):
    """Predicts the noise in noisy audio, whose length is a multiple of the hop length."""

    scales: Tensor

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        self.description = ModelDescription(
            driver="diffusion",
            variant="unet",
            look_ahead_samples=config.context_samples + CONDITIONER_REACH_FRAMES * config.hop_samples,
            mel=config.mel_convention(),
            config=config.source,
            diffusion=Diffusion(
                training_betas=config.noise_schedule,
                fast_betas=None,
                sampler=config.sampler,
                steps=config.steps,
                drops_conditioning=config.conditioning_dropout > 0,
            ),
        )
        hop = config.hop_samples
        self.mel_features = nn.ModuleList(
            [
                nn.Conv1d(config.n_mels, _FEATURE_CHANNELS, 3, padding=1),
                nn.Conv1d(_FEATURE_CHANNELS, _FEATURE_CHANNELS, 3, padding=1),
            ]
        )
        self.mel_stretch = nn.ConvTranspose1d(
            _FEATURE_CHANNELS, config.conditioner_channels, 2 * hop, hop, padding=hop // 2
        )
        self.embedding = StepEmbedding(len(config.noise_schedule), config.embedding_channels)
        self.register_buffer("scales", _scales(config), persistent=False)
        self.down = nn.ModuleList()
        self.down_blocks = nn.ModuleList()
        self.up = nn.ModuleList()
        self.up_blocks = nn.ModuleList()
        coarser = (1, *config.channels)
        for level, channels in enumerate(config.channels):
            self.down.append(_downsampling(coarser[level], channels))
            self.down_blocks.append(_blocks([channels] * config.blocks, channels, level, config))
            # What comes up meets what went down.
            bottom = level == len(config.channels) - 1
            entering = channels if bottom else 2 * channels
            self.up_blocks.append(
                _blocks([entering, *[channels] * (config.blocks - 1)], channels, level, config)
            )
            self.up.append(_upsampling(channels, coarser[level]))
        self.attention = LocalAttention(
            config.channels[-1],
            config.attention_heads,
            config.attention_reach_frames,
            config.group_channels,
        )

    def condition(self, mel: Tensor) -> Tensor:
        """The mel at the audio's rate, which no step changes: [batch, conditioner_channels, frames * hop_length]."""
        x = mel
        for conv in self.mel_features:
            x = functional.silu(conv(x))
        stretched: Tensor = self.mel_stretch(x)
        return stretched

    def predict_noise(self, noisy_audio: Tensor, step: Tensor, conditioner: Tensor) -> Tensor:
        """One evaluation of the network.

        Args:
            noisy_audio: [batch, 1, samples], float32; samples a multiple of the hop length.
            step: [batch], float32, in steps of the training schedule.
            conditioner: What `condition` returned, [batch, conditioner_channels, samples]; zeros where there is none.

        Returns:
            The noise, [batch, 1, samples].
        """
        step_embedding = self.embedding(step)
        into, through, out_of = interpolated_rows(self.scales, step)[:, :, None, None].unbind(1)
        x = noisy_audio * into
        kept: list[Tensor] = []
        for down, blocks in zip(self.down, self.down_blocks, strict=True):
            x = _through(blocks, down(x), step_embedding, conditioner)
            kept.append(x)
        x = self.attention(kept.pop())
        for level in reversed(range(len(self.up))):
            x = _through(self.up_blocks[level], x, step_embedding, conditioner)
            x = self.up[level](x)
            if kept:
                x = torch.cat((x, kept.pop()), dim=1)
        return noisy_audio * through - x * out_of

    def noise_scale(self, step: Tensor) -> Tensor:
        """What an error of the network is multiplied by in the noise: [batch] -> [batch]."""
        return interpolated_rows(self.scales, step)[:, 2]

    def forward(
        self, noisy_audio: Tensor, step: Tensor, mel: Tensor, keep_mel: Tensor | None = None
    ) -> Tensor:
        """`predict_noise` from a mel, for training.

        Args:
            noisy_audio: [batch, 1, samples], float32; samples a multiple of the hop length.
            step: [batch], float32, in steps of the training schedule.
            mel: [batch, n_mels, frames].
            keep_mel: [batch], float32, 0 where the mel is withheld and 1 elsewhere; None withholds none.
        """
        conditioner = self.condition(mel)
        if keep_mel is not None:
            conditioner = conditioner * keep_mel[:, None, None]
        return self.predict_noise(noisy_audio, step, conditioner)


def _scales(config: UNetConfig) -> Tensor:
    """Factors of the input, of the bypass, and of the output, at each step of the schedule: [steps, 3].

    With a² the cumulative alpha, s² = 1 - a² and d the RMS of the audio, the noisy audio has the variance
    v = a² d² + s². The network takes x / sqrt(v) and gives F; the noise is x s / v - F a d / sqrt(v).
    """
    betas = np.array(config.noise_schedule, np.float64)
    cumulative = np.cumprod(1.0 - betas)
    noise = np.sqrt(1.0 - cumulative)
    variance = cumulative * config.audio_rms**2 + noise**2
    columns = (
        1.0 / np.sqrt(variance),
        noise / variance,
        np.sqrt(cumulative) * config.audio_rms / np.sqrt(variance),
    )
    return torch.from_numpy(np.stack(columns, axis=1).astype(np.float32))


def _downsampling(channels_in: int, channels_out: int) -> nn.Conv1d:
    return nn.Conv1d(channels_in, channels_out, 2 * STRIDE, STRIDE, padding=STRIDE // 2)


def _upsampling(channels_in: int, channels_out: int) -> nn.ConvTranspose1d:
    return nn.ConvTranspose1d(channels_in, channels_out, 2 * STRIDE, STRIDE, padding=STRIDE // 2)


def _blocks(entering: list[int], channels: int, level: int, config: UNetConfig) -> nn.ModuleList:
    return nn.ModuleList(_Block(channels_in, channels, level, config) for channels_in in entering)


def _through(blocks: nn.Module, x: Tensor, step: Tensor, conditioner: Tensor) -> Tensor:
    for block in blocks.children():
        x = block(x, step, conditioner)
    return x
