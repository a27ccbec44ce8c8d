"""From the graphs of a model, run by any library, to audio: what users of a bare graph write around it themselves.

Noise and sampling steps are those of our runtime, so that peers compute the same audio.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from tests.benchmark.inverse_transform import InverseTransform
from tests.benchmark.peers.contract import CHUNK_FRAMES, CaseFacts, Mode, Network
from voirs_vocoder.runtime import VocodingConfig
from voirs_vocoder.runtime.artifact.manifest import Manifest
from voirs_vocoder.runtime.diffusion.choice import chosen_plan
from voirs_vocoder.runtime.drivers.settings import DEFAULT_SIGMA
from voirs_vocoder.runtime.noise import grouped_noise, noise

__all__ = ["GraphContender", "cannot_run_in_windows"]

_SEED = 0


class GraphContender:
    """A peer that runs single graphs. See `Contender`.

    A live utterance runs window by window: the chunk with all the frames that its audio depends on, of which all but
    the chunk is computed again each time.
    """

    def __init__(
        self,
        manifest: Manifest,
        networks: Mapping[str, Network],
        transform: InverseTransform | None = None,
    ) -> None:
        """Use networks.

        Args:
            manifest: Manifest of the model.
            networks: Role to graph.
            transform: What makes audio of the outputs `real` and `imaginary`; None where the graph gives the audio.
        """
        self._manifest = manifest
        self._networks = networks
        self._transform = transform

    def vocode(self, mels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run whole utterances at once; see `Contender.vocode`."""
        return self._audio(mels, 0)

    def first_chunk(self, mel: NDArray[np.float32]) -> None:
        """Run the first window; see `Contender.first_chunk`."""
        next(self.chunks(mel, 1))

    def chunks(self, mel: NDArray[np.float32], count: int) -> Iterator[NDArray[np.float32]]:
        """Run a window per chunk; see `Contender.chunks`."""
        before, hop_length = self._manifest.context_frames, self._manifest.hop_length
        size = before + CHUNK_FRAMES + self._manifest.look_ahead_frames
        for start in range(0, count * CHUNK_FRAMES, CHUNK_FRAMES):
            window = mel[np.newaxis, :, start : start + size].copy()
            audio = self._audio(window, start)[0]
            yield audio[before * hop_length : (before + CHUNK_FRAMES) * hop_length]

    def _audio(self, mels: NDArray[np.float32], first_frame: int) -> NDArray[np.float32]:
        if self._manifest.driver == "diffusion":
            return self._sampled(mels)
        feed = {"mel": mels}
        if self._manifest.driver == "flow":
            feed["noise"] = self._flow_noise(mels, first_frame)
        outputs = self._networks["offline"](feed)
        if self._transform is not None:
            return self._transform.audio(outputs["real"], outputs["imaginary"])
        return outputs["audio"].reshape(len(mels), -1)

    def _flow_noise(self, mels: NDArray[np.float32], first_frame: int) -> NDArray[np.float32]:
        graph = next(graph for graph in self._manifest.graphs if graph.role == "offline")
        n_group = next(tensor for tensor in graph.inputs if tensor.name == "noise").shape[1]
        if not isinstance(n_group, int):
            raise TypeError(f"the noise of a flow must have a fixed number of channels, got {n_group!r}")
        per_frame = self._manifest.hop_length // n_group
        row = grouped_noise(_SEED, 0, first_frame * per_frame, mels.shape[2] * per_frame, n_group)
        return np.repeat(np.float32(DEFAULT_SIGMA) * row[np.newaxis], len(mels), axis=0)

    def _sampled(self, mels: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._manifest.diffusion is None:
            raise ValueError("a diffusion model must state its schedule in the manifest, got none")
        rows, samples = len(mels), mels.shape[2] * self._manifest.hop_length
        plan = chosen_plan(self._manifest.diffusion, VocodingConfig())
        conditioner = self._networks["conditioner"]({"mel": mels})["conditioner"]
        noisy = np.tile(np.float32(plan.start_scale) * noise(_SEED, 0, 0, samples), (rows, 1))
        clean: NDArray[np.float32] | None = None
        for number, step in enumerate(plan.steps, 1):
            feed = {
                "noisy_audio": noisy[:, np.newaxis],
                "step": np.full(rows, step.step, np.float32),
                "conditioner": conditioner,
            }
            eps = self._networks["step"](feed)["predicted_noise"][:, 0]
            fresh = np.tile(noise(_SEED, number, 0, samples), (rows, 1)) if step.d else None
            earlier, clean = clean, step.clean_estimate(noisy, eps)
            noisy = step.apply(noisy, eps, earlier, fresh)
        return noisy


def cannot_run_in_windows(facts: CaseFacts, mode: Mode) -> str | None:
    """Reason why a model cannot run live in windows of its graphs; None where it can."""
    if mode == "stream" and facts.driver == "diffusion":
        return "every sampling step needs context of its own, so windows around the sampler give other audio"
    return None
