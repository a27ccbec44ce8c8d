"""Vocos: the network of Siuzdak 2023 (arXiv 2306.00814), in operators that every backend has.

Names and outputs are those of vocos 0.1.0 (MIT), so that its checkpoints load and its golden vectors match. Linear
layers are convolutions of one frame, and all convolutions have two axes, of which the first has size 1: ONNX Runtime's
kernels for two axes are a tenth faster on a CPU. The code is our own.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from voirs_vocoder.reference_models.family import ModelDescription, VocoderModule
from voirs_vocoder.reference_models.vocos.config import KERNEL, VocosConfig

__all__ = ["Vocos"]

_EPSILON = 1e-6
# The official head clips magnitudes at 100 after exp, which overflows in FP16 before.
_MAX_LOG_MAGNITUDE = math.log(100.0)


class _ChannelNorm(nn.Module):
    """Layer normalization over channels."""

    weight: nn.Parameter | None
    bias: nn.Parameter | None

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: [batch, channels, 1, frames] -> the same."""
        # With channels last, runtimes have one kernel for it.
        channels = (x.shape[1],)
        normed = functional.layer_norm(x.permute(0, 2, 3, 1), channels, self.weight, self.bias, _EPSILON)
        return normed.permute(0, 3, 1, 2)

    @torch.no_grad()
    def move_into(self, layer: nn.Conv2d) -> None:
        """Move weight and bias into the one layer that reads the result."""
        if self.weight is None or self.bias is None or layer.bias is None:
            return
        layer.bias += layer.weight[:, :, 0, 0] @ self.bias
        layer.weight *= self.weight[:, None, None]
        self.weight = self.bias = None


class _Block(nn.Module):
    """A ConvNeXt block: a depthwise convolution, and two layers within a frame, beside a residual path."""

    gamma: nn.Parameter | None

    def __init__(self, config: VocosConfig) -> None:
        super().__init__()
        dim, inner = config.dim, config.intermediate_dim
        self.dwconv = _over_frames(dim, dim, groups=dim)
        self.norm = _ChannelNorm(dim)
        self.pwconv1 = nn.Conv2d(dim, inner, 1)
        self.pwconv2 = nn.Conv2d(inner, dim, 1)
        self.gamma = nn.Parameter(torch.full((dim,), 1.0 / config.num_layers))

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: [batch, dim, 1, frames] -> the same."""
        y: Tensor = self.pwconv2(functional.gelu(self.pwconv1(self.norm(self.dwconv(x)))))
        return x + (y if self.gamma is None else self.gamma[:, None, None] * y)

    @torch.no_grad()
    def fold(self) -> None:
        """Move what scales channels into the layers next to it."""
        self.norm.move_into(self.pwconv1)
        if self.gamma is not None and self.pwconv2.bias is not None:
            self.pwconv2.weight *= self.gamma[:, None, None, None]
            self.pwconv2.bias *= self.gamma
            self.gamma = None


class _Backbone(nn.Module):
    """The blocks, at the rate of the mel."""

    def __init__(self, config: VocosConfig) -> None:
        super().__init__()
        self.embed = _over_frames(config.n_mels, config.dim)
        self.norm = _ChannelNorm(config.dim)
        self.convnext = nn.ModuleList(_Block(config) for _ in range(config.num_layers))
        self.final_layer_norm = _ChannelNorm(config.dim)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                _initialize(layer)

    def forward(self, mel: Tensor) -> Tensor:
        """Shapes: [batch, n_mels, 1, frames] -> [batch, dim, 1, frames]."""
        x = self.norm(self.embed(mel))
        for block in self.convnext:
            x = block(x)
        normed: Tensor = self.final_layer_norm(x)
        return normed


class _Overlapped(nn.Module):
    """The sum of overlapping windows of constant shapes, each scaled by the input.

    That is a transposed convolution, computed as a convolution whose outputs are the `hop_length` samples of one frame.
    """

    weight: Tensor

    def __init__(self, config: VocosConfig, windows: NDArray[np.float64]) -> None:
        """Arrange the windows.

        Args:
            config: Sizes, and which samples are the audio.
            windows: Shape of each channel, float64 [channels, n_fft].
        """
        super().__init__()
        hop, first = config.hop_length, config.first_sample
        self.before, self.after = (config.n_fft - 1 - first) // hop, (first + hop - 1) // hop
        # Sample r of frame j is sample r + first_sample - d * hop_length of the window of frame j + d.
        offset = np.arange(-self.before, self.after + 1)
        sample = np.arange(hop)[:, None] + first - offset * hop
        inside = (sample >= 0) & (sample < config.n_fft)
        kernels = np.where(inside, windows[:, np.where(inside, sample, 0)], 0.0)
        weight = torch.from_numpy(kernels).float().transpose(0, 1)[:, :, None].contiguous()
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: [batch, channels, 1, frames] -> [batch, hop_length, 1, frames]."""
        return functional.conv2d(functional.pad(x, (self.before, self.after)), self.weight)


class _Head(nn.Module):
    """Magnitude and phase of every frame, and their inverse Fourier transform, windowed, overlapping and added up."""

    def __init__(self, config: VocosConfig) -> None:
        super().__init__()
        self.out = nn.Conv2d(config.dim, config.n_fft + 2, 1)
        _initialize(self.out)
        window = config.window
        self.synthesis = _Overlapped(config, _synthesis_basis(config.n_fft) * window)
        self.envelope = _Overlapped(config, window[None] ** 2)
        # The official samples stay as they are; it limits those after them, where the last window ends alone.
        self.least_envelope = 0.999 * config.least_envelope

    def forward(self, x: Tensor, mel: Tensor) -> Tensor:
        """Turn features into audio.

        Args:
            x: [batch, dim, 1, frames].
            mel: [batch, n_mels, 1, frames], finite; only its length and its ends matter.

        Returns:
            [batch, 1, frames * hop_length].
        """
        log_magnitude, phase = self.out(x).chunk(2, dim=1)
        magnitude = torch.exp(torch.clamp(log_magnitude, max=_MAX_LOG_MAGNITUDE))
        # The imaginary parts of the lowest and the highest bin do not matter to a real signal.
        imaginary = (magnitude * torch.sin(phase))[:, 1:-1]
        spectrum = torch.cat((magnitude * torch.cos(phase), imaginary), dim=1)
        # One for every frame of the utterance, so that a stream and a batch know where the windows begin and end.
        ones = torch.clamp(mel[:, :1], 1.0, 1.0)
        envelope = torch.clamp(self.envelope(ones), min=self.least_envelope)
        audio: Tensor = self.synthesis(spectrum) / envelope
        return audio.squeeze(2).transpose(1, 2).flatten(1).unsqueeze(1)


class Vocos(VocoderModule):
    """A backbone at the rate of the mel, and a head that makes the audio."""

    def __init__(self, config: VocosConfig) -> None:
        super().__init__()
        self.config = config
        self.description = ModelDescription(
            driver="direct",
            variant=config.variant,
            look_ahead_samples=config.look_ahead_samples,
            mel=config.mel_convention(),
            config=config.source,
        )
        self.backbone = _Backbone(config)
        self.head = _Head(config)

    def forward(self, mel: Tensor) -> Tensor:
        """Mel to audio.

        Args:
            mel: [batch, n_mels, frames], float32, in the convention of `description.mel`.

        Returns:
            Audio [batch, 1, frames * hop_length]. With padding `center` the official audio is all but the last
            `hop_length` samples, where the windows of the last frames fade out.
        """
        frames = mel.unsqueeze(2)
        audio: Tensor = self.head(self.backbone(frames), frames)
        return audio

    def fold(self) -> None:
        """Move what scales channels into the layers next to it; the audio stays the same up to rounding."""
        for block in self.backbone.modules():
            if isinstance(block, _Block):
                block.fold()
        self.backbone.final_layer_norm.move_into(self.head.out)


def _initialize(layer: nn.Conv2d) -> None:
    """Give a layer the random weights with which the official code begins a training."""
    nn.init.trunc_normal_(layer.weight, std=0.02)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def _over_frames(inputs: int, outputs: int, groups: int = 1) -> nn.Conv2d:
    """A convolution of `KERNEL` frames that keeps their number."""
    return nn.Conv2d(inputs, outputs, (1, KERNEL), padding=(0, KERNEL // 2), groups=groups)


def _synthesis_basis(n_fft: int) -> NDArray[np.float64]:
    """The inverse Fourier transform of real signals, float64 [n_fft, n_fft].

    Its rows are the real parts of all n_fft / 2 + 1 bins, then the imaginary parts of all but the first and the last.
    """
    bins = np.arange(n_fft // 2 + 1)[:, None]
    angle = 2 * np.pi * (bins * np.arange(n_fft) % n_fft) / n_fft
    scale = np.full(bins.shape, 2.0 / n_fft)
    scale[[0, -1]] = 1.0 / n_fft
    return np.concatenate((scale * np.cos(angle), (-scale * np.sin(angle))[1:-1]))
