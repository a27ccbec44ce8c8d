"""DiffWave: the network of Kong, Ping, Huang, Zhao and Catanzaro 2020 (arXiv 2009.09761), as lmnt-com built it.

Names, shapes and outputs are those of github.com/lmnt-com/diffwave at 0594106 (Apache-2.0), so that its checkpoints
load and its golden vectors match; the code is our own. Philip Sin's implementation has other weights for the same
names of things, and the two cannot be exchanged.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from voirs_vocoder.reference_models.diffusion.diffwave_config import (
    MEL_REACH_SAMPLES,
    UPSAMPLE,
    DiffWaveConfig,
)
from voirs_vocoder.reference_models.family import ModelDescription, VocoderModule
from voirs_vocoder.reference_models.layers import StepEmbedding, skip_sum
from voirs_vocoder.runtime.artifact.manifest import Diffusion

__all__ = ["DiffWave", "MelUpsampler", "ResidualLayer"]

_SLOPE = 0.4
_EMBEDDING_CHANNELS = 512


class MelUpsampler(nn.Module):
    """Stretches the mel to the audio's rate, as an image of one channel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.ConvTranspose2d(
            1, 1, (3, 2 * UPSAMPLE), stride=(1, UPSAMPLE), padding=(1, UPSAMPLE // 2)
        )
        self.conv2 = nn.ConvTranspose2d(
            1, 1, (3, 2 * UPSAMPLE), stride=(1, UPSAMPLE), padding=(1, UPSAMPLE // 2)
        )

    def forward(self, mel: Tensor) -> Tensor:
        """Shapes: [batch, n_mels, frames] -> [batch, n_mels, frames * 256]."""
        x = mel.unsqueeze(1)
        x = functional.leaky_relu(self.conv1(x), _SLOPE)
        x = functional.leaky_relu(self.conv2(x), _SLOPE)
        return x.squeeze(1)


class ResidualLayer(nn.Module):
    """A dilated convolution, conditioned on the step and the mel, gated, with a residual and a skip."""

    def __init__(self, config: DiffWaveConfig, dilation: int) -> None:
        super().__init__()
        channels = config.residual_channels
        self.dilated_conv = nn.Conv1d(channels, 2 * channels, 3, padding=dilation, dilation=dilation)
        self.diffusion_projection = nn.Linear(_EMBEDDING_CHANNELS, channels)
        self.conditioner_projection = nn.Conv1d(config.n_mels, 2 * channels, 1)
        self.output_projection = nn.Conv1d(channels, 2 * channels, 1)

    def forward(self, x: Tensor, step: Tensor, conditioner: Tensor) -> tuple[Tensor, Tensor]:
        """The residual stream and the skip, both of the shape of `x`: [batch, channels, samples]."""
        x_with_step = x + self.diffusion_projection(step).unsqueeze(-1)
        gates = self.dilated_conv(x_with_step) + self.conditioner_projection(conditioner)
        # The sigmoid comes first in lmnt-com's code, the hyperbolic tangent in philsyn's.
        gate, opening = gates.chunk(2, dim=1)
        residual, skip = self.output_projection(torch.sigmoid(gate) * torch.tanh(opening)).chunk(2, dim=1)
        return (x + residual) / math.sqrt(2.0), skip


class DiffWave(VocoderModule):
    """Predicts the noise in noisy audio."""

    def __init__(self, config: DiffWaveConfig) -> None:
        super().__init__()
        self.config = config
        self.description = ModelDescription(
            driver="diffusion",
            variant=config.variant,
            look_ahead_samples=config.context_samples + MEL_REACH_SAMPLES,
            mel=config.mel_convention(),
            config=config.source,
            diffusion=Diffusion(
                training_betas=config.noise_schedule,
                fast_betas=config.inference_noise_schedule,
                sampler="fast",
                steps=None,
                drops_conditioning=False,
            ),
        )
        channels = config.residual_channels
        self.input_projection = nn.Conv1d(1, channels, 1)
        self.diffusion_embedding = StepEmbedding(len(config.noise_schedule), _EMBEDDING_CHANNELS)
        self.spectrogram_upsampler = MelUpsampler()
        self.residual_layers = nn.ModuleList(
            ResidualLayer(config, config.dilation(layer)) for layer in range(config.residual_layers)
        )
        self.skip_projection = nn.Conv1d(channels, channels, 1)
        self.output_projection = nn.Conv1d(channels, 1, 1)
        nn.init.zeros_(self.output_projection.weight)

    def layers(self) -> list[ResidualLayer]:
        """From the input to the output."""
        return [layer for layer in self.residual_layers if isinstance(layer, ResidualLayer)]

    def condition(self, mel: Tensor) -> Tensor:
        """The mel at the audio's rate, which no step changes: [batch, n_mels, frames * hop_length]."""
        stretched: Tensor = self.spectrogram_upsampler(mel)
        return stretched

    def predict_noise(self, noisy_audio: Tensor, step: Tensor, conditioner: Tensor) -> Tensor:
        """One evaluation of the network.

        Args:
            noisy_audio: [batch, 1, samples], float32.
            step: [batch], float32, in steps of the training schedule.
            conditioner: What `condition` returned, [batch, n_mels, samples].

        Returns:
            The noise, [batch, 1, samples].
        """
        x = functional.relu(self.input_projection(noisy_audio))
        step_embedding = self.diffusion_embedding(step)
        skips: list[Tensor] = []
        for layer in self.residual_layers:
            x, skip = layer(x, step_embedding, conditioner)
            skips.append(skip)
        x = functional.relu(self.skip_projection(skip_sum(skips) / math.sqrt(len(skips))))
        predicted: Tensor = self.output_projection(x)
        return predicted

    def forward(self, noisy_audio: Tensor, step: Tensor, mel: Tensor) -> Tensor:
        """`predict_noise` from a mel, for training."""
        return self.predict_noise(noisy_audio, step, self.condition(mel))
