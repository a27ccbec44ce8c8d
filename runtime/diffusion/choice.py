"""From the settings of a caller and the defaults of an artifact to a sampler plan."""

from __future__ import annotations

import dataclasses

from voirs_vocoder.runtime.artifact.manifest import Diffusion
from voirs_vocoder.runtime.config import VocodingConfig
from voirs_vocoder.runtime.diffusion.plan import SamplerPlan
from voirs_vocoder.runtime.diffusion.samplers import ADAPTIVE, FAST, SAMPLERS, sampler_plan
from voirs_vocoder.runtime.diffusion.schedule import DEFAULT_SCHEDULE, NoiseSchedule, schedule_within
from voirs_vocoder.runtime.errors import InputError

__all__ = ["chosen_plan"]

_ADAPTIVE_STEPS = 24
# Steps where neither the caller nor the artifact states a number.
_DEFAULT_STEPS = 12


def chosen_plan(model: Diffusion, config: VocodingConfig) -> SamplerPlan:
    """Compile the plan to follow.

    Args:
        model: Training schedule and default sampler of the artifact.
        config: Settings of the utterance; those that are None use the artifact's defaults.

    Returns:
        Plan of the chosen sampler on the chosen schedule.

    Raises:
        InputError: The settings contradict each other or do not suit the checkpoint, or the artifact's sampler is
            unknown.
    """
    sampler = config.sampler or model.sampler
    training = NoiseSchedule(model.training_betas)
    temperature = 1.0 if config.temperature is None else config.temperature
    if sampler == FAST:
        return _fast_plan(model, training, config, temperature)
    if config.betas is not None:
        if config.steps is not None or config.schedule is not None:
            raise InputError(
                f"betas are a schedule and its steps, got steps {config.steps} and schedule {config.schedule} besides; "
                "leave both out"
            )
        return _named(sampler, training, NoiseSchedule(config.betas), config, temperature)
    # For `adaptive`, steps are the most that it takes.
    steps = config.steps or (model.steps if sampler == model.sampler else None)
    usual = _ADAPTIVE_STEPS if sampler == ADAPTIVE else _DEFAULT_STEPS
    steps = steps or min(usual, len(training.betas))
    schedule = schedule_within(training, config.schedule or DEFAULT_SCHEDULE, steps)
    return _named(sampler, training, schedule, config, temperature)


def _named(
    sampler: str,
    training: NoiseSchedule,
    schedule: NoiseSchedule,
    config: VocodingConfig,
    temperature: float,
) -> SamplerPlan:
    solver = "dpm-solver++" if sampler == ADAPTIVE else sampler
    plan = sampler_plan(solver, training, schedule, eta=config.eta or 0.0, temperature=temperature)
    return dataclasses.replace(plan, sampler=sampler)


def _fast_plan(
    model: Diffusion, training: NoiseSchedule, config: VocodingConfig, temperature: float
) -> SamplerPlan:
    if model.fast_betas is None:
        raise InputError(
            f"this checkpoint publishes no schedule for the sampler {FAST!r}; choose one of {', '.join(SAMPLERS)}"
        )
    own = len(model.fast_betas)
    if config.steps not in (None, own) or config.schedule is not None or config.betas is not None:
        raise InputError(
            f"the sampler {FAST!r} has a schedule of its own, of {own} steps, got steps {config.steps}, schedule "
            f"{config.schedule} and betas {config.betas}; leave them out, or choose one of {', '.join(SAMPLERS)}"
        )
    fast = NoiseSchedule(model.fast_betas)
    plan = sampler_plan("ddpm", training, fast, eta=config.eta or 0.0, temperature=temperature)
    return dataclasses.replace(plan, sampler=FAST)
