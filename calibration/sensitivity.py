"""What quantizing each convolution alone does to the output, and which to leave float for the least noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx

from voirs_vocoder.calibration.graph import Feed, GraphIndex, Outputs, observe, run_all

__all__ = ["costliest_noise", "multiply_accumulates", "noise_energy", "noise_of_each"]


def noise_of_each(
    quantize: Callable[[frozenset[str]], onnx.ModelProto],
    names: Sequence[str],
    feeds: Sequence[Feed],
    progress: Callable[[str, int, int], None],
) -> dict[str, float]:
    """The noise energy in the output when one convolution is quantized and the rest is float.

    Args:
        quantize: Gives the graph in which the named convolutions are quantized, and no others.
        names: Of the convolutions.
        feeds: To run.
        progress: Called after each.
    """
    reference = run_all(quantize(frozenset()), feeds)
    noise = {}
    for done, name in enumerate(names):
        progress("measuring each convolution's noise", done, len(names))
        noise[name] = noise_energy(reference, run_all(quantize(frozenset({name})), feeds))
    return noise


def costliest_noise(noise: Mapping[str, float], costs: Mapping[str, int], max_share: float) -> list[str]:
    """The convolutions to leave float: those that make most noise for their arithmetic, within a budget.

    Noise from different convolutions is nearly uncorrelated, so energies add and the choice is a knapsack, filled
    greedily.

    Args:
        noise: Energy by convolution.
        costs: Multiply-accumulates by convolution.
        max_share: Of the sum of the costs, in [0, 1].

    Returns:
        Names, the noisiest for its cost first.
    """
    budget = max_share * sum(costs.values())
    chosen = []
    for name in sorted(noise, key=lambda name: (-noise[name] / costs[name], name)):
        if noise[name] > 0 and costs[name] <= budget:
            chosen.append(name)
            budget -= costs[name]
    return chosen


def multiply_accumulates(model: onnx.ModelProto, names: Sequence[str], feed: Feed) -> dict[str, int]:
    """The arithmetic of convolutions in one run: output elements times the weights that each takes."""
    index = GraphIndex(model)
    nodes = {node.name: node for node in index.nodes}
    outputs = {name: nodes[name].output[0] for name in names}
    observed = next(iter(observe(model, list(outputs.values()), [feed])))
    return {
        name: observed[outputs[name]].size * index.initializers[nodes[name].input[1]][0].size
        for name in names
    }


def noise_energy(reference: Outputs, outputs: Outputs) -> float:
    """The sum of squared differences over all runs and outputs."""
    return sum(
        float(np.sum((wanted - got) ** 2, dtype=np.float64))
        for wanted_run, got_run in zip(reference, outputs, strict=True)
        for wanted, got in zip(wanted_run, got_run, strict=True)
    )
