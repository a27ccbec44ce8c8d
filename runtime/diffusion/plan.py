"""The plan that every sampler compiles to: a few coefficients per step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["PlanStep", "SamplerPlan"]


@dataclass(frozen=True)
class PlanStep:
    """One evaluation of the network, and the update that follows it.

    With x the noisy audio, eps the noise that the network predicts in it, x0 the estimate of the clean audio from the
    step before, and z fresh noise:

        x' = a x + b eps + c x0 + d z, limited to [-1, 1] if `clamps`
        x0' = e x + f eps

    Attributes:
        step: Position in the checkpoint's own schedule that the network is conditioned on, in steps; fractional.
        a: Weight of x in the next noisy audio.
        b: Weight of eps in the next noisy audio.
        c: Weight of x0 in the next noisy audio; 0 where x0 is not read.
        d: Weight of z in the next noisy audio; 0 where no noise is added.
        e: Weight of x in the estimate of the clean audio.
        f: Weight of eps in the estimate of the clean audio.
        clamps: Whether x' is limited to [-1, 1].
    """

    step: float
    a: float
    b: float
    c: float
    d: float
    e: float
    f: float
    clamps: bool

    def apply(
        self,
        x: NDArray[np.float32],
        eps: NDArray[np.float32],
        x0: NDArray[np.float32] | None,
        z: NDArray[np.float32] | None,
    ) -> NDArray[np.float32]:
        """Compute the noisy audio of the next step.

        Args:
            x: Noisy audio, float32 of any shape.
            eps: Predicted noise, of the shape of `x`.
            x0: Estimate of the clean audio from the step before, of the shape of `x`; may be None where `c` is 0.
            z: Fresh standard normal noise, of the shape of `x`; may be None where `d` is 0.

        Returns:
            Float32, of the shape of `x`.
        """
        result = np.float32(self.a) * x
        result += np.float32(self.b) * eps
        if self.c and x0 is not None:
            result += np.float32(self.c) * x0
        if self.d and z is not None:
            result += np.float32(self.d) * z
        return np.clip(result, -1.0, 1.0, out=result) if self.clamps else result

    def clean_estimate(self, x: NDArray[np.float32], eps: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute the estimate x0' of the clean audio, of the shape of `x` and `eps`."""
        estimate = np.float32(self.e) * x
        estimate += np.float32(self.f) * eps
        return estimate


@dataclass(frozen=True)
class SamplerPlan:
    """A sampler with its schedule, ready to be followed.

    Attributes:
        sampler: Name of the sampler.
        start_scale: Standard deviation of the noise that sampling starts from.
        steps: Steps in the order of execution.
    """

    sampler: str
    start_scale: float
    steps: tuple[PlanStep, ...]
