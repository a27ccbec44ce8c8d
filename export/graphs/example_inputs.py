"""Inputs that a graph is tried and calibrated on: those that the runtime would feed it for given mels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.export.errors import ExportError
from voirs_vocoder.runtime.artifact.manifest import Diffusion, GraphEntry
from voirs_vocoder.runtime.config import VocodingConfig
from voirs_vocoder.runtime.diffusion.choice import chosen_plan
from voirs_vocoder.runtime.drivers.settings import DEFAULT_SIGMA
from voirs_vocoder.runtime.noise import grouped_noise, noise
from voirs_vocoder.runtime.providers import Session

__all__ = ["Feed", "feeds_from_mels"]

Feed = Mapping[str, NDArray[np.generic]]
"""Inputs of one run of a graph, by name."""

# Networks at the audio's rate take seconds for what others do in hundredths, so a few excerpts must do for them; those
# that follow a sampler are as many runs again as it has steps.
_MAX_EXCERPTS = 6
_EXCERPT_FRAMES = 64


def feeds_from_mels(
    entry: GraphEntry,
    mels: Sequence[NDArray[np.float32]],
    hop_length: int,
    diffusion: Diffusion | None,
    open_fp32: Callable[[str], Session],
) -> list[Feed]:
    """Inputs of a graph for mels; the seed of the noise that goes with a mel is the mel's number.

    Those of a diffusion step begin with the last step of each mel, since noise of INT8 is measured on the first inputs:
    what a step adds is removed by those that follow, and what the last one adds remains.

    Args:
        entry: Entry of the graph in the manifest, whose inputs decide what is fed.
        mels: Mels, each float32 [n_mels, frames].
        hop_length: Audio samples per mel frame.
        diffusion: Schedules and default sampling of a diffusion model, whose step network is fed the inputs that it
            receives while the default sampler runs; None for other models.
        open_fp32: Opens the FP32 graph of a role.

    Raises:
        ExportError: The graph takes something that cannot be made from a mel.
    """
    names = {tensor.name for tensor in entry.inputs}
    if names == {"mel"}:
        return [{"mel": mel[np.newaxis]} for mel in mels]
    if names == {"mel", "noise"} and entry.role == "sampler":
        steps = next(tensor.shape[0] for tensor in entry.inputs if tensor.name == "noise")
        return [_sampler_feed(mel, seed, int(steps), hop_length) for seed, mel in enumerate(_excerpts(mels))]
    if names == {"mel", "noise"}:
        n_group = next(tensor.shape[1] for tensor in entry.inputs if tensor.name == "noise")
        if not isinstance(n_group, int):
            raise ExportError(f"graph {entry.role!r}: noise needs a fixed number of channels, got {n_group}")
        return [_flow_feed(mel, seed, n_group, hop_length) for seed, mel in enumerate(_excerpts(mels))]
    if names == {"noisy_audio", "step", "conditioner"} and diffusion is not None:
        return _followed(mels, hop_length, diffusion, open_fp32)
    raise ExportError(
        f"graph {entry.role!r}: its inputs {', '.join(sorted(names))} cannot be made from a mel; known are mel, "
        "mel and noise, and those of a diffusion step"
    )


def _excerpts(mels: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    return [mel[:, :_EXCERPT_FRAMES] for mel in mels[:: max(1, -(-len(mels) // _MAX_EXCERPTS))]]


def _flow_feed(mel: NDArray[np.float32], seed: int, n_group: int, hop_length: int) -> Feed:
    values = grouped_noise(seed, 0, 0, mel.shape[1] * hop_length // n_group, n_group)
    return {"mel": mel[np.newaxis], "noise": np.float32(DEFAULT_SIGMA) * values[np.newaxis]}


def _sampler_feed(mel: NDArray[np.float32], seed: int, steps: int, hop_length: int) -> Feed:
    draws = [noise(seed, draw, 0, mel.shape[1] * hop_length) for draw in range(steps)]
    return {"mel": mel[np.newaxis], "noise": np.stack(draws)[:, np.newaxis, np.newaxis]}


def _followed(
    mels: Sequence[NDArray[np.float32]],
    hop_length: int,
    diffusion: Diffusion,
    open_fp32: Callable[[str], Session],
) -> list[Feed]:
    plan = chosen_plan(diffusion, VocodingConfig())
    conditioner, network = open_fp32("conditioner"), open_fp32("step")
    feeds: list[Feed] = []
    for seed, mel in enumerate(_excerpts(mels)):
        samples = mel.shape[1] * hop_length
        conditioning = conditioner.run({"mel": mel[np.newaxis]})["conditioner"].copy()
        x = np.float32(plan.start_scale) * noise(seed, 0, 0, samples)
        clean = None
        followed: list[Feed] = []
        for number, step in enumerate(plan.steps):
            feed = {
                "noisy_audio": x[np.newaxis, np.newaxis],
                "step": np.array([step.step], np.float32),
                "conditioner": conditioning,
            }
            followed.append(feed)
            eps = network.run(feed)["predicted_noise"].reshape(-1)
            z = noise(seed, number + 1, 0, samples) if step.d else None
            x, clean = step.apply(x, eps, clean, z), step.clean_estimate(x, eps)
        feeds.extend(reversed(followed))
    return feeds
