"""How a vocoder learns against discriminators: first to match spectra, then besides to deceive them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional

from voirs_vocoder.reference_models.family import VocoderModule
from voirs_vocoder.reference_models.training.discriminators import Discriminators, Verdict
from voirs_vocoder.reference_models.training.losses import stft_loss
from voirs_vocoder.reference_models.training.mel import TorchMel, pad_ends
from voirs_vocoder.reference_models.training.task import Batch, Turn

__all__ = ["AdversarialTask", "discriminator_loss", "generator_loss"]

_MEL_WEIGHT = 45.0
_FEATURE_WEIGHT = 2.0
_STFT_WEIGHT_ALONE = 10.0
_STFT_WEIGHT = 2.5
_STFT_SIZES = (256, 512, 1024, 2048)
_LOSS_BANDS = 80


class AdversarialTask:
    """The losses of arXiv 2010.05646, section 2.4, and a multi-resolution STFT loss.

    Attributes:
        model: Generator, whose weights ship.
        figures: `mel_l1` and `stft`, unweighted; `adversarial` of the generator and `discriminator`, 0 while it learns
            alone.
    """

    figures = ("mel_l1", "stft", "adversarial", "discriminator")

    def __init__(self, model: VocoderModule, adversarial_from_step: int) -> None:
        """Take a generator, and make its discriminators.

        Args:
            model: Generator, which turns mels [batch, n_mels, frames] into audio [batch, 1, frames * hop_length].
            adversarial_from_step: Steps that the generator learns alone.
        """
        self.model = model
        self.discriminators = Discriminators()
        self._adversarial_from_step = adversarial_from_step
        own = model.description.mel
        # As the official `fmax_for_loss` null: the bands reach up to Nyquist, unlike those of the input.
        convention = msgspec.structs.replace(
            own,
            id="loss",
            n_mels=min(_LOSS_BANDS, own.n_mels),
            f_max_hz=own.sample_rate / 2,
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
            # The generator needs no gradient of the discriminators' weights, nor any through the real examples; without
            # them, a step costs a third less.
            self.discriminators.requires_grad_(True)
            loss = discriminator_loss(
                self._judge(batch.audio, bf16=bf16), self._judge(made.detach(), bf16=bf16)
            )
            yield Turn("discriminators", loss, {"discriminator": loss.detach()})
            self.discriminators.requires_grad_(False)
            with torch.no_grad():
                real = self._judge(batch.audio, bf16=bf16)
            adversarial, features = generator_loss(real, self._judge(made, bf16=bf16))
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
        """Verdicts of all discriminators on audio [batch, 1, samples], in FP32."""
        with torch.autocast(audio.device.type, torch.bfloat16, enabled=bf16):
            verdicts: list[Verdict] = self.discriminators(audio)
        return [(score.float(), [x.float() for x in activations]) for score, activations in verdicts]

    def _loss_mel(self, audio: Tensor) -> Tensor:
        mel: Tensor = self._mel(pad_ends(audio, self._mel.convention)[:, 0])
        return mel


def discriminator_loss(real: list[Verdict], made: list[Verdict]) -> Tensor:
    """Least squares, real to 1 and made to 0: arXiv 2010.05646, equation 1, summed over discriminators.

    Args:
        real: Verdicts on real examples.
        made: Verdicts of the same discriminators on examples that a generator made.
    """
    return torch.stack(
        [
            (of_real - 1.0).square().mean() + of_made.square().mean()
            for (of_real, _), (of_made, _) in zip(real, made, strict=True)
        ]
    ).sum()


def generator_loss(real: list[Verdict], made: list[Verdict]) -> tuple[Tensor, Tensor]:
    """Least squares, made to 1, and feature matching, summed over discriminators: arXiv 2010.05646, eq. 2 and 4.

    Args:
        real: Verdicts on real examples.
        made: Verdicts of the same discriminators on what the generator made of the same mels.
    """
    adversarial, features = [], []
    for (_, of_real), (score, of_made) in zip(real, made, strict=True):
        adversarial.append((score - 1.0).square().mean())
        features += [
            functional.l1_loss(mine, theirs.detach()) for mine, theirs in zip(of_made, of_real, strict=True)
        ]
    return torch.stack(adversarial).sum(), torch.stack(features).sum()
