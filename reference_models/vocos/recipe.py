"""How a small Vocos learns, against the same discriminators as HiFi-GAN and from the same mels."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from voirs_vocoder.reference_models.training.adversarial import AdversarialTask
from voirs_vocoder.reference_models.training.settings import PlayerSettings, Recipe, TrainingSettings
from voirs_vocoder.reference_models.vocos.config import VocosConfig
from voirs_vocoder.reference_models.vocos.model import Vocos
from voirs_vocoder.runtime.mel.convention import CONVENTIONS

__all__ = ["ADVERSARIAL_FROM_STEP", "VOCOS", "vocos_task"]

ADVERSARIAL_FROM_STEP = 9_000
"""Steps that the network learns alone; without discriminators, a step takes a small part of the time."""

_MEL = CONVENTIONS["hifigan-22k"]


def vocos_task(
    config: Mapping[str, object], adversarial_from_step: int = ADVERSARIAL_FROM_STEP
) -> AdversarialTask:
    """Make a network, its discriminators and its losses.

    Args:
        config: Configuration of the network, in the keys of `VocosConfig`.
        adversarial_from_step: Steps that the network learns alone.
    """
    return AdversarialTask(Vocos(VocosConfig.from_mapping(config)), adversarial_from_step)


# Under a million weights, as many as the shipped HiFi-GAN V2 has, at a tenth of its arithmetic. The mel is HiFi-GAN's:
# what makes mels for one can make them for the other.
VOCOS = Recipe(
    family="vocos",
    config_name="config.json",
    config={
        "n_mels": _MEL.n_mels,
        "dim": 160,
        "intermediate_dim": 448,
        "num_layers": 5,
        "n_fft": _MEL.n_fft,
        "hop_length": _MEL.hop_length,
        "sampling_rate": _MEL.sample_rate,
        "padding": "same",
        "mel": msgspec.to_builtins(_MEL),
    },
    settings=TrainingSettings(
        batch=4,
        segment_frames=48,
        players={
            "model": PlayerSettings(learning_rate=8e-4, final_learning_rate=2e-5, clip_norm=50.0),
            "discriminators": PlayerSettings(learning_rate=3e-4, final_learning_rate=2e-5, clip_norm=10.0),
        },
        decay="cosine",
        betas=(0.8, 0.99),
        weight_decay=0.01,
    ),
    task=vocos_task,
)
