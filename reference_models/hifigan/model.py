"""HiFi-GAN: the generator of Kong, Kim and Bae 2020 (arXiv 2010.05646), layer for layer.

Names, shapes and outputs are those of github.com/jik876/hifi-gan at 4769534 (MIT), so that its checkpoints load
and its golden vectors match; the code is our own.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from voirs_vocoder.reference_models.checkpoints.weight_norm import weight_normed
from voirs_vocoder.reference_models.family import ModelDescription, VocoderModule
from voirs_vocoder.reference_models.hifigan.config import HifiGanConfig

__all__ = ["HifiGan", "ResBlock1", "ResBlock2"]

_SLOPE = 0.1
# The official code calls the last activation without a slope and so gets torch's default.
_LAST_SLOPE = 0.01


def _conv(channels: int, kernel: int, dilation: int) -> nn.Conv1d:
    padding = (kernel - 1) * dilation // 2
    return weight_normed(nn.Conv1d(channels, channels, kernel, dilation=dilation, padding=padding))


class ResBlock1(nn.Module):
    """Three residual pairs: a dilated convolution and one of dilation 1."""

    def __init__(self, channels: int, kernel: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(_conv(channels, kernel, dilation) for dilation in dilations)
        self.convs2 = nn.ModuleList(_conv(channels, kernel, 1) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: [batch, channels, steps] -> the same."""
        for conv1, conv2 in zip(self.convs1, self.convs2, strict=True):
            branch = conv1(functional.leaky_relu(x, _SLOPE))
            x = x + conv2(functional.leaky_relu(branch, _SLOPE))
        return x


class ResBlock2(nn.Module):
    """Two residual dilated convolutions."""

    def __init__(self, channels: int, kernel: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(_conv(channels, kernel, dilation) for dilation in dilations)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: [batch, channels, steps] -> the same."""
        for conv in self.convs:
            x = x + conv(functional.leaky_relu(x, _SLOPE))
        return x


class HifiGan(VocoderModule):
    """The generator: transposed convolutions, each followed by the mean of parallel residual blocks."""

    def __init__(self, config: HifiGanConfig) -> None:
        super().__init__()
        self.config = config
        self.description = ModelDescription(
            driver="direct",
            variant=config.variant,
            look_ahead_samples=config.look_ahead_samples,
            mel=config.mel_convention(),
            config=config.source,
        )
        block = ResBlock1 if config.resblock == "1" else ResBlock2
        channels = config.upsample_initial_channel
        self.conv_pre = weight_normed(nn.Conv1d(config.num_mels, channels, 7, padding=3))
        self.ups = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        for rate, kernel in zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True):
            up = nn.ConvTranspose1d(channels, channels // 2, kernel, rate, padding=(kernel - rate) // 2)
            self.ups.append(weight_normed(up))
            channels //= 2
            self.resblocks.extend(
                block(channels, size, dilations)
                for size, dilations in zip(
                    config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True
                )
            )
        self.conv_post = weight_normed(nn.Conv1d(channels, 1, 7, padding=3))

    def forward(self, mel: Tensor) -> Tensor:
        """Mel to audio.

        Args:
            mel: [batch, n_mels, frames], float32, in the convention of `description.mel`.

        Returns:
            Audio [batch, 1, frames * hop_length], in [-1, 1].
        """
        x = self.conv_pre(mel)
        branches = len(self.config.resblock_kernel_sizes)
        for stage, up in enumerate(self.ups):
            x = up(functional.leaky_relu(x, _SLOPE))
            blocks = self.resblocks[stage * branches : (stage + 1) * branches]
            total = blocks[0](x)
            for block in blocks[1:]:
                total = total + block(x)
            x = total / branches
        return torch.tanh(self.conv_post(functional.leaky_relu(x, _LAST_SLOPE)))
