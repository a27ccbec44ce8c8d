"""How HiFi-GAN learns: first to match spectra, then besides to deceive discriminators."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from voirs_vocoder.reference_models import published
from voirs_vocoder.reference_models.hifigan.config import HifiGanConfig
from voirs_vocoder.reference_models.hifigan.model import HifiGan
from voirs_vocoder.reference_models.training.adversarial import AdversarialTask
from voirs_vocoder.reference_models.training.settings import PlayerSettings, Preset, Recipe, TrainingSettings

__all__ = ["ADVERSARIAL_FROM_STEP", "HIFIGAN", "hifigan_task"]

ADVERSARIAL_FROM_STEP = 6000
"""Steps that the generator learns alone, of 11,623 in the two hours of the shipped checkpoint."""

# A batch of a large GPU teaches as much as five of the CPU's.
_PUBLISHED_FROM_STEP = 1500


def hifigan_task(
    config: Mapping[str, object], adversarial_from_step: int = ADVERSARIAL_FROM_STEP
) -> AdversarialTask:
    """Make a generator, its discriminators and its losses.

    Args:
        config: Configuration of the generator, in official keys.
        adversarial_from_step: Steps that the generator learns alone.
    """
    return AdversarialTask(HifiGan(HifiGanConfig.from_mapping(config)), adversarial_from_step)


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
    return Preset(config, settings, partial(hifigan_task, adversarial_from_step=_PUBLISHED_FROM_STEP))


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
    task=hifigan_task,
    presets={
        "v1": _published(published.HIFIGAN_V1, batch=64),
        "v2": _published(published.HIFIGAN_V2, batch=128),
        "v3": _published(published.HIFIGAN_V3, batch=128),
    },
)
