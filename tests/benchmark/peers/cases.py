"""The models that peers are compared on: one table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from artifacts.shipped import SHIPPED
from tests.benchmark.weights import dormant_filled, rescaled_layers
from voirs_vocoder.reference_models import published
from voirs_vocoder.reference_models.bigvgan.config import BigVganConfig
from voirs_vocoder.reference_models.bigvgan.model import BigVgan
from voirs_vocoder.reference_models.diffusion.diffwave import DiffWave
from voirs_vocoder.reference_models.diffusion.diffwave_config import DiffWaveConfig
from voirs_vocoder.reference_models.hifigan.config import HifiGanConfig
from voirs_vocoder.reference_models.hifigan.model import HifiGan
from voirs_vocoder.reference_models.published import Config
from voirs_vocoder.reference_models.vocos.config import VocosConfig
from voirs_vocoder.reference_models.vocos.model import Vocos

__all__ = ["PEER_CASES", "PeerCase"]


@dataclass(frozen=True, kw_only=True)
class PeerCase:
    """A model that every peer runs.

    Attributes:
        key: Name of the case on the command line and of its folder.
        title: Name of the model in tables.
        family: Family that loads the model.
        config: The model's configuration; empty for a shipped model, whose configuration lies beside its weights.
        config_name: Name of the file of the configuration.
        random_weights: Makes weights from the configuration; None for a shipped model.
        shipped: Weights of the shipped checkpoint; None for random weights.
    """

    key: str
    title: str
    family: str
    config: Config
    config_name: str = "config.json"
    random_weights: Callable[[Config], dict[str, Tensor]] | None = None
    shipped: Path | None = None


def _hifigan(config: Config) -> dict[str, Tensor]:
    return rescaled_layers(HifiGan(HifiGanConfig.from_mapping(config)))


def _shipped(key: str, title: str, family: str) -> PeerCase:
    weights = next(shipped.weights for shipped in SHIPPED if shipped.family == family)
    return PeerCase(key=key, title=title, family=family, config={}, shipped=weights)


_CASES = (
    PeerCase(
        key="v1",
        title="HiFi-GAN V1",
        family="hifigan",
        config=published.HIFIGAN_V1,
        random_weights=_hifigan,
    ),
    _shipped("v2", "HiFi-GAN V2, trained", "hifigan"),
    PeerCase(
        key="v3",
        title="HiFi-GAN V3",
        family="hifigan",
        config=published.HIFIGAN_V3,
        random_weights=_hifigan,
    ),
    _shipped("waveglow", "WaveGlow small, trained", "waveglow"),
    PeerCase(
        key="diffwave-base",
        title="DiffWave base, 6 steps",
        family="diffwave",
        config=published.DIFFWAVE,
        config_name="params.json",
        random_weights=lambda config: dormant_filled(DiffWave, DiffWaveConfig.from_mapping(config)),
    ),
    _shipped("diffwave", "DiffWave small, trained", "diffwave"),
    _shipped("unet", "U-Net small, trained", "diffwave-unet"),
    PeerCase(
        key="vocos",
        title="Vocos 24 kHz",
        family="vocos",
        config=published.VOCOS_24K,
        random_weights=lambda config: dormant_filled(Vocos, VocosConfig.from_mapping(config)),
    ),
    PeerCase(
        key="bigvgan",
        title="BigVGAN base 24 kHz",
        family="bigvgan",
        config=published.BIGVGAN_BASE,
        random_weights=lambda config: rescaled_layers(
            BigVgan(BigVganConfig.from_mapping(config)), convention="bigvgan-24k-100band"
        ),
    ),
)
PEER_CASES = {case.key: case for case in _CASES}
"""Every case by its key, in the order of measuring."""
