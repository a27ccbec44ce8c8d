"""The contract between the shared loop and a family's training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from voirs_vocoder.reference_models.family import VocoderModule

__all__ = ["Batch", "Task", "Turn", "on_device"]


def on_device(values: Tensor, device: torch.device) -> Tensor:
    """Copy what was drawn on the CPU to the device of a training, without waiting for the device.

    Randomness is drawn on the CPU for every device, so that a training may change the device and sees the same noise.

    Args:
        values: Tensor on the CPU.
        device: Device of the training.
    """
    return values if device.type == "cpu" else values.pin_memory().to(device, non_blocking=True)


@dataclass(frozen=True, eq=False)
class Batch:
    """Segments of speech.

    Attributes:
        audio: Float32 [batch, 1, frames * hop_length], in [-1, 1].
        mel: Float32 [batch, n_mels, frames], of that audio and what surrounds it in its recording.
    """

    audio: Tensor
    mel: Tensor


@dataclass(frozen=True, eq=False)
class Turn:
    """One update of one player.

    Attributes:
        player: Whose weights are updated.
        loss: Scalar to minimize.
        figures: For the curve, by the names in `Task.figures`.
    """

    player: str
    loss: Tensor
    figures: Mapping[str, Tensor]


class Task(Protocol):
    """A model and how it learns."""

    @property
    def model(self) -> VocoderModule:
        """What ships."""
        ...

    @property
    def figures(self) -> tuple[str, ...]:
        """Names of the figures that a step reports, in the order of the curve's columns."""
        ...

    def players(self) -> Mapping[str, nn.Module]:
        """Every set of weights by name; `model` is the model."""
        ...

    def to(self, device: torch.device) -> None:
        """Move the model and everything that its losses need to a device."""
        ...

    def turns(self, batch: Batch, step: int, generator: torch.Generator, *, bf16: bool) -> Iterator[Turn]:
        """The updates of one step.

        A turn is computed after the one before it was applied, which is how adversaries alternate.

        Args:
            batch: What to learn from, on the device of the task.
            step: Steps done so far.
            generator: Source of all randomness, on the CPU.
            bf16: Whether networks run under bfloat16 autocast.
        """
        ...
