"""How WaveGlow learns: maximum likelihood of the audio."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import nn

from voirs_vocoder.reference_models.training.losses import flow_negative_log_likelihood
from voirs_vocoder.reference_models.training.settings import PlayerSettings, Recipe, TrainingSettings
from voirs_vocoder.reference_models.training.task import Batch, Turn
from voirs_vocoder.reference_models.waveglow import WaveGlow
from voirs_vocoder.reference_models.waveglow_config import WaveGlowConfig

__all__ = ["WAVEGLOW", "WaveGlowTask"]

# The prior that NVIDIA/waveglow at 8afb643 trains with (config.json).
_SIGMA = 1.0


class WaveGlowTask:
    """Negative log-likelihood.

    Attributes:
        model: What ships.
        figures: `nll`, in nats per sample; audio without any model has the entropy of its own level.
    """

    figures = ("nll",)

    def __init__(self, config: Mapping[str, object]) -> None:
        """Make the model from a configuration in official keys."""
        self.model = WaveGlow(WaveGlowConfig.from_mapping(config))

    def players(self) -> Mapping[str, nn.Module]:
        """See `Task.players`."""
        return {"model": self.model}

    def turns(self, batch: Batch, step: int, generator: torch.Generator, *, bf16: bool) -> Iterator[Turn]:
        """See `Task.turns`."""
        del step, generator
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            output = self.model(batch.mel, batch.audio[:, 0])
        nll = flow_negative_log_likelihood(output, _SIGMA)
        yield Turn("model", nll, {"nll": nll.detach()})


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
    # bfloat16 would round the very audio whose likelihood is maximised.
    settings=TrainingSettings(
        batch=8,
        segment_frames=48,
        players={"model": PlayerSettings(learning_rate=1e-3, final_learning_rate=2e-5, clip_norm=1.0)},
        decay="cosine",
        bf16=False,
    ),
    task=WaveGlowTask,
    half_weights=True,
)
