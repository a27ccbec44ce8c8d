"""Diffusion in numpy: noise schedules, and samplers compiled to one plan that a loop or a graph can follow."""

from voirs_vocoder.runtime.diffusion.plan import PlanStep, SamplerPlan
from voirs_vocoder.runtime.diffusion.samplers import SAMPLERS, sampler_plan
from voirs_vocoder.runtime.diffusion.schedule import (
    MAX_STEPS,
    SCHEDULES,
    NoiseSchedule,
    ScheduleStatistics,
    schedule_within,
)

__all__ = [
    "MAX_STEPS",
    "SAMPLERS",
    "SCHEDULES",
    "NoiseSchedule",
    "PlanStep",
    "SamplerPlan",
    "ScheduleStatistics",
    "sampler_plan",
    "schedule_within",
]
