"""Computing time that INT8 saves in each convolution, from ONNX Runtime's profile of a float and an INT8 graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec
import onnx

from voirs_vocoder.calibration.runs import Feed, profiled

__all__ = ["TimeModel", "saved_seconds"]

TimeModel = Literal["profile", "multiply-accumulates"]
"""How the time that a graph saves is divided among its convolutions: by a `profile` of their kernels, or in proportion
to their `multiply-accumulates` where the profile does not name them."""

# The fastest run of a node counts: other work of the machine only adds time.
_RUNS = 7
_KERNEL = "_kernel_time"


class _Event(msgspec.Struct):
    name: str = ""
    cat: str = ""
    dur: float = 0.0


def saved_seconds(
    float_graph: onnx.ModelProto,
    int8_graph: onnx.ModelProto,
    costs: Mapping[str, int],
    feed: Feed,
    threads: int,
) -> tuple[dict[str, float], TimeModel]:
    """Seconds that each convolution saves per run when it is quantized; negative where INT8 takes longer.

    What is no kernel of one convolution, such as a QuantizeLinear that several share, is divided in proportion to
    multiply-accumulates. So the sum is the difference between the two graphs.

    Args:
        float_graph: Graph in which all convolutions are float.
        int8_graph: Graph in which all convolutions of `costs` are quantized.
        costs: Multiply-accumulates by name of convolution.
        feed: Inputs of the runs.
        threads: Worker threads of the session.

    Returns:
        Seconds by name of convolution, and how the time was divided.

    Raises:
        InputError: The feed does not fit a graph.
    """
    before, after = (_node_seconds(graph, feed, threads) for graph in (float_graph, int8_graph))
    total = sum(before.values()) - sum(after.values())
    whole = sum(costs.values())
    own = [{name: _of_convolution(times, name) for name in costs} for times in (before, after)]
    if not all(times[name] for times in own for name in costs):
        return {name: total * cost / whole for name, cost in costs.items()}, "multiply-accumulates"
    saved = {name: own[0][name] - own[1][name] for name in costs}
    shared = total - sum(saved.values())
    return {name: saved[name] + shared * cost / whole for name, cost in costs.items()}, "profile"


def _of_convolution(times: Mapping[str, float], name: str) -> float:
    """The time of the nodes that one convolution became: in parts, as an integer kernel, and its rounding."""
    own = (f"{name}.", f"{name}_token_", f"DequantizeLinear.{name}.")
    return sum(seconds for node, seconds in times.items() if node == name or node.startswith(own))


def _node_seconds(model: onnx.ModelProto, feed: Feed, threads: int) -> dict[str, float]:
    """Least time of each node of the optimized graph over several runs, in seconds, by name."""
    profile = profiled(model, feed, runs=_RUNS, threads=threads)
    least: dict[str, float] = {}
    for event in msgspec.json.decode(profile, type=list[_Event]):
        if event.cat == "Node" and event.name.endswith(_KERNEL):
            name = event.name.removesuffix(_KERNEL)
            least[name] = min(least.get(name, event.dur), event.dur)
    return {name: microseconds * 1e-6 for name, microseconds in least.items()}
