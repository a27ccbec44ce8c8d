"""One step of a sampler on its way through an utterance, window by window."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.diffusion.plan import PlanStep
from voirs_vocoder.runtime.noise import noise

__all__ = ["PredictNoise", "Stage", "Track"]

PredictNoise = Callable[[NDArray[np.float32], float, NDArray[np.float32]], NDArray[np.float32]]
"""Predicts the noise in audio: from noisy audio [samples], step and conditioner [channels, samples] to [samples]."""


class Track:
    """A signal that grows at its end and is dropped at its start.

    Attributes:
        end: Samples from the start of the utterance that were ever appended.
    """

    def __init__(self) -> None:
        self.end = 0
        self._values: NDArray[np.float32] | None = None

    def append(self, values: NDArray[np.float32]) -> None:
        """Add samples along the last axis."""
        self._values = values if self._values is None else np.concatenate((self._values, values), axis=-1)
        self.end += values.shape[-1]

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Samples from start to stop, none of them dropped yet: [..., stop - start]."""
        if self._values is None:
            return np.empty(0, np.float32)
        first = self.end - self._values.shape[-1]
        return self._values[..., start - first : stop - first]

    def drop_before(self, start: int) -> None:
        """Drop the samples before `start`."""
        if self._values is not None:
            first = self.end - self._values.shape[-1]
            self._values = self._values[..., max(0, start - first) :].copy()


class Stage:
    """One step of the plan. It reads the output of the stage before, with the context of one evaluation.

    Attributes:
        done: Number of samples from the start of the utterance that are finished.
        noisy: Noisy audio from the stage before; empty for the first stage, which draws noise.
        clean: Estimates of the clean audio from the stage before; empty where the step does not read them.
    """

    def __init__(self, step: PlanStep, number: int, seed: int, start_scale: float) -> None:
        """Start at the beginning of an utterance.

        Args:
            step: Coefficients of the step.
            number: Index of the step, from 0; its noise is draw `number + 1`.
            seed: Seed of the utterance.
            start_scale: Standard deviation of the noise that stage 0 starts from.
        """
        self.done = 0
        self.noisy = Track()
        self.clean = Track()
        self._step = step
        self._number = number
        self._seed = seed
        self._start_scale = np.float32(start_scale)

    def receive(self, noisy: NDArray[np.float32], clean: NDArray[np.float32]) -> None:
        """Take noisy audio and the estimate of the clean audio from the stage before, [samples] each."""
        self.noisy.append(noisy)
        if self._step.c:
            self.clean.append(clean)

    def advance(
        self,
        predict: PredictNoise,
        conditioner: Track,
        *,
        before: int,
        after: int,
        most: int,
        at_end: bool,
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Process as much as the input allows.

        Args:
            predict: Network that predicts the noise.
            conditioner: Conditioner of the utterance so far.
            before: Samples of past that an evaluation reads.
            after: Samples of future that an evaluation reads.
            most: Most samples to evaluate at once.
            at_end: Whether the utterance ends with the input.

        Yields:
            Noisy audio for the next stage and the estimate of the clean audio, [samples] each.
        """
        ready = self.noisy.end if self._number else conditioner.end
        limit = ready if at_end else ready - after
        while self.done < limit:
            start, stop = self.done, min(limit, self.done + most)
            first, last = max(0, start - before), min(ready, stop + after)
            x = self._noisy(first, last)
            eps = predict(x, self._step.step, conditioner.read(first, last))
            own = slice(start - first, stop - first)
            x, eps = x[own], eps[own]
            z = noise(self._seed, self._number + 1, start, stop - start) if self._step.d else None
            clean = self.clean.read(start, stop) if self._step.c else None
            self.done = stop
            self.noisy.drop_before(stop - before)
            self.clean.drop_before(stop)
            yield self._step.apply(x, eps, clean, z), self._step.clean_estimate(x, eps)

    def _noisy(self, first: int, last: int) -> NDArray[np.float32]:
        if self._number:
            return self.noisy.read(first, last)
        return self._start_scale * noise(self._seed, 0, first, last - first)
