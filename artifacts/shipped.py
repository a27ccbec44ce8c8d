"""The checkpoints that ship with the project and are shown by its demo."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["ARTIFACTS", "SAMPLES", "SHIPPED", "ShippedCheckpoint"]

ARTIFACTS = Path(__file__).resolve().parent
"""The project's data, where it was checked out."""

SAMPLES = ARTIFACTS / "samples"
"""Recordings that no shipped checkpoint was trained on; `calibration` below it for INT8."""


@dataclass(frozen=True)
class ShippedCheckpoint:
    """A trained model.

    Attributes:
        family: That loads it.
        folder: Below `artifacts/checkpoints`.
        artifact: Name that its artifact is given.
    """

    family: str
    folder: str
    artifact: str

    @property
    def weights(self) -> Path:
        """The file of weights; its configuration lies beside it."""
        return ARTIFACTS / "checkpoints" / self.folder / "model.safetensors"


SHIPPED = (
    ShippedCheckpoint("hifigan", "hifigan_v2_kerstin", "hifigan-v2"),
    ShippedCheckpoint("vocos", "vocos_kerstin", "vocos"),
    ShippedCheckpoint("waveglow", "waveglow_kerstin", "waveglow"),
    ShippedCheckpoint("diffwave", "diffwave_kerstin", "diffwave"),
    ShippedCheckpoint("diffwave-unet", "unet_kerstin", "diffwave-unet"),
)
"""Small models of every family that has one, which the demo shows."""
