"""A diffusion model as a stream: a chain of stateful networks, one per step, which compute nothing twice."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.config import SessionConfig
from voirs_vocoder.runtime.diffusion import PlanStep, SamplerPlan
from voirs_vocoder.runtime.diffusion.stage import Track
from voirs_vocoder.runtime.noise import noise
from voirs_vocoder.runtime.streaming.fixed_chunk_stream import FixedChunkStream
from voirs_vocoder.runtime.streaming.graph_stream import GraphStream, StreamGraph

__all__ = ["DiffusionStream"]


class DiffusionStream:
    """One utterance through the conditioner and the steps of a plan. See `ChunkStream`.

    Every step's network lags by its own look-ahead, in whole frames, behind the step before.

    Args:
        conditioner: Stream graph of the conditioner, shared with other streams.
        network: Stream graph of the step network, shared with other streams.
        open_stream: Begins an utterance in the graph of a role.
        plan: Sampler plan to follow.
        seed: Seed of the noise.
        guidance: Weight of the conditional prediction against the unconditional one; 1 runs no unconditional network.
        session: Memory budget.
    """

    def __init__(
        self,
        conditioner: StreamGraph,
        network: StreamGraph,
        open_stream: Callable[[str], GraphStream | FixedChunkStream],
        plan: SamplerPlan,
        seed: int,
        guidance: float,
        session: SessionConfig,
    ) -> None:
        """Start at the beginning of an utterance."""
        hop_length = conditioner.hop_length
        self._conditioner = open_stream("stream-conditioner")
        # A step waits for whole frames of the step before, or for whole chunks where it runs with other streams.
        unit = hop_length
        if isinstance(self._conditioner, FixedChunkStream):
            unit *= self._conditioner.chunk_frames
        late = [conditioner.delay_samples, *[network.delay_samples] * (len(plan.steps) - 1)]
        waits = sum(math.ceil(samples / unit) * unit for samples in late)
        self.delay_samples = waits + network.delay_samples
        self.chunk_frames: int | None = None
        self.max_chunk_frames = network.max_chunk_frames(session)
        self._hop_length = hop_length
        self._conditions = Track()
        self._plan = plan
        self._steps = [
            _StreamStep(
                hop_length,
                partial(open_stream, "stream"),
                step,
                number,
                seed,
                plan.start_scale,
                guidance,
                self.max_chunk_frames,
            )
            for number, step in enumerate(plan.steps)
        ]

    def push(self, mel: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take the next frames; see `ChunkStream.push`."""
        frames = mel.shape[1]
        self._conditioner.inputs(frames)["mel"][0] = mel
        return self._through(self._conditioner.push(frames), at_end=False)

    def finish(self) -> NDArray[np.float32]:
        """End the utterance and return the rest; see `ChunkStream.finish`."""
        return self._through(self._conditioner.finish(), at_end=True)

    def reset(self) -> None:
        """Begin a new utterance; see `ChunkStream.reset`."""
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
    """One step of the plan: the state of its network, and the input that waits for it."""

    def __init__(
        self,
        hop_length: int,
        open_stream: Callable[[], GraphStream | FixedChunkStream],
        step: PlanStep,
        number: int,
        seed: int,
        start_scale: float,
        guidance: float,
        most_frames: int,
    ) -> None:
        self._hop_length = hop_length
        self._conditional = open_stream()
        # With guidance the network also runs without a mel.
        self._unconditional = None if guidance == 1.0 else open_stream()
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
        self._conditional.reset()
        if self._unconditional is not None:
            self._unconditional.reset()

    @property
    def taken(self) -> int:
        """Number of samples that the network has taken."""
        return self._conditional.frames * self._hop_length

    def receive(self, noisy: NDArray[np.float32], clean: NDArray[np.float32]) -> None:
        self.noisy.append(noisy)
        if self._step.c:
            self._clean.append(clean)

    def advance(
        self, ready_frames: int, conditions: Track, *, at_end: bool
    ) -> Iterable[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Yield noisy audio for the next step and the estimate of the clean audio, as far as the input allows."""
        while self._conditional.frames < ready_frames:
            frames = min(self._most_frames, ready_frames - self._conditional.frames)
            start = self.taken
            stop = start + frames * self._hop_length
            if not self._number:
                self.noisy.append(self._start_scale * noise(self._seed, 0, start, stop - start))
            x, condition = self.noisy.read(start, stop), conditions.read(start, stop)
            eps = self._pushed(self._conditional, frames, x, condition)
            if self._unconditional is not None:
                eps = self._guided(eps.copy(), self._pushed(self._unconditional, frames, x, 0.0))
            if eps.size:
                yield self._applied(eps)
        if at_end:
            eps = self._conditional.finish().reshape(-1)
            if self._unconditional is not None:
                eps = self._guided(eps, self._unconditional.finish().reshape(-1))
            if eps.size:
                yield self._applied(eps)

    def _pushed(
        self,
        stream: GraphStream | FixedChunkStream,
        frames: int,
        x: NDArray[np.float32],
        condition: NDArray[np.float32] | float,
    ) -> NDArray[np.float32]:
        inputs = stream.inputs(frames)
        inputs["noisy_audio"][0, 0] = x
        inputs["step"][0] = self._step.step
        inputs["conditioner"][0] = condition
        return stream.push(frames).reshape(-1)

    def _guided(
        self, conditional: NDArray[np.float32], unconditional: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Classifier-free guidance, as in `DiffusionDriver`."""
        result: NDArray[np.float32] = unconditional + self._guidance * (conditional - unconditional)
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
