"""BigVGAN: the generator of Lee et al. 2023 (arXiv 2206.04658), versions 1 and 2.

Names, shapes and outputs are those of github.com/NVIDIA/BigVGAN, 2.4.1 (MIT), so that its checkpoints load and its
golden vectors match; the constant filters of its activations are no weights here. The code is our own.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from voirs_vocoder.reference_models.bigvgan.activation import AntiAliasedSnake
from voirs_vocoder.reference_models.bigvgan.config import BigVganConfig
from voirs_vocoder.reference_models.checkpoints.weight_norm import weight_normed
from voirs_vocoder.reference_models.family import ModelDescription, VocoderModule

__all__ = ["BigVgan"]


def _conv(channels: int, kernel: int, dilation: int = 1) -> nn.Conv1d:
    padding = (kernel - 1) * dilation // 2
    return weight_normed(nn.Conv1d(channels, channels, kernel, dilation=dilation, padding=padding))


def _activation(config: BigVganConfig, channels: int) -> AntiAliasedSnake:
    return AntiAliasedSnake(
        channels, has_beta=config.activation == "snakebeta", log_scale=config.snake_logscale
    )


class _AmpBlock1(nn.Module):
    """Residual pairs: a dilated convolution and one of dilation 1, each after an activation."""

    def __init__(self, config: BigVganConfig, channels: int, kernel: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(_conv(channels, kernel, each) for each in dilations)
        self.convs2 = nn.ModuleList(_conv(channels, kernel) for _ in dilations)
        self.activations = nn.ModuleList(_activation(config, channels) for _ in range(2 * len(dilations)))

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: [batch, channels, steps] -> the same."""
        for number, (conv1, conv2) in enumerate(zip(self.convs1, self.convs2, strict=True)):
            branch = conv1(self.activations[2 * number](x))
            x = x + conv2(self.activations[2 * number + 1](branch))
        return x


class _AmpBlock2(nn.Module):
    """Residual dilated convolutions, each after an activation."""

    def __init__(self, config: BigVganConfig, channels: int, kernel: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(_conv(channels, kernel, each) for each in dilations)
        self.activations = nn.ModuleList(_activation(config, channels) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: [batch, channels, steps] -> the same."""
        for conv, activation in zip(self.convs, self.activations, strict=True):
            x = x + conv(activation(x))
        return x


class BigVgan(VocoderModule):
    """The generator: transposed convolutions, each followed by the mean of parallel residual blocks.

    Args:
        config: Configuration of the network.
    """

    def __init__(self, config: BigVganConfig) -> None:
        super().__init__()
        self.config = config
        self.description = ModelDescription(
            driver="direct",
            variant=config.variant,
            look_ahead_samples=config.look_ahead_samples,
            mel=config.mel_convention(),
            config=config.source,
        )
        block = _AmpBlock1 if config.resblock == "1" else _AmpBlock2
        channels = config.upsample_initial_channel
        self.conv_pre = weight_normed(nn.Conv1d(config.num_mels, channels, 7, padding=3))
        self.ups = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        for rate, kernel in zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True):
            up = nn.ConvTranspose1d(channels, channels // 2, kernel, rate, padding=(kernel - rate) // 2)
            # The official code has room for several layers per stage, and puts one there.
            self.ups.append(nn.ModuleList([weight_normed(up)]))
            channels //= 2
            self.resblocks.extend(
                block(config, channels, size, dilations)
                for size, dilations in zip(
                    config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True
                )
            )
        self.activation_post = _activation(config, channels)
        self.conv_post = weight_normed(nn.Conv1d(channels, 1, 7, padding=3, bias=config.use_bias_at_final))

    def forward(self, mel: Tensor) -> Tensor:
        """Mel to audio.

        Args:
            mel: [batch, n_mels, frames], float32, in the convention of `description.mel`.

        Returns:
            Audio [batch, 1, frames * hop_length], in [-1, 1].
        """
        x = self.conv_pre(mel)
        branches = len(self.config.resblock_kernel_sizes)
        for stage in range(len(self.ups)):
            x = self.get_submodule(f"ups.{stage}.0")(x)
            blocks = self.resblocks[stage * branches : (stage + 1) * branches]
            total = blocks[0](x)
            for block in blocks[1:]:
                total = total + block(x)
            x = total / branches
        audio = self.conv_post(self.activation_post(x))
        return torch.tanh(audio) if self.config.use_tanh_at_final else torch.clamp(audio, -1.0, 1.0)

    def fold(self) -> None:
        """Let every activation take the faster of its forms; the audio stays the same up to rounding."""
        for module in self.modules():
            if isinstance(module, AntiAliasedSnake):
                module.fold()
