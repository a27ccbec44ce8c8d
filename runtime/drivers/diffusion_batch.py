"""Several utterances of a diffusion model together: each row follows its own plan and leaves when it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.config import VocodingConfig
from voirs_vocoder.runtime.diffusion.adaptive import MAX_ADAPTIVE_FRAMES, has_settled
from voirs_vocoder.runtime.diffusion.plan import SamplerPlan
from voirs_vocoder.runtime.diffusion.samplers import ADAPTIVE
from voirs_vocoder.runtime.drivers.batch_graph import BatchGraph, Request, groups_within
from voirs_vocoder.runtime.drivers.row_graph import Row, RowGraph
from voirs_vocoder.runtime.noise import noise

__all__ = ["DiffusionBatchGraph", "guided_noise", "network_rows"]


class DiffusionBatchGraph(BatchGraph):
    """The `batch-conditioner` and `batch` graphs of a diffusion model.

    Args:
        conditioner: Graph that is run once per utterance.
        network: Graph that is run at every step.
        max_frames: Most mel frames of all rows together, padding included.
        hop_length: Audio samples per mel frame.
        plan: Chooses the plan of an utterance.
    """

    def __init__(
        self,
        conditioner: RowGraph,
        network: RowGraph,
        max_frames: int,
        hop_length: int,
        plan: Callable[[VocodingConfig], SamplerPlan],
    ) -> None:
        self._conditioner = conditioner
        self._network = network
        self._most = max_frames
        self._hop_length = hop_length
        self._plan = plan

    @property
    def max_frames(self) -> int:
        """Longest utterance that may run together with others; see `BatchGraph.max_frames`."""
        buckets = self._network.buckets
        return min(self._most if buckets is None else buckets.longest, MAX_ADAPTIVE_FRAMES)

    def groups(self, lengths: Mapping[int, int]) -> Iterator[list[int]]:
        """Group utterances of similar length; see `BatchGraph.groups`."""
        return groups_within(lengths, self._most, self._network.buckets)

    def run(self, requests: Sequence[Request]) -> list[NDArray[np.float32]]:
        """Sample a group of utterances, each as long as its own plan takes; see `BatchGraph.run`."""
        lengths = [request.mel.shape[1] for request in requests]
        conditioners = self._conditioner.run([{"mel": request.mel} for request in requests], lengths)
        samplings = [
            _Sampling(self._plan(request.config), request.config, frames, conditioner, self._hop_length)
            for request, frames, conditioner in zip(requests, lengths, conditioners, strict=True)
        ]
        while waiting := [sampling for sampling in samplings if sampling.audio is None]:
            self._advance(waiting)
        return [sampling.audio for sampling in samplings if sampling.audio is not None]

    def _advance(self, samplings: Sequence[_Sampling]) -> None:
        """Evaluate the network step by step until one of the utterances is done."""
        rows = [row for sampling in samplings for row in sampling.rows()]
        frames = [sampling.frames for sampling in samplings for _ in range(sampling.evaluations)]
        run = self._network.bound(rows, frames, ("conditioner",))
        while all(sampling.audio is None for sampling in samplings):
            changed = [row for sampling in samplings for row in sampling.changing_rows()]
            predictions = iter(run(changed))
            for sampling in samplings:
                sampling.advance([next(predictions)[0] for _ in range(sampling.evaluations)])


class _Sampling:
    """One utterance on its way through its plan, as a whole.

    Attributes:
        frames: Length in mel frames.
        audio: The result, float32 [samples]; None while steps are left.
        evaluations: Number of evaluations of the network at each step.
    """

    def __init__(
        self,
        plan: SamplerPlan,
        config: VocodingConfig,
        frames: int,
        conditioner: NDArray[np.float32],
        hop_length: int,
    ) -> None:
        self.frames = frames
        self.audio: NDArray[np.float32] | None = None
        self._plan = plan
        self._guidance = config.guidance
        self.evaluations = 1 if config.guidance in (None, 1.0) else 2
        self._seed = config.seed or 0
        self._samples = frames * hop_length
        self._conditioner = conditioner
        self._noisy = np.float32(plan.start_scale) * noise(self._seed, 0, 0, self._samples)
        self._clean: NDArray[np.float32] | None = None
        self._number = 0

    def rows(self) -> list[Row]:
        """Inputs of the network's next evaluations, as many as `evaluations`."""
        step = self._plan.steps[self._number].step
        return network_rows(self._noisy, step, self._conditioner, self._guidance)

    def changing_rows(self) -> list[Row]:
        """Inputs of the network's next evaluations without the conditioner, which stays the same."""
        step = self._plan.steps[self._number].step
        row = {"noisy_audio": self._noisy[np.newaxis], "step": np.array(step, np.float32)}
        return [row] * self.evaluations

    def advance(self, predictions: Sequence[NDArray[np.float32]]) -> None:
        """Take the network's results for `rows`, [samples] each."""
        step = self._plan.steps[self._number]
        eps = guided_noise(predictions, self._guidance)
        self._number += 1
        z = noise(self._seed, self._number, 0, self._samples) if step.d else None
        earlier, clean = self._clean, step.clean_estimate(self._noisy, eps)
        self._noisy, self._clean = step.apply(self._noisy, eps, earlier, z), clean
        if self._plan.sampler == ADAPTIVE and earlier is not None and has_settled(earlier, clean):
            self.audio = np.clip(clean, -1.0, 1.0)
        elif self._number == len(self._plan.steps):
            self.audio = self._noisy


def network_rows(
    noisy: NDArray[np.float32], step: float, conditioner: NDArray[np.float32], guidance: float | None
) -> list[Row]:
    """Make the inputs of one evaluation of the network, or of two with guidance: with the mel and without it.

    Args:
        noisy: Noisy audio, float32 [samples].
        step: Position in the training schedule, in steps.
        conditioner: Conditioner, float32 [channels, samples].
        guidance: Weight of the conditional prediction against the unconditional one; None or 1 for the plain one.
    """
    with_mel = {
        "noisy_audio": noisy[np.newaxis],
        "step": np.array(step, np.float32),
        "conditioner": conditioner,
    }
    if guidance in (None, 1.0):
        return [with_mel]
    return [with_mel, {**with_mel, "conditioner": np.zeros_like(conditioner)}]


def guided_noise(predictions: Sequence[NDArray[np.float32]], guidance: float | None) -> NDArray[np.float32]:
    """Combine the results of `network_rows`.

    eps = eps_0 + guidance (eps_c - eps_0): J. Ho and T. Salimans, Classifier-free diffusion guidance, arXiv 2207.12598,
    equation 6, with guidance = 1 + w.

    Args:
        predictions: Predicted noise of each row, float32 [samples].
        guidance: Weight of the conditional prediction against the unconditional one; None or 1 for the plain one.
    """
    if len(predictions) == 1:
        return predictions[0]
    conditional, unconditional = predictions
    result: NDArray[np.float32] = unconditional + np.float32(guidance or 1.0) * (conditional - unconditional)
    return result
