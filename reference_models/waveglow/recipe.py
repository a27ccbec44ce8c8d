"""How WaveGlow learns: maximum likelihood of the audio."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from voirs_vocoder.reference_models import published
from voirs_vocoder.reference_models.training.losses import stft_loss
from voirs_vocoder.reference_models.training.settings import PlayerSettings, Preset, Recipe, TrainingSettings
from voirs_vocoder.reference_models.training.task import Batch, Turn, on_device
from voirs_vocoder.reference_models.waveglow.config import WaveGlowConfig
from voirs_vocoder.reference_models.waveglow.model import FlowOutput, WaveGlow
from voirs_vocoder.runtime.drivers.settings import DEFAULT_SIGMA

__all__ = ["WAVEGLOW", "WaveGlowTask", "flow_negative_log_likelihood"]

# The prior that NVIDIA/waveglow at 8afb643 trains with (config.json).
_SIGMA = 1.0
# Correlation of neighboring samples, and level, of recordings as they are usually normalized.
_SPEECH_CORRELATION = 0.9
_SPEECH_RMS = 0.07
_STFT_SIZES = (256, 512, 1024)
_STFT_WEIGHT = 1.0


class WaveGlowTask:
    """Negative log-likelihood, and the spectra of audio that is sampled from the same mel.

    Likelihood alone takes days to become intelligible at this size; it keeps the flow honest, the spectra teach the
    envelope.

    Attributes:
        model: What ships.
        figures: `nll`, in nats per sample; audio without any model has the entropy of its own level. `stft`, the
            multi-resolution STFT loss of the sampled audio.
    """

    figures = ("nll", "stft")

    def __init__(self, config: Mapping[str, object]) -> None:
        """Make the model from a configuration in official keys."""
        self.model = WaveGlow(WaveGlowConfig.from_mapping(config))
        _whiten(self.model)

    def players(self) -> Mapping[str, nn.Module]:
        """Name the model, the only set of weights."""
        return {"model": self.model}

    def to(self, device: torch.device) -> None:
        """Move the model; see `Task.to`."""
        self.model.to(device)

    def turns(self, batch: Batch, step: int, generator: torch.Generator, *, bf16: bool) -> Iterator[Turn]:
        """Yield the one update of a step; see `Task.turns`."""
        del step
        audio = batch.audio[:, 0]
        with torch.autocast(audio.device.type, torch.bfloat16, enabled=bf16):
            conditions = self.model.conditions(batch.mel, audio.shape[1])
            output = self.model.noise_from_audio(audio, conditions)
            noise = on_device(DEFAULT_SIGMA * torch.randn(output.z.shape, generator=generator), audio.device)
            sampled = self.model.audio_from_noise(noise, conditions)
        nll = flow_negative_log_likelihood(output, _SIGMA)
        stft = stft_loss(audio, sampled, _STFT_SIZES)
        yield Turn("model", nll + _STFT_WEIGHT * stft, {"nll": nll.detach(), "stft": stft.detach()})


def flow_negative_log_likelihood(output: FlowOutput, sigma: float) -> Tensor:
    """Negative log-likelihood of audio under a flow, in nats per sample.

    R. Prenger et al., WaveGlow, arXiv 1811.00002, equation 7, with the constant that it leaves out:
    (sum z^2 / (2 sigma^2) - sum log s - sum log |det W|) / n + log sigma + log(2 pi) / 2.

    Args:
        output: Noise and log-determinants that the forward direction made of the audio.
        sigma: Standard deviation of the prior.

    Returns:
        Scalar float32.
    """
    energy = output.z.float().square().sum() / (2.0 * sigma * sigma)
    log_scales = torch.stack([log_s.float().sum() for log_s in output.log_s]).sum()
    log_determinants = torch.stack([value.float() for value in output.log_determinants]).sum()
    per_sample = (energy - log_scales - log_determinants) / output.z.numel()
    return per_sample + math.log(sigma) + 0.5 * math.log(2.0 * math.pi)


def _whiten(model: WaveGlow) -> None:
    """Let the first 1x1 convolution make speech white, as a first-order autoregressive process of its level is made.

    Every flow then starts with channels of unit variance; from a rotation, the first thousand steps go into that.
    """
    n_group = model.config.flow.n_group
    distance = np.abs(np.subtract.outer(np.arange(n_group), np.arange(n_group)))
    variances, directions = np.linalg.eigh(_SPEECH_RMS**2 * _SPEECH_CORRELATION**distance)
    matrix = (directions / np.sqrt(variances)).T
    if np.linalg.det(matrix) < 0.0:
        matrix[0] = -matrix[0]
    convinv, _ = model.flows()[0]
    with torch.no_grad():
        convinv.conv.weight.copy_(torch.from_numpy(matrix)[..., None])


# The official upsampling holds bands^2 * 1024 numbers, 26 MB at 80 bands: 32 bands and float16 leave room for flows.
WAVEGLOW = Recipe(
    family="waveglow",
    config_name="config.json",
    config={
        "waveglow_config": {
            "n_mel_channels": 32,
            "n_flows": 6,
            "n_group": 8,
            "n_early_every": 2,
            "n_early_size": 2,
            "WN_config": {"n_layers": 5, "n_channels": 32, "kernel_size": 3},
        },
        "data_config": {
            "sampling_rate": 22050,
            "filter_length": 1024,
            "hop_length": 256,
            "win_length": 1024,
            "mel_fmin": 0.0,
            "mel_fmax": 8000.0,
        },
    },
    settings=TrainingSettings(
        batch=4,
        segment_frames=32,
        players={"model": PlayerSettings(learning_rate=1.5e-3, final_learning_rate=2e-5, clip_norm=1.0)},
        decay="cosine",
        bf16=True,
    ),
    task=WaveGlowTask,
    half_weights=True,
    presets={
        "256": Preset(
            published.WAVEGLOW,
            TrainingSettings(
                batch=24,
                segment_frames=64,
                players={
                    "model": PlayerSettings(learning_rate=4e-4, final_learning_rate=2e-5, clip_norm=1.0)
                },
                decay="cosine",
            ),
        )
    },
)
