"""Copy synthesis of recordings that were held back, with the weights that ship and the loader that reads them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path

import torch

from voirs_vocoder.reference_models.registry import get_family
from voirs_vocoder.reference_models.training.curve import QUALITY
from voirs_vocoder.reference_models.training.data import Utterance
from voirs_vocoder.reference_models.training.torch_vocoder import torch_vocoder
from voirs_vocoder.runtime.mel import mel_spectrogram
from voirs_vocoder.runtime.metrics import measure

__all__ = ["evaluate"]


def evaluate(
    family: str, weights: Path, config: Path, speech: Sequence[Utterance], device: torch.device
) -> dict[str, float | None]:
    """Mean quality of copy synthesis, with the sampling that the model recommends.

    Args:
        family: Name of the family, whose loader reads the weights.
        weights: File of the weights that ship.
        config: Configuration of the weights.
        speech: Recordings that the model was not trained on.
        device: Device that runs the model.

    Returns:
        The mean of each of `QUALITY`; None where a metric is not installed or undefined for a recording.
    """
    model = get_family(family).load(weights, config).to(device)
    convention = model.description.mel
    rows = []
    vocoder = torch_vocoder(family, model)
    for utterance in speech:
        mel = mel_spectrogram(utterance.samples, convention.sample_rate, convention).values
        audio = vocoder.vocode(mel).samples[0]
        length = min(audio.size, utterance.samples.size)
        rows.append(
            measure(
                utterance.samples[:length], audio[:length], convention.sample_rate, convention, names=QUALITY
            )
        )
    return {name: _mean([row[name] for row in rows]) for name in QUALITY}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None and not math.isnan(value)]
    return statistics.fmean(known) if known and len(known) == len(values) else None
