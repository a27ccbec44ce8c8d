"""Copy synthesis of recordings that were held back, by the very weights and loader that ship."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from voirs_vocoder.reference_models.family import Family, GraphSpec, ModelDescription, VocoderModule
from voirs_vocoder.reference_models.registry import get_family
from voirs_vocoder.reference_models.training.curve import QUALITY
from voirs_vocoder.reference_models.training.data import Utterance
from voirs_vocoder.runtime.config import VocodingConfig
from voirs_vocoder.runtime.diffusion.choice import chosen_plan
from voirs_vocoder.runtime.drivers.settings import DEFAULT_SIGMA
from voirs_vocoder.runtime.mel import mel_spectrogram
from voirs_vocoder.runtime.metrics import measure
from voirs_vocoder.runtime.noise import grouped_noise, noise

__all__ = ["evaluate", "synthesize"]

_SEED = 0


def evaluate(
    family: str, weights: Path, config: Path, speech: Sequence[Utterance]
) -> dict[str, float | None]:
    """Mean quality of copy synthesis, with the sampling that the model recommends.

    Args:
        family: Whose official loader reads the weights.
        weights: The file that ships.
        config: Its configuration.
        speech: Recordings that the model was not trained on.

    Returns:
        The mean of each of `QUALITY`; None where a metric is not installed or undefined for a recording.
    """
    loader = get_family(family)
    model = loader.load(weights, config)
    convention = model.description.mel
    rows = []
    for utterance in speech:
        mel = mel_spectrogram(utterance.samples, convention.sample_rate, convention).values
        audio = synthesize(loader, model, mel)
        length = min(audio.size, utterance.samples.size)
        rows.append(
            measure(
                utterance.samples[:length], audio[:length], convention.sample_rate, convention, names=QUALITY
            )
        )
    return {name: _mean([row[name] for row in rows]) for name in QUALITY}


def synthesize(
    family: Family, model: VocoderModule, mel: NDArray[np.float32], config: VocodingConfig | None = None
) -> NDArray[np.float32]:
    """Speak one mel through the graphs that would be exported.

    Args:
        family: Of the model.
        model: In evaluation mode.
        mel: Float32 [n_mels, frames].
        config: Sampling, for a diffusion model; None takes what the model recommends.

    Returns:
        Float32 [samples].
    """
    graphs = {graph.role: graph for graph in family.graphs(model)}
    with torch.inference_mode():
        if model.description.driver == "diffusion":
            return _sampled(graphs, model.description, mel, config or VocodingConfig())
        return _offline(graphs["offline"], model.description, mel)


def _offline(
    graph: GraphSpec, description: ModelDescription, mel: NDArray[np.float32]
) -> NDArray[np.float32]:
    inputs = [torch.from_numpy(mel)[None]]
    if description.driver == "flow":
        n_group = int(graph.inputs[1].shape[1])
        groups = mel.shape[1] * description.hop_length // n_group
        values = DEFAULT_SIGMA * grouped_noise(_SEED, 0, 0, groups, n_group)
        inputs.append(torch.from_numpy(values.astype(np.float32))[None])
    audio: NDArray[np.float32] = graph.module(*inputs)[0, 0].numpy()
    return audio


def _sampled(
    graphs: Mapping[str, GraphSpec],
    description: ModelDescription,
    mel: NDArray[np.float32],
    config: VocodingConfig,
) -> NDArray[np.float32]:
    if description.diffusion is None:
        raise ValueError("a diffusion model's description says how it was trained")
    plan = chosen_plan(description.diffusion, config)
    conditioner = graphs["conditioner"].module(torch.from_numpy(mel)[None])
    samples = conditioner.shape[-1]
    x = np.float32(plan.start_scale) * noise(_SEED, 0, 0, samples)
    clean: NDArray[np.float32] | None = None
    for number, step in enumerate(plan.steps):
        told = torch.tensor([step.step], dtype=torch.float32)
        predicted = graphs["step"].module(torch.from_numpy(x)[None, None], told, conditioner)[0, 0].numpy()
        fresh = noise(_SEED, number + 1, 0, samples) if step.d else None
        x, clean = step.apply(x, predicted, clean, fresh), step.clean_estimate(x, predicted)
    return x


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known and len(known) == len(values) else None
