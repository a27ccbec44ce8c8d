"""From what a caller asked for and what an artifact says to a plan."""

from __future__ import annotations

from voirs_vocoder.runtime.config import VocodingConfig
from voirs_vocoder.runtime.diffusion.plan import SamplerPlan
from voirs_vocoder.runtime.diffusion.samplers import SAMPLERS, sampler_plan
from voirs_vocoder.runtime.diffusion.schedule import NoiseSchedule, schedule_within
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.manifest import Diffusion

__all__ = ["FAST", "chosen_plan"]

FAST = "fast"
"""The sampler that is `ddpm` on the checkpoint's published schedule for few steps."""

_DEFAULT_SCHEDULE = "log-snr"
# Where neither the caller nor the artifact says.
_DEFAULT_STEPS = 12


def chosen_plan(model: Diffusion, config: VocodingConfig) -> SamplerPlan:
    """The plan to follow.

    Args:
        model: What the artifact says.
        config: What the caller asked for; what is None is left to the artifact.

    Raises:
        InputError: The sampler or schedule is unknown, or their settings contradict each other or the checkpoint.
    """
    sampler = config.sampler or model.sampler
    training = NoiseSchedule(model.training_betas)
    temperature = 1.0 if config.temperature is None else config.temperature
    if sampler == FAST:
        return _fast_plan(model, training, config, temperature)
    if sampler not in SAMPLERS:
        raise InputError(f"unknown sampler {sampler!r}; known: {', '.join((FAST, *SAMPLERS))}")
    steps = config.steps or (model.steps if sampler == model.sampler else None)
    steps = steps or min(_DEFAULT_STEPS, len(training.betas))
    schedule = schedule_within(training, config.schedule or _DEFAULT_SCHEDULE, steps)
    return sampler_plan(sampler, training, schedule, eta=config.eta or 0.0, temperature=temperature)


def _fast_plan(
    model: Diffusion, training: NoiseSchedule, config: VocodingConfig, temperature: float
) -> SamplerPlan:
    if model.fast_betas is None:
        raise InputError(
            f"this checkpoint publishes no schedule for the sampler {FAST!r}; choose one of {', '.join(SAMPLERS)}"
        )
    own = len(model.fast_betas)
    if config.steps not in (None, own) or config.schedule is not None:
        raise InputError(
            f"the sampler {FAST!r} has a schedule of its own, of {own} steps, got steps {config.steps} and schedule "
            f"{config.schedule}; leave both out, or choose one of {', '.join(SAMPLERS)}"
        )
    fast = NoiseSchedule(model.fast_betas)
    return sampler_plan("ddpm", training, fast, eta=config.eta or 0.0, temperature=temperature)
