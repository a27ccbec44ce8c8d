"""WaveGlow: the flow of Prenger, Valle and Catanzaro 2018 (arXiv 1811.00002), in both directions.

Names, shapes and outputs are those of github.com/NVIDIA/waveglow at 8afb643 (BSD-3-Clause), so that its checkpoints
load and its golden vectors match; the code is our own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from voirs_vocoder.reference_models.checkpoints.weight_norm import weight_normed
from voirs_vocoder.reference_models.family import ModelDescription, VocoderModule
from voirs_vocoder.reference_models.layers import skip_sum
from voirs_vocoder.reference_models.waveglow.config import (
    UPSAMPLE_KERNEL,
    UPSAMPLE_STRIDE,
    CouplingKeys,
    WaveGlowConfig,
)

__all__ = ["Coupling", "FlowOutput", "Invertible1x1", "WaveGlow", "grouped_mel", "inverse_flows"]


class FlowOutput(NamedTuple):
    """What the forward direction returns.

    Attributes:
        z: [batch, n_group, groups], early outputs first.
        log_s: Log-scales of each flow, [batch, channels / 2, groups].
        log_determinants: Log-determinant of each 1x1 convolution over the whole batch, a scalar.
    """

    z: Tensor
    log_s: list[Tensor]
    log_determinants: list[Tensor]


def _full_precision(device: torch.device) -> torch.autocast:
    """Training may run the couplings in bfloat16; the audio itself, whose likelihood counts, is never rounded to it."""
    return torch.autocast(device.type, enabled=False)


class Invertible1x1(nn.Module):
    """A 1x1 convolution that mixes the channels of a flow.

    Attributes:
        conv: Holds the matrix, [channels, channels, 1].
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, 1, bias=False)
        rotation, _ = torch.linalg.qr(torch.randn(channels, channels))
        if rotation.device.type != "meta" and torch.det(rotation) < 0:
            rotation[:, 0] = -rotation[:, 0]
        self.conv.weight.data = rotation.unsqueeze(-1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mixed channels and the log-determinant of the whole batch (equation 9): batch * groups * log |det W|."""
        matrix = self.conv.weight.squeeze(-1)
        with _full_precision(x.device):
            return self.conv(x), x.shape[0] * x.shape[2] * torch.logdet(matrix)

    def inverse_matrix(self) -> Tensor:
        """[channels, channels], in float64: in less, the rounding of twelve inverses is audible."""
        inverse: Tensor = torch.linalg.inv(self.conv.weight.detach().squeeze(-1).double())
        return inverse


class Coupling(nn.Module):
    """The network of an affine coupling: a gated WaveNet without causality, that reads half of the channels."""

    def __init__(self, half_channels: int, mel_channels: int, config: CouplingKeys) -> None:
        super().__init__()
        channels, layers, kernel = config.n_channels, config.n_layers, config.kernel_size
        self.channels = channels
        self.start = weight_normed(nn.Conv1d(half_channels, channels, 1))
        self.cond_layer = weight_normed(nn.Conv1d(mel_channels, 2 * channels * layers, 1))
        self.in_layers = nn.ModuleList()
        self.res_skip_layers = nn.ModuleList()
        for layer in range(layers):
            padding = (kernel - 1) // 2 * 2**layer
            conv = nn.Conv1d(channels, 2 * channels, kernel, dilation=2**layer, padding=padding)
            self.in_layers.append(weight_normed(conv))
            # The last layer has no residual to hand on.
            leaving = 2 * channels if layer < layers - 1 else channels
            self.res_skip_layers.append(weight_normed(nn.Conv1d(channels, leaving, 1)))
        self.end = nn.Conv1d(channels, 2 * half_channels, 1)
        # A flow starts training as the identity.
        nn.init.zeros_(self.end.weight)
        if self.end.bias is not None:
            nn.init.zeros_(self.end.bias)

    def forward(self, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Shift and log-scale of the other half.

        Args:
            x: [batch, half_channels, groups].
            condition: Conditions of all layers, [batch, 2 * channels * layers, groups].

        Returns:
            `b` and `log_s`, of the shape of `x`.
        """
        b, log_s = self.gated(x, condition.chunk(len(self.in_layers), dim=1))
        return b.to(x.dtype), log_s.to(x.dtype)

    def gated(self, x: Tensor, conditions: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
        """Shift and log-scale from the conditions of each layer, [batch, 2 * channels, groups], taken one by one."""
        x = self.start(x)
        skips: list[Tensor] = []
        for in_layer, res_skip_layer, condition in zip(
            self.in_layers, self.res_skip_layers, conditions, strict=True
        ):
            opening, gate = (in_layer(x) + condition).chunk(2, dim=1)
            result = res_skip_layer(torch.tanh(opening) * torch.sigmoid(gate))
            if result.shape[1] > self.channels:
                residual, result = result.chunk(2, dim=1)
                x = x + residual
            skips.append(result)
        b, log_s = self.end(skip_sum(skips)).chunk(2, dim=1)
        return b, log_s


class WaveGlow(VocoderModule):
    """The flow. Forward, audio becomes noise with its log-determinants; inverse, noise becomes audio."""

    def __init__(self, config: WaveGlowConfig) -> None:
        super().__init__()
        self.config = config
        self.description = ModelDescription(
            driver="flow",
            variant=config.variant,
            look_ahead_samples=config.look_ahead_samples,
            mel=config.mel_convention(),
            config=config.source,
        )
        bands = config.flow.n_mel_channels
        self.upsample = nn.ConvTranspose1d(bands, bands, UPSAMPLE_KERNEL, UPSAMPLE_STRIDE)
        self.WN = nn.ModuleList()
        self.convinv = nn.ModuleList()
        for flow in range(config.flow.n_flows):
            channels = config.channels_of(flow)
            self.convinv.append(Invertible1x1(channels))
            self.WN.append(Coupling(channels // 2, bands * config.flow.n_group, config.flow.coupling))

    def flows(self) -> list[tuple[Invertible1x1, Coupling]]:
        """The flows in the order of the forward direction."""
        pairs = zip(self.convinv, self.WN, strict=True)
        return [(cast(Invertible1x1, convinv), cast(Coupling, coupling)) for convinv, coupling in pairs]

    def forward(self, mel: Tensor, audio: Tensor) -> FlowOutput:
        """Audio to noise, for training.

        Args:
            mel: [batch, n_mel_channels, frames].
            audio: [batch, samples], float32 in [-1, 1]; a multiple of n_group, at most frames * hop_length long.

        Returns:
            Noise and log-determinants.
        """
        return self.noise_from_audio(audio, self.conditions(mel, audio.shape[1]))

    def conditions(self, mel: Tensor, samples: int) -> list[Tensor]:
        """What the mel adds to the gates of each flow, which both directions need.

        Args:
            mel: [batch, n_mel_channels, frames].
            samples: Number of audio samples.

        Returns:
            Conditions of each flow, [batch, 2 * n_channels * n_layers, samples / n_group].
        """
        conditioning = grouped_mel(self.upsample(mel)[..., :samples], self.config.flow.n_group)
        return [coupling.cond_layer(conditioning) for _, coupling in self.flows()]

    def noise_from_audio(self, audio: Tensor, conditions: list[Tensor]) -> FlowOutput:
        """`forward`, given the `conditions`."""
        x = audio.reshape(audio.shape[0], -1, self.config.flow.n_group).transpose(1, 2)
        outputs, log_scales, determinants = [], [], []
        for flow, (convinv, coupling) in enumerate(self.flows()):
            if self.config.is_early(flow):
                outputs.append(x[:, : self.config.flow.n_early_size])
                x = x[:, self.config.flow.n_early_size :]
            x, determinant = convinv(x)
            kept, changed = x.chunk(2, dim=1)
            b, log_s = coupling(kept, conditions[flow])
            x = torch.cat((kept, torch.exp(log_s) * changed + b), dim=1)
            log_scales.append(log_s)
            determinants.append(determinant)
        return FlowOutput(torch.cat((*outputs, x), dim=1), log_scales, determinants)

    def audio_from_noise(self, noise: Tensor, conditions: list[Tensor]) -> Tensor:
        """The inverse direction with gradients, for training; what ships is `WaveGlowSynthesis`.

        Args:
            noise: [batch, n_group, groups], early outputs first.
            conditions: What `conditions` returned for the mel.

        Returns:
            [batch, groups * n_group].
        """
        flows = self.flows()

        def step(flow: int, x: Tensor) -> Tensor:
            convinv, coupling = flows[flow]
            kept, changed = x.chunk(2, dim=1)
            b, log_s = coupling(kept, conditions[flow])
            x = torch.cat((kept, (changed - b) * torch.exp(-log_s)), dim=1)
            with _full_precision(x.device):
                mixed: Tensor = torch.linalg.inv(convinv.conv.weight.squeeze(-1)) @ x
            return mixed

        return inverse_flows(self.config, noise, step)


def inverse_flows(config: WaveGlowConfig, noise: Tensor, step: Callable[[int, Tensor], Tensor]) -> Tensor:
    """Noise to audio, through the flows backwards.

    Args:
        config: Configuration, which decides before which flows channels left.
        noise: [batch, n_group, groups], early outputs first.
        step: Inverts one flow: from the number of the flow and its output to its input.

    Returns:
        [batch, groups * n_group].
    """
    x = noise[:, config.flow.n_group - config.remaining_channels :]
    entering = config.early_outputs
    for flow in reversed(range(config.flow.n_flows)):
        x = step(flow, x)
        if config.is_early(flow):
            entering -= 1
            first = entering * config.flow.n_early_size
            x = torch.cat((noise[:, first : first + config.flow.n_early_size], x), dim=1)
    return x.transpose(1, 2).flatten(1)


def grouped_mel(upsampled: Tensor, n_group: int) -> Tensor:
    """[batch, bands, samples] to [batch, bands * n_group, groups]; channel = band * n_group + place in the group."""
    batch, bands, _ = upsampled.shape
    return upsampled.reshape(batch, bands, -1, n_group).transpose(2, 3).flatten(1, 2)
