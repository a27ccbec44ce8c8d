"""The graphs of a diffusion model: what is computed once per mel, and what is computed at every step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor, nn

from voirs_vocoder.reference_models.family import GraphSpec, TensorSpec

__all__ = ["NoisePredictor", "diffusion_graphs"]


class NoisePredictor(Protocol):
    """A diffusion model in two halves."""

    def condition(self, mel: Tensor) -> Tensor:
        """From a mel [batch, n_mels, frames] to a conditioner [batch, channels, samples]."""
        ...

    def predict_noise(self, noisy_audio: Tensor, step: Tensor, conditioner: Tensor) -> Tensor:
        """From noisy audio [batch, 1, samples], step [batch] and conditioner to the noise, [batch, 1, samples]."""
        ...


def diffusion_graphs(
    model: NoisePredictor,
    *,
    n_mels: int,
    conditioner_channels: int,
    hop_length: int,
    samples: str,
    conditioner_context_frames: int,
    step_context_frames: int,
    mel_mean: float,
    mel_std: float,
    step_keep_float: Mapping[str, tuple[str, ...]],
) -> list[GraphSpec]:
    """Describe both graphs.

    Args:
        model: Called `network` in both graphs, which the names of their nodes begin with.
        n_mels: Mel bands.
        conditioner_channels: Number of channels of the conditioner.
        hop_length: Audio samples per mel frame; the conditioner has one value per sample.
        samples: Name of the time axis of the network's inputs: `samples`, or a multiple of `frames` where the network
            takes whole frames.
        conditioner_context_frames: Mel frames on each side that the conditioner of a frame depends on.
        step_context_frames: Mel frames on each side that one evaluation depends on.
        mel_mean: Approximate mean of the mels of speech.
        mel_std: Approximate standard deviation of the mels of speech.
        step_keep_float: Precision to patterns of the network's nodes that stay float in it.
    """
    return [
        GraphSpec(
            role="conditioner",
            module=_Conditioner(model).eval(),
            inputs=(
                TensorSpec("mel", ("batch", n_mels, "frames"), example_mean=mel_mean, example_std=mel_std),
            ),
            outputs=(TensorSpec("conditioner", ("batch", conditioner_channels, f"frames*{hop_length}")),),
            context_frames=conditioner_context_frames,
            look_ahead_frames=conditioner_context_frames,
            # It runs once, and INT8 would gain nothing.
            keep_float={"int8": ("*",)},
        ),
        GraphSpec(
            role="step",
            module=_Step(model).eval(),
            inputs=(
                TensorSpec("noisy_audio", ("batch", 1, samples)),
                TensorSpec("step", ("batch",), example_mean=10.0, example_std=4.0),
                TensorSpec(
                    "conditioner",
                    ("batch", conditioner_channels, samples),
                    example_mean=mel_mean,
                    example_std=mel_std,
                ),
            ),
            outputs=(TensorSpec("predicted_noise", ("batch", 1, samples)),),
            context_frames=step_context_frames,
            look_ahead_frames=step_context_frames,
            keep_float=step_keep_float,
        ),
    ]


class _Conditioner(nn.Module):
    def __init__(self, network: NoisePredictor) -> None:
        super().__init__()
        self.network = network

    def forward(self, mel: Tensor) -> Tensor:
        return self.network.condition(mel)


class _Step(nn.Module):
    def __init__(self, network: NoisePredictor) -> None:
        super().__init__()
        self.network = network

    def forward(self, noisy_audio: Tensor, step: Tensor, conditioner: Tensor) -> Tensor:
        return self.network.predict_noise(noisy_audio, step, conditioner)
