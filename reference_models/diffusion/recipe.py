"""How DiffWave and the U-Net learn: predict the noise at a random, continuous noise level."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from voirs_vocoder.reference_models import published
from voirs_vocoder.reference_models.diffusion.channels_last import predict_noise
from voirs_vocoder.reference_models.diffusion.diffwave import DiffWave
from voirs_vocoder.reference_models.diffusion.diffwave_config import DiffWaveConfig
from voirs_vocoder.reference_models.diffusion.unet import DiffWaveUNet
from voirs_vocoder.reference_models.diffusion.unet_config import UNetConfig
from voirs_vocoder.reference_models.family import VocoderModule
from voirs_vocoder.reference_models.layers import interpolated_rows
from voirs_vocoder.reference_models.training.losses import stft_log_magnitude_l1
from voirs_vocoder.reference_models.training.settings import PlayerSettings, Preset, Recipe, TrainingSettings
from voirs_vocoder.reference_models.training.task import Batch, Turn, on_device
from voirs_vocoder.runtime.diffusion import NoiseSchedule

__all__ = ["DIFFWAVE", "DIFFWAVE_UNET", "DiffusionTask", "diffwave_task", "noise_level", "unet_task"]

_STFT_SIZES = (256, 512, 1024)
# Noisy audio comes with an RMS of 0.07 and more; where it enters DiffWave, unit variance is expected.
_INPUT_GAIN = 4.0
# Mels of lmnt-com's convention lie in [0, 1].
_MEL_GAIN = 4.0
_MEL_MEAN = 0.5
# In samples: the noise's whole band, its lowest quarter and sixteenth.
_AVERAGED = (1, 4, 16)


class _Predict(Protocol):
    def __call__(self, noisy: Tensor, step: Tensor, mel: Tensor, generator: torch.Generator) -> Tensor: ...


class DiffusionTask:
    """L1 on the noise, and on the spectra of the clean signal that it implies.

    N. Chen et al., WaveGrad, arXiv 2009.00713, section 3.1, proposes L1 and continuous noise levels.

    Attributes:
        model: What ships.
        figures: `noise_l1`, averaged and divided as in the loss, and `stft_log_l1`.
    """

    figures = ("noise_l1", "stft_log_l1")

    def __init__(
        self,
        model: VocoderModule,
        betas: tuple[float, ...],
        predict: _Predict,
        noise_scale: Callable[[Tensor], Tensor] = torch.ones_like,
        *,
        stft_weight: float = 0.25,
        spectra_below: float = math.inf,
        averaged: Sequence[int] = (1,),
    ) -> None:
        """Tie a network to its schedule.

        Args:
            model: What ships.
            betas: Variances of the training schedule.
            predict: Calls the network: noisy audio, step, mel and a generator to the predicted noise.
            noise_scale: From steps [batch] to what an error of the network itself is multiplied by in the noise; the
                loss divides by it, so that all levels count alike.
            stft_weight: Weight of the loss on spectra; the loss on the noise has weight 1.
            spectra_below: Ratio of noise to signal, in amplitude, from which on spectra no longer count: what louder
                noise hides cannot be known, and to match its spectrum all the same is learnt at the cost of the rest.
            averaged: Numbers of neighboring samples over which the error in the noise is averaged before it counts, one
                term each. White errors count alike in all terms, errors at low frequencies, where speech has its
                energy and noise hides the least of it, more in the longer ones.
        """
        self.model = model
        levels = NoiseSchedule(betas).alphas_cumulative
        # In float64: at the lowest levels the noise is what is missing to one.
        self._roots = torch.from_numpy(np.sqrt(levels))
        self._predict = predict
        self._noise_scale, self._averaged = noise_scale, tuple(averaged)
        self._stft_weight, self._spectra_below = stft_weight, spectra_below

    def players(self) -> Mapping[str, nn.Module]:
        """Name the model, the only set of weights."""
        return {"model": self.model}

    def to(self, device: torch.device) -> None:
        """Move the model and its schedule; see `Task.to`."""
        self.model.to(device)
        self._roots = self._roots.to(device)

    def turns(self, batch: Batch, step: int, generator: torch.Generator, *, bf16: bool) -> Iterator[Turn]:
        """Yield the one update of a step; see `Task.turns`."""
        del step
        count, device = batch.audio.shape[0], batch.audio.device
        # One level from each of `count` equal parts of the schedule: the loss of a batch varies less.
        places = (torch.arange(count) + torch.rand(count, generator=generator)) / count
        steps = on_device(places * (len(self._roots) - 1), device)
        root = noise_level(self._roots, steps.double())[:, None, None]
        signal, scale = root.float(), torch.sqrt(1.0 - root * root).float()
        noise = on_device(torch.randn(batch.audio.shape, generator=generator), device)
        noisy = signal * batch.audio + scale * noise
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            predicted = self._predict(noisy, steps, batch.mel, generator)
        predicted = predicted.float()
        noise_l1 = (self._distance(predicted - noise) / self._noise_scale(steps)).mean()
        clean = (noisy - scale * predicted) / signal
        counts = (scale / signal < self._spectra_below)[:, 0, 0].float()
        spectra = stft_log_magnitude_l1(batch.audio[:, 0], clean[:, 0], _STFT_SIZES)
        stft_log_l1 = (counts * spectra).mean()
        figures = {"noise_l1": noise_l1.detach(), "stft_log_l1": stft_log_l1.detach()}
        yield Turn("model", noise_l1 + self._stft_weight * stft_log_l1, figures)

    def _distance(self, error: Tensor) -> Tensor:
        """Mean |error| of each example, [batch], mean over averaged lengths."""
        terms = [
            math.sqrt(length) * functional.avg_pool1d(error, length).abs().mean(dim=(1, 2))
            for length in self._averaged
        ]
        return torch.stack(terms).mean(dim=0)


def noise_level(roots: Tensor, step: Tensor) -> Tensor:
    """The root of alpha_cumulative at a fractional step, interpolated as `NoiseSchedule.steps_of` does.

    Args:
        roots: Square roots of the schedule's cumulative alphas, float64 [steps].
        step: [batch], in [0, steps - 1].

    Returns:
        [batch].
    """
    return interpolated_rows(roots[:, None], step)[:, 0]


def diffwave_task(config: Mapping[str, object]) -> DiffusionTask:
    """DiffWave of official parameters; the noise's own scale weighs the levels, all between 1 and 0.03."""
    model = DiffWave(DiffWaveConfig.from_mapping(config))
    _begin(model)

    def predict(noisy: Tensor, step: Tensor, mel: Tensor, generator: torch.Generator) -> Tensor:
        del generator
        return predict_noise(model, noisy, step, model.condition(mel))

    return DiffusionTask(model, model.config.noise_schedule, predict, spectra_below=0.05, averaged=_AVERAGED)


def _begin(model: DiffWave) -> None:
    """Set weights that let both inputs through: He normal convolutions, and a linearly interpolated mel.

    K. He et al., Delving Deep into Rectifiers, arXiv 1502.01852, equation 10, as lmnt-com. Of random kernels of one
    channel, the two that stretch the mel let a hundredth of its variation pass, and the network ignores it for
    thousands of steps.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv1d):
            nn.init.kaiming_normal_(module.weight)
    stretch = model.spectrogram_upsampler
    with torch.no_grad():
        model.input_projection.weight *= _INPUT_GAIN
        model.output_projection.weight.zero_()
        for kernel in (stretch.conv1, stretch.conv2):
            length = kernel.weight.shape[-1]
            triangle = 1.0 - (torch.arange(length) - (length - 1) / 2.0).abs() * (2.0 / length)
            kernel.weight.zero_()
            kernel.weight[0, 0, 1] = triangle
            kernel.get_parameter("bias").zero_()
        stretch.conv2.weight *= _MEL_GAIN
        stretch.conv2.get_parameter("bias").fill_(-_MEL_GAIN * _MEL_MEAN)


def unet_task(config: Mapping[str, object]) -> DiffusionTask:
    """The U-Net; a share of examples gets no mel, so that sampling can be guided."""
    model = DiffWaveUNet(UNetConfig.from_mapping(config))

    def predict(noisy: Tensor, step: Tensor, mel: Tensor, generator: torch.Generator) -> Tensor:
        draws = on_device(torch.rand(mel.shape[0], generator=generator), mel.device)
        predicted: Tensor = model(noisy, step, mel, (draws >= model.config.conditioning_dropout).float())
        return predicted

    return DiffusionTask(model, model.config.noise_schedule, predict, model.noise_scale)


def _betas(ratios: NDArray[np.float64]) -> list[float]:
    """Betas after whose steps the noise has these ratios to the signal, in amplitude."""
    cumulative = 1.0 / (1.0 + ratios**2)
    return [float(f"{beta:.8g}") for beta in 1.0 - cumulative / np.concatenate(([1.0], cumulative[:-1]))]


_SHARED: dict[str, object] = {"sample_rate": 22050, "n_mels": 80, "n_fft": 1024, "hop_samples": 256}


def _players(learning_rate: float) -> dict[str, PlayerSettings]:
    return {"model": PlayerSettings(learning_rate=learning_rate, final_learning_rate=2e-5, clip_norm=1.0)}


# An eighth of the arithmetic of the published base: 12 layers of 32 channels instead of 30 of 64, in one cycle of
# dilations, which reaches 0.26 s to either side. The network pays for every sample, so at 16 kHz: of the
# recordings that it was made for, a millionth of the energy lies above 8 kHz.
DIFFWAVE = Recipe(
    family="diffwave",
    config_name="params.json",
    config={
        **_SHARED,
        "sample_rate": 16000,
        "residual_layers": 12,
        "residual_channels": 32,
        "dilation_cycle_length": 12,
        "unconditional": False,
        # From 23 dB below speech to 29 dB above, each step by the same factor. The published schedule spends most
        # of its steps on the loudest noise.
        "noise_schedule": _betas(np.geomspace(5e-3, 2.0, 50)),
        "inference_noise_schedule": _betas(np.geomspace(5e-3, 2.0, 8)),
    },
    settings=TrainingSettings(batch=4, segment_frames=32, players=_players(7e-4), decay="cosine"),
    task=diffwave_task,
    presets={
        "base": Preset(
            published.DIFFWAVE,
            TrainingSettings(batch=32, segment_frames=62, players=_players(4e-4), decay="cosine"),
        )
    },
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
        # From -60 dB, which is inaudible, to 29 dB above speech.
        "noise_schedule": _betas(np.geomspace(1e-3, 2.0, 200)),
        "audio_rms": 0.07,
        "sampler": "dpm-solver++",
        "steps": 6,
        "conditioning_dropout": 0.1,
    },
    settings=TrainingSettings(batch=16, segment_frames=48, players=_players(1e-3), decay="cosine"),
    task=unet_task,
)
