"""A whole sampling as one graph: the conditioner, and the network once for each step of a plan."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

import onnx
import torch
from torch import Tensor, nn

from voirs_vocoder.export.errors import ExportError
from voirs_vocoder.export.precisions import get_precision, precision_names
from voirs_vocoder.reference_models.family import GraphSpec, TensorSpec
from voirs_vocoder.runtime.diffusion import PlanStep, SamplerPlan
from voirs_vocoder.runtime.diffusion.samplers import ADAPTIVE

__all__ = ["kept_float", "sampler_graph"]

_MAX_UNROLLED_STEPS = 64


def sampler_graph(specs: Sequence[GraphSpec], plan: SamplerPlan, hop_length: int) -> GraphSpec:
    """Unroll a plan.

    The context of its steps adds up, so an utterance must be given whole. Precisions that need calibration are
    for the step network, which the runtime's loop runs in windows.

    Args:
        specs: Graphs of a diffusion model, of which the conditioner and the step network are used.
        plan: Sampling plan to unroll, with its temperature.
        hop_length: Audio samples per mel frame.

    Returns:
        A graph with inputs `mel` [batch, n_mels, frames] and `noise` [steps, batch, 1, samples], draw k at place k, and
        output `audio` [batch, 1, samples].

    Raises:
        ExportError: The model is no diffusion model, or the plan is adaptive or too long.
    """
    roles = {spec.role: spec for spec in specs}
    if not {"conditioner", "step"} <= roles.keys():
        raise ExportError("a sampler graph needs a diffusion model, with graphs conditioner and step")
    if plan.sampler == ADAPTIVE:
        raise ExportError(f"the sampler {ADAPTIVE!r} decides as it goes, a graph cannot; choose another one")
    steps = len(plan.steps)
    if steps > _MAX_UNROLLED_STEPS:
        raise ExportError(f"a sampler graph has at most {_MAX_UNROLLED_STEPS} steps, got {steps}")
    conditioner, step = roles["conditioner"], roles["step"]
    samples = f"frames*{hop_length}"
    precisions = tuple(name for name in precision_names() if not get_precision(name).needs_calibration)
    return GraphSpec(
        role="sampler",
        module=_Sampler(conditioner.module, step.module, plan).eval(),
        inputs=(conditioner.inputs[0], TensorSpec("noise", (steps, "batch", 1, samples))),
        outputs=(TensorSpec("audio", ("batch", 1, samples)),),
        context_frames=steps * step.context_frames + conditioner.context_frames,
        look_ahead_frames=steps * step.look_ahead_frames + conditioner.look_ahead_frames,
        keep_float={
            name: (
                *_anywhere(conditioner.keep_float.get(name, ())),
                *_anywhere(step.keep_float.get(name, ())),
            )
            for name in precisions
        },
        precisions=precisions,
        details={"sampler": plan.sampler, "steps": steps},
    )


class _Sampler(nn.Module):
    def __init__(self, conditioner: nn.Module, step: nn.Module, plan: SamplerPlan) -> None:
        super().__init__()
        self.conditioner = conditioner
        self.step = step
        self._plan = plan

    def forward(self, mel: Tensor, noise: Tensor) -> Tensor:
        conditioning = self.conditioner(mel)
        x = noise[0] * self._plan.start_scale
        clean: Tensor | None = None
        for number, step in enumerate(self._plan.steps):
            # One row for all utterances: what the network makes of it is a constant of the graph.
            step_number = torch.tensor([step.step])
            eps = self.step(x, step_number, conditioning)
            z = noise[number + 1] if step.d else None
            following = self._plan.steps[number + 1 : number + 2]
            estimate = step.e * x + step.f * eps if any(later.c for later in following) else None
            x, clean = _applied(step, x, eps, clean, z), estimate
        return x


def _applied(step: PlanStep, x: Tensor, eps: Tensor, clean: Tensor | None, z: Tensor | None) -> Tensor:
    """`PlanStep.apply` in torch."""
    result = step.a * x + step.b * eps
    if step.c and clean is not None:
        result = result + step.c * clean
    if z is not None:
        result = result + step.d * z
    return result.clamp(-1.0, 1.0) if step.clamps else result


def kept_float(patterns: Sequence[str], model: onnx.ModelProto) -> tuple[str, ...]:
    """The patterns that match a node: what becomes of a step is a constant here, whose nodes are gone."""
    return tuple(
        pattern
        for pattern in patterns
        if any(fnmatch.fnmatchcase(node.name, pattern) for node in model.graph.node)
    )


def _anywhere(patterns: Sequence[str]) -> list[str]:
    """Patterns of a graph's modules in the unrolled graph, which has them below others, and numbers repeated calls."""
    return [f"*{pattern}*" for pattern in patterns]
