"""A diffusion model as a stream: a chain of stateful networks, one per step, none of which computes anything twice."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.config import SessionConfig
from voirs_vocoder.runtime.diffusion import PlanStep, SamplerPlan
from voirs_vocoder.runtime.diffusion.stage import Track
from voirs_vocoder.runtime.noise import noise
from voirs_vocoder.runtime.streaming.graph_stream import GraphStream, StreamGraph

__all__ = ["DiffusionStream"]


class DiffusionStream:
    """One utterance through the conditioner and the steps of a plan. See `ChunkStream`.

    Every step's network is late by its own look-ahead, in whole frames, behind the step before.

    Args:
        conditioner: The conditioner's stream graph, shared with other streams.
        network: The step network's, likewise.
        plan: What to follow.
        seed: Of the noise.
        guidance: See `VocodingConfig`.
        session: The memory budget.
    """

    def __init__(
        self,
        conditioner: StreamGraph,
        network: StreamGraph,
        plan: SamplerPlan,
        seed: int,
        guidance: float,
        session: SessionConfig,
    ) -> None:
        """A stream at the start of an utterance."""
        hop_length = conditioner.hop_length
        late = [conditioner.delay_samples, *[network.delay_samples] * (len(plan.steps) - 1)]
        waits = sum(math.ceil(samples / hop_length) * hop_length for samples in late)
        self.delay_samples = waits + network.delay_samples
        self.chunk_frames: int | None = None
        self.max_chunk_frames = network.max_chunk_frames(session)
        self._hop_length = hop_length
        self._conditioner = GraphStream(conditioner)
        self._conditions = Track()
        self._plan = plan
        self._steps = [
            _StreamStep(network, step, number, seed, plan.start_scale, guidance, self.max_chunk_frames)
            for number, step in enumerate(plan.steps)
        ]

    def push(self, mel: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `ChunkStream.push`."""
        frames = mel.shape[1]
        self._conditioner.inputs(frames)["mel"][0] = mel
        return self._through(self._conditioner.push(frames), at_end=False)

    def finish(self) -> NDArray[np.float32]:
        """See `ChunkStream.finish`."""
        return self._through(self._conditioner.finish(), at_end=True)

    def reset(self) -> None:
        """See `ChunkStream.reset`."""
        self._conditioner.reset()
        self._conditions = Track()
        for step in self._steps:
            step.reset()

    def _through(self, conditions: NDArray[np.float32], *, at_end: bool) -> NDArray[np.float32]:
        self._conditions.append(conditions.copy())
        noisy: list[NDArray[np.float32]] = []
        for number, step in enumerate(self._steps):
            ready = step.noisy.end if number else self._conditions.end
            made = list(step.advance(ready // self._hop_length, self._conditions, at_end=at_end))
            if number + 1 < len(self._steps):
                for piece in made:
                    self._steps[number + 1].receive(*piece)
            else:
                noisy = [piece for piece, _ in made]
        self._conditions.drop_before(self._steps[-1].taken)
        return np.concatenate(noisy) if noisy else np.empty(0, np.float32)


class _StreamStep:
    """One step: its network's state, and what it waits for."""

    def __init__(
        self,
        network: StreamGraph,
        step: PlanStep,
        number: int,
        seed: int,
        start_scale: float,
        guidance: float,
        most_frames: int,
    ) -> None:
        self._hop_length = network.hop_length
        self._told = GraphStream(network)
        # With guidance the network also runs without a mel.
        self._free = None if guidance == 1.0 else GraphStream(network)
        self._step = step
        self._number = number
        self._seed = seed
        self._start_scale = np.float32(start_scale)
        self._guidance = np.float32(guidance)
        self._most_frames = most_frames
        self.reset()

    def reset(self) -> None:
        self.noisy = Track()
        self._clean = Track()
        self._done = 0
        self._told.reset()
        if self._free is not None:
            self._free.reset()

    @property
    def taken(self) -> int:
        """Samples that the network has heard."""
        return self._told.frames * self._hop_length

    def receive(self, noisy: NDArray[np.float32], clean: NDArray[np.float32]) -> None:
        self.noisy.append(noisy)
        if self._step.c:
            self._clean.append(clean)

    def advance(
        self, ready_frames: int, conditions: Track, *, at_end: bool
    ) -> Iterable[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Noisy audio of the next step and the estimate of the clean audio, as far as the input allows."""
        while self._told.frames < ready_frames:
            frames = min(self._most_frames, ready_frames - self._told.frames)
            start = self.taken
            stop = start + frames * self._hop_length
            if not self._number:
                self.noisy.append(self._start_scale * noise(self._seed, 0, start, stop - start))
            x, heard = self.noisy.read(start, stop), conditions.read(start, stop)
            eps = self._pushed(self._told, frames, x, heard)
            if self._free is not None:
                eps = self._guided(eps.copy(), self._pushed(self._free, frames, x, 0.0))
            if eps.size:
                yield self._applied(eps)
        if at_end:
            eps = self._told.finish().reshape(-1)
            if self._free is not None:
                eps = self._guided(eps, self._free.finish().reshape(-1))
            if eps.size:
                yield self._applied(eps)

    def _pushed(
        self, stream: GraphStream, frames: int, x: NDArray[np.float32], heard: NDArray[np.float32] | float
    ) -> NDArray[np.float32]:
        inputs = stream.inputs(frames)
        inputs["noisy_audio"][0, 0] = x
        inputs["step"][0] = self._step.step
        inputs["conditioner"][0] = heard
        return stream.push(frames).reshape(-1)

    def _guided(self, told: NDArray[np.float32], free: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `DiffusionDriver`."""
        result: NDArray[np.float32] = free + self._guidance * (told - free)
        return result

    def _applied(self, eps: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        start, stop = self._done, self._done + eps.shape[-1]
        x = self.noisy.read(start, stop)
        z = noise(self._seed, self._number + 1, start, stop - start) if self._step.d else None
        clean = self._clean.read(start, stop) if self._step.c else None
        self._done = stop
        result = self._step.apply(x, eps, clean, z), self._step.clean_estimate(x, eps)
        self.noisy.drop_before(stop)
        self._clean.drop_before(stop)
        return result
