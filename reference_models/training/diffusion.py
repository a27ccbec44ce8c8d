"""How DiffWave and the U-Net learn: predict the noise at a random, continuous noise level."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from voirs_vocoder.reference_models.diffwave import DiffWave
from voirs_vocoder.reference_models.diffwave_config import DiffWaveConfig
from voirs_vocoder.reference_models.diffwave_unet import DiffWaveUNet
from voirs_vocoder.reference_models.diffwave_unet_config import UNetConfig
from voirs_vocoder.reference_models.family import VocoderModule
from voirs_vocoder.reference_models.training.losses import stft_log_magnitude_l1
from voirs_vocoder.reference_models.training.settings import PlayerSettings, Recipe, TrainingSettings
from voirs_vocoder.reference_models.training.task import Batch, Turn
from voirs_vocoder.runtime.diffusion import NoiseSchedule

__all__ = ["DIFFWAVE", "DIFFWAVE_UNET", "DiffusionTask", "diffwave_task", "noise_level", "unet_task"]

_STFT_SIZES = (256, 512, 1024)
_STFT_WEIGHT = 0.25


class _Predict(Protocol):
    def __call__(self, noisy: Tensor, step: Tensor, mel: Tensor, generator: torch.Generator) -> Tensor: ...


class DiffusionTask:
    """L1 on the noise, and on the spectra of the clean signal that it implies.

    N. Chen et al., WaveGrad, arXiv 2009.00713, section 3.1, proposes L1 and continuous noise levels.

    Attributes:
        model: What ships.
        figures: `noise_l1`, divided as in the loss, and `stft_log_l1`.
    """

    figures = ("noise_l1", "stft_log_l1")

    def __init__(
        self,
        model: VocoderModule,
        betas: tuple[float, ...],
        predict: _Predict,
        noise_scale: Callable[[Tensor], Tensor] = torch.ones_like,
    ) -> None:
        """Tie a network to its schedule.

        Args:
            model: What ships.
            betas: Of its training schedule.
            predict: Calls it: noisy audio, step, mel and a generator to the predicted noise.
            noise_scale: From steps [batch] to what an error of the network itself is multiplied by in the noise; the
                loss divides by it, so that all levels count alike.
        """
        self.model = model
        levels = NoiseSchedule(betas).alphas_cumulative
        # In float64: at the lowest levels the noise is what is missing to one.
        self._roots = torch.from_numpy(np.sqrt(levels))
        self._predict = predict
        self._noise_scale = noise_scale

    def players(self) -> Mapping[str, nn.Module]:
        """See `Task.players`."""
        return {"model": self.model}

    def turns(self, batch: Batch, step: int, generator: torch.Generator, *, bf16: bool) -> Iterator[Turn]:
        """See `Task.turns`."""
        del step
        count = batch.audio.shape[0]
        # One level from each of `count` equal parts of the schedule: the loss of a batch varies less.
        places = (torch.arange(count) + torch.rand(count, generator=generator)) / count
        told = places * (len(self._roots) - 1)
        root = noise_level(self._roots, told.double())[:, None, None]
        signal, scale = root.float(), torch.sqrt(1.0 - root * root).float()
        noise = torch.randn(batch.audio.shape, generator=generator)
        noisy = signal * batch.audio + scale * noise
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            predicted = self._predict(noisy, told, batch.mel, generator)
        predicted = predicted.float()
        noise_l1 = ((predicted - noise).abs().mean(dim=(1, 2)) / self._noise_scale(told)).mean()
        clean = (noisy - scale * predicted) / signal
        stft_log_l1 = stft_log_magnitude_l1(batch.audio[:, 0], clean[:, 0], _STFT_SIZES).mean()
        figures = {"noise_l1": noise_l1.detach(), "stft_log_l1": stft_log_l1.detach()}
        yield Turn("model", noise_l1 + _STFT_WEIGHT * stft_log_l1, figures)


def noise_level(roots: Tensor, step: Tensor) -> Tensor:
    """The root of alpha_cumulative at a fractional step, interpolated as `NoiseSchedule.steps_of` does.

    Args:
        roots: Of the schedule, [steps].
        step: [batch], in [0, steps - 1].

    Returns:
        [batch].
    """
    below = step.floor().long()
    above = (below + 1).clamp(max=len(roots) - 1)
    share = step - below
    return roots[below] * (1.0 - share) + roots[above] * share


def diffwave_task(config: Mapping[str, object]) -> DiffusionTask:
    """DiffWave of official parameters."""
    model = DiffWave(DiffWaveConfig.from_mapping(config))

    def predict(noisy: Tensor, step: Tensor, mel: Tensor, generator: torch.Generator) -> Tensor:
        del generator
        predicted: Tensor = model(noisy, step, mel)
        return predicted

    return DiffusionTask(model, model.config.noise_schedule, predict)


def unet_task(config: Mapping[str, object]) -> DiffusionTask:
    """The U-Net; a share of examples hears no mel, so that sampling can be guided."""
    model = DiffWaveUNet(UNetConfig.from_mapping(config))

    def predict(noisy: Tensor, step: Tensor, mel: Tensor, generator: torch.Generator) -> Tensor:
        draws = torch.rand(mel.shape[0], generator=generator)
        predicted: Tensor = model(noisy, step, mel, (draws >= model.config.conditioning_dropout).float())
        return predicted

    return DiffusionTask(model, model.config.noise_schedule, predict, model.noise_scale)


def _betas(first: float, last: float, steps: int) -> list[float]:
    return [float(f"{beta:.8g}") for beta in np.linspace(first, last, steps)]


def _geometric_betas(first: float, last: float, steps: int) -> list[float]:
    """Betas whose ratio of noise to signal, in amplitude, grows by the same factor from step to step."""
    ratios = np.geomspace(first, last, steps)
    cumulative = 1.0 / (1.0 + ratios**2)
    return [float(f"{beta:.8g}") for beta in 1.0 - cumulative / np.concatenate(([1.0], cumulative[:-1]))]


_SHARED: dict[str, object] = {"sample_rate": 22050, "n_mels": 80, "n_fft": 1024, "hop_samples": 256}
_PLAYERS = {"model": PlayerSettings(learning_rate=1e-3, final_learning_rate=2e-5, clip_norm=1.0)}

# A tenth of the arithmetic of the published base: 20 layers of 32 channels instead of 30 of 64.
DIFFWAVE = Recipe(
    family="diffwave",
    config_name="params.json",
    config={
        **_SHARED,
        "residual_layers": 20,
        "residual_channels": 32,
        "dilation_cycle_length": 10,
        "unconditional": False,
        "noise_schedule": _betas(1e-4, 0.05, 50),
        "inference_noise_schedule": [0.0001, 0.001, 0.01, 0.05, 0.2, 0.5],
    },
    settings=TrainingSettings(batch=8, segment_frames=32, players=_PLAYERS, decay="cosine"),
    task=diffwave_task,
)
DIFFWAVE_UNET = Recipe(
    family="diffwave-unet",
    config_name="config.json",
    config={
        **_SHARED,
        "channels": [32, 48, 64, 96],
        "blocks": 1,
        "group_channels": 16,
        "attention_heads": 4,
        "attention_reach_frames": 8,
        "conditioner_channels": 3,
        "embedding_channels": 64,
        # From -60 dB, which nobody hears, to 29 dB above speech.
        "noise_schedule": _geometric_betas(1e-3, 2.0, 200),
        "audio_rms": 0.07,
        "sampler": "dpm-solver++",
        "steps": 6,
        "conditioning_dropout": 0.1,
    },
    settings=TrainingSettings(batch=16, segment_frames=48, players=_PLAYERS, decay="cosine"),
    task=unet_task,
)
