"""HiFi-GAN: the generator of Kong, Kim and Bae 2020 (arXiv 2010.05646), layer for layer.

Names, shapes and outputs are those of github.com/jik876/hifi-gan at 4769534 (MIT), so that its checkpoints load
and its golden vectors match; the variations are those of other trainers' code. The code is our own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from voirs_vocoder.reference_models.checkpoints.weight_norm import weight_normed
from voirs_vocoder.reference_models.family import ModelDescription, VocoderModule
from voirs_vocoder.reference_models.hifigan.config import HifiGanConfig

__all__ = ["HifiGan", "ResBlock1", "ResBlock2"]

# The official code calls the last activation without a slope and so gets torch's default, as every trainer's does.
_LAST_SLOPE = 0.01


class _ReflectConv1d(nn.Conv1d):
    """A convolution that sees the mirrored signal beyond both ends; a signal that is too short is mirrored again."""

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: [batch, channels, steps] -> [batch, channels, steps]."""
        return super().forward(_reflected(x, (self.kernel_size[0] - 1) * self.dilation[0] // 2))


def _reflected(x: Tensor, reach: int) -> Tensor:
    """The signal with `reach` mirrored steps at both ends, the outermost step being the mirror.

    Only the mirrored steps are gathered: unlike torch's own padding, that runs at every length from one step on.
    """
    if reach == 0:
        return x
    last = torch.full((1,), x.shape[2] - 1, device=x.device)
    # Mirrored at both ends, a signal repeats itself; a single step is its own mirror.
    period = torch.clamp(2 * last, min=1)
    place = torch.remainder(torch.arange(1, reach + 1, device=x.device), period)
    place = torch.minimum(torch.minimum(place, period - place), last)
    before = torch.index_select(x, 2, place.flip(0))
    after = torch.index_select(x, 2, last - place)
    return torch.cat((before, x, after), dim=2)


class _CausalConv1d(nn.Conv1d):
    """A convolution whose input is padded by zeros at the left alone."""

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: [batch, channels, steps] -> [batch, channels, steps]."""
        reach = (self.kernel_size[0] - 1) * self.dilation[0]
        return super().forward(functional.pad(x, (reach, 0)))


class _CausalConvTranspose1d(nn.ConvTranspose1d):
    """A transposed convolution without future: its first input is repeated at the left, and a stride cut at each end.

    Source: parallel_wavegan 0.6.1, layers/causal_conv.py, CausalConvTranspose1d.
    """

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Shapes: [batch, channels, steps] -> [batch, channels, steps * stride]."""
        return super().forward(functional.pad(x, (1, 0), "replicate"), output_size)


@dataclass(frozen=True)
class _Layers:
    """Makes the layers of a variation.

    Attributes:
        config: Configuration that decides about padding, biases and slopes.
    """

    config: HifiGanConfig

    def conv(
        self, inputs: int, outputs: int, kernel: int, dilation: int = 1, *, last: bool = False
    ) -> nn.Conv1d:
        """A convolution that keeps the number of steps."""
        bias = self.config.bias == "all" or (self.config.bias == "not-last" and not last)
        if self.config.causal:
            return weight_normed(_CausalConv1d(inputs, outputs, kernel, dilation=dilation, bias=bias))
        if self.config.padding == "reflect":
            return weight_normed(_ReflectConv1d(inputs, outputs, kernel, dilation=dilation, bias=bias))
        return weight_normed(
            nn.Conv1d(
                inputs,
                outputs,
                kernel,
                dilation=dilation,
                padding=(kernel - 1) * dilation // 2,
                padding_mode="zeros" if self.config.padding == "zero" else "replicate",
                bias=bias,
            )
        )

    def upsampling(self, stage: int, channels: int) -> nn.ConvTranspose1d:
        """The transposed convolution of a stage, which halves the channels."""
        config = self.config
        kind = _CausalConvTranspose1d if config.causal else nn.ConvTranspose1d
        left, right = config.crops(stage)
        return weight_normed(
            kind(
                channels,
                channels // 2,
                config.upsample_kernel_sizes[stage],
                config.upsample_rates[stage],
                padding=left,
                output_padding=left - right,
                bias=config.bias != "none",
            )
        )


class ResBlock1(nn.Module):
    """Residual pairs: a dilated convolution and one of dilation 1."""

    def __init__(self, layers: _Layers, channels: int, kernel: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.slope = layers.config.leaky_relu_slope
        self.convs1 = nn.ModuleList(layers.conv(channels, channels, kernel, each) for each in dilations)
        self.convs2 = nn.ModuleList(layers.conv(channels, channels, kernel) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: [batch, channels, steps] -> the same."""
        for conv1, conv2 in zip(self.convs1, self.convs2, strict=True):
            branch = conv1(functional.leaky_relu(x, self.slope))
            x = x + conv2(functional.leaky_relu(branch, self.slope))
        return x


class ResBlock2(nn.Module):
    """Residual dilated convolutions."""

    def __init__(self, layers: _Layers, channels: int, kernel: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.slope = layers.config.leaky_relu_slope
        self.convs = nn.ModuleList(layers.conv(channels, channels, kernel, each) for each in dilations)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: [batch, channels, steps] -> the same."""
        for conv in self.convs:
            x = x + conv(functional.leaky_relu(x, self.slope))
        return x


class HifiGan(VocoderModule):
    """The generator: transposed convolutions, each followed by the mean of parallel residual blocks."""

    mean: Tensor
    scale: Tensor

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
        layers = _Layers(config)
        block = ResBlock1 if config.resblock == "1" else ResBlock2
        channels = config.upsample_initial_channel
        if config.normalized_input:
            self.register_buffer("mean", torch.zeros(config.num_mels))
            self.register_buffer("scale", torch.ones(config.num_mels))
        self.conv_pre = layers.conv(config.num_mels, channels, 7)
        self.ups = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        for stage in range(len(config.upsample_rates)):
            self.ups.append(layers.upsampling(stage, channels))
            channels //= 2
            self.resblocks.extend(
                block(layers, channels, size, dilations)
                for size, dilations in zip(
                    config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True
                )
            )
        self.conv_post = layers.conv(channels, 1, 7, last=True)

    def forward(self, mel: Tensor) -> Tensor:
        """Mel to audio.

        Args:
            mel: [batch, n_mels, frames], float32, in the convention of `description.mel`.

        Returns:
            Audio [batch, 1, frames * hop_length], in [-1, 1].
        """
        x = mel
        if self.config.normalized_input:
            # Not folded into the first convolution, whose padding is zeros after the normalization.
            x = (x - self.mean.unsqueeze(1)) / self.scale.unsqueeze(1)
        x = self.conv_pre(x)
        branches = len(self.config.resblock_kernel_sizes)
        for stage, up in enumerate(self.ups):
            x = up(functional.leaky_relu(x, self.config.leaky_relu_slope))
            blocks = self.resblocks[stage * branches : (stage + 1) * branches]
            total = blocks[0](x)
            for block in blocks[1:]:
                total = total + block(x)
            x = total / branches
        audio = torch.tanh(self.conv_post(functional.leaky_relu(x, _LAST_SLOPE)))
        if self.config.excess_samples:
            audio = audio[:, :, : mel.shape[2] * self.config.hop_size]
        return audio
