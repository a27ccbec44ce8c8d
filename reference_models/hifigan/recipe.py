"""How HiFi-GAN learns: first to match spectra, then besides to deceive discriminators."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional

from voirs_vocoder.reference_models import published
from voirs_vocoder.reference_models.hifigan.config import HifiGanConfig
from voirs_vocoder.reference_models.hifigan.discriminators import Discriminators, Verdict
from voirs_vocoder.reference_models.hifigan.model import HifiGan
from voirs_vocoder.reference_models.training.losses import stft_loss
from voirs_vocoder.reference_models.training.mel import TorchMel, pad_ends
from voirs_vocoder.reference_models.training.settings import PlayerSettings, Preset, Recipe, TrainingSettings
from voirs_vocoder.reference_models.training.task import Batch, Turn

__all__ = ["ADVERSARIAL_FROM_STEP", "HIFIGAN", "HifiGanTask", "discriminator_loss", "generator_loss"]

ADVERSARIAL_FROM_STEP = 6000
"""Steps that the generator learns alone, of 11,623 in the two hours of the shipped checkpoint."""

# A batch of a large GPU teaches as much as five of the CPU's.
_PUBLISHED_FROM_STEP = 1500
_MEL_WEIGHT = 45.0
_FEATURE_WEIGHT = 2.0
_STFT_WEIGHT_ALONE = 10.0
_STFT_WEIGHT = 2.5
_STFT_SIZES = (256, 512, 1024, 2048)
_LOSS_BANDS = 80


class HifiGanTask:
    """The losses of arXiv 2010.05646, section 2.4, and a multi-resolution STFT loss.

    Attributes:
        model: Generator, whose weights ship.
        figures: `mel_l1` and `stft`, unweighted; `adversarial` of the generator and `discriminator`, 0 while it learns
            alone.
    """

    figures = ("mel_l1", "stft", "adversarial", "discriminator")

    def __init__(
        self, config: Mapping[str, object], adversarial_from_step: int = ADVERSARIAL_FROM_STEP
    ) -> None:
        """Make generator and discriminators.

        Args:
            config: Configuration of the generator, in official keys.
            adversarial_from_step: Steps that the generator learns alone.
        """
        self.model = HifiGan(HifiGanConfig.from_mapping(config))
        self.discriminators = Discriminators()
        self._adversarial_from_step = adversarial_from_step
        own = self.model.config
        # As the official `fmax_for_loss` null: the bands reach up to Nyquist, unlike those of the input.
        convention = msgspec.structs.replace(
            self.model.description.mel,
            id="hifigan-loss",
            n_mels=min(_LOSS_BANDS, own.num_mels),
            f_max_hz=own.sampling_rate / 2,
        )
        self._mel = TorchMel(convention)

    def players(self) -> Mapping[str, nn.Module]:
        """Name the generator and the discriminators."""
        return {"model": self.model, "discriminators": self.discriminators}

    def to(self, device: torch.device) -> None:
        """Move generator, discriminators and the loss's mel; see `Task.to`."""
        for module in (self.model, self.discriminators, self._mel):
            module.to(device)

    def turns(self, batch: Batch, step: int, generator: torch.Generator, *, bf16: bool) -> Iterator[Turn]:
        """Yield the update of the discriminators, then that of the generator; see `Task.turns`."""
        del generator
        made = self.model(batch.mel)
        nothing = torch.zeros((), device=batch.audio.device)
        adversarial = features = nothing
        alone = step < self._adversarial_from_step
        if not alone:
            judged = self._judge(torch.cat((batch.audio, made.detach())), bf16=bf16)
            loss = discriminator_loss(judged)
            yield Turn("discriminators", loss, {"discriminator": loss.detach()})
            judged = self._judge(torch.cat((batch.audio, made)), bf16=bf16)
            adversarial, features = generator_loss(judged)
        mel_l1 = functional.l1_loss(self._loss_mel(made), self._loss_mel(batch.audio))
        stft = stft_loss(batch.audio[:, 0], made[:, 0], _STFT_SIZES)
        spectra = _MEL_WEIGHT * mel_l1 + (_STFT_WEIGHT_ALONE if alone else _STFT_WEIGHT) * stft
        figures = {
            "mel_l1": mel_l1.detach(),
            "stft": stft.detach(),
            "adversarial": adversarial.detach(),
            **({"discriminator": nothing} if alone else {}),
        }
        yield Turn("model", spectra + adversarial + _FEATURE_WEIGHT * features, figures)

    def _judge(self, audio: Tensor, *, bf16: bool) -> list[Verdict]:
        """Verdicts on real examples and, behind them in the batch, on as many that were made."""
        with torch.autocast(audio.device.type, torch.bfloat16, enabled=bf16):
            verdicts: list[Verdict] = self.discriminators(audio)
        return [(score.float(), [x.float() for x in activations]) for score, activations in verdicts]

    def _loss_mel(self, audio: Tensor) -> Tensor:
        mel: Tensor = self._mel(pad_ends(audio, self._mel.convention)[:, 0])
        return mel


def discriminator_loss(verdicts: list[Verdict]) -> Tensor:
    """Least squares, real to 1 and made to 0: arXiv 2010.05646, equation 1, summed over discriminators.

    Args:
        verdicts: On real examples and, in the second half of the batch, on as many that were made.
    """
    terms = []
    for score, _ in verdicts:
        real, made = score.chunk(2)
        terms.append((real - 1.0).square().mean() + made.square().mean())
    return torch.stack(terms).sum()


def generator_loss(verdicts: list[Verdict]) -> tuple[Tensor, Tensor]:
    """Least squares, made to 1, and feature matching, summed over discriminators: arXiv 2010.05646, eq. 2 and 4."""
    adversarial, features = [], []
    for score, activations in verdicts:
        adversarial.append((score.chunk(2)[1] - 1.0).square().mean())
        for activation in activations:
            real, made = activation.chunk(2)
            features.append(functional.l1_loss(made, real.detach()))
    return torch.stack(adversarial).sum(), torch.stack(features).sum()


def _published(config: Mapping[str, object], batch: int) -> Preset:
    """A published size on a large GPU: the official segments and rates, in larger batches."""
    settings = TrainingSettings(
        batch=batch,
        segment_frames=32,
        players={
            "model": PlayerSettings(learning_rate=4e-4, final_learning_rate=2e-5, clip_norm=50.0),
            "discriminators": PlayerSettings(learning_rate=2e-4, final_learning_rate=2e-5, clip_norm=10.0),
        },
        decay="linear",
        betas=(0.8, 0.99),
        weight_decay=0.01,
    )
    return Preset(config, settings, partial(HifiGanTask, adversarial_from_step=_PUBLISHED_FROM_STEP))


# The official V2; the figures are those of the shipped checkpoint's README.
HIFIGAN = Recipe(
    family="hifigan",
    config_name="config.json",
    config={
        "resblock": "1",
        "upsample_rates": [8, 8, 2, 2],
        "upsample_kernel_sizes": [16, 16, 4, 4],
        "upsample_initial_channel": 128,
        "resblock_kernel_sizes": [3, 7, 11],
        "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5], [1, 3, 5]],
        "num_mels": 80,
        "n_fft": 1024,
        "hop_size": 256,
        "win_size": 1024,
        "sampling_rate": 22050,
        "fmin": 0,
        "fmax": 8000,
    },
    settings=TrainingSettings(
        batch=12,
        segment_frames=32,
        players={
            "model": PlayerSettings(learning_rate=6e-4, final_learning_rate=2e-5, clip_norm=50.0),
            "discriminators": PlayerSettings(learning_rate=3e-4, final_learning_rate=2e-5, clip_norm=10.0),
        },
        decay="linear",
        betas=(0.8, 0.99),
        weight_decay=0.01,
    ),
    task=HifiGanTask,
    presets={
        "v1": _published(published.HIFIGAN_V1, batch=64),
        "v2": _published(published.HIFIGAN_V2, batch=128),
        "v3": _published(published.HIFIGAN_V3, batch=128),
    },
)
