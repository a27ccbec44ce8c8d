"""From FP32 graphs to an artifact's other graphs: reduced precisions, streams, extrapolators, batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.calibration.dataset import CalibrationSet
from voirs_vocoder.export.graphs.built import BuiltGraph
from voirs_vocoder.export.graphs.example_inputs import feeds_from_mels
from voirs_vocoder.export.graphs.extrapolator import extrapolator_graphs
from voirs_vocoder.export.passes.gpu_linter import require_gpu_graph
from voirs_vocoder.export.passes.read_model import read_model
from voirs_vocoder.export.precisions import MakeOptions, get_precision
from voirs_vocoder.export.streaming import batch_graphs, stream_graphs
from voirs_vocoder.runtime.artifact.manifest import Calibration, Manifest, Precision, segments_sha256
from voirs_vocoder.runtime.progress import Progress
from voirs_vocoder.runtime.providers import Session

__all__ = ["DerivationPlan", "calibration_record", "derive_graphs"]


@dataclass(frozen=True, eq=False)
class DerivationPlan:
    """What is derived.

    Attributes:
        precisions: Names of the precisions to make; FP32 among them is skipped.
        mels: What reduced precisions are tried and calibrated on, each float32 [n_mels, frames].
        calibration: Recordings that extrapolators are fitted on; None makes none.
        stream: Whether stream graphs are made.
        batch: Whether batch graphs are made.
        options: How the graphs of reduced precision are made.
    """

    precisions: tuple[Precision, ...]
    mels: Sequence[NDArray[np.float32]]
    calibration: CalibrationSet | None
    stream: bool
    batch: bool
    options: MakeOptions = field(default_factory=MakeOptions)


def derive_graphs(
    manifest: Manifest,
    fp32: Sequence[BuiltGraph],
    plan: DerivationPlan,
    open_fp32: Callable[[str], Session],
    progress: Progress,
) -> list[BuiltGraph]:
    """The graphs that an artifact lacks.

    Args:
        manifest: The artifact's manifest, with the graphs that it holds and keeps.
        fp32: FP32 graphs to derive from; those that the manifest does not hold are among the result.
        plan: What to derive.
        open_fp32: Opens the FP32 graph of a role, for inputs that follow the sampler of a diffusion model.
        progress: Called with what is being done, how many parts are done, and how many there are.

    Returns:
        New graphs in the order of `fp32`, each followed by its reduced precisions; then streams, extrapolators of a
        one-pass model, and batches. Extrapolators are made for the graphs that the manifest holds as well.

    Raises:
        InputError: The calibration does not fit a graph, or a precision is unknown.
        ExportError: A graph does not compute what it is derived from, leaves the range of its precision, would be
            misread by a backend, or has a node that a GPU cannot run.
    """
    held = {entry.name for entry in manifest.graphs}
    made: list[BuiltGraph] = []
    for graph in fp32:
        if graph.entry.name not in held:
            made.append(graph)
        made.extend(_reduced(manifest, graph, plan, open_fp32, progress))
    graphs = list(made)
    if plan.stream:
        graphs.extend(stream_graphs(made, manifest.hop_length, progress))
        # A causal model has no future to predict.
        predicts = manifest.driver == "direct" and manifest.look_ahead_frames > 0
        if plan.calibration is not None and predicts:
            entries = [*manifest.graphs, *(graph.entry for graph in made)]
            graphs.extend(extrapolator_graphs(entries, plan.calibration, manifest.look_ahead_frames))
    if plan.batch:
        graphs.extend(batch_graphs(made, manifest.hop_length, progress))
    graphs = [_finished(graph) for graph in graphs]
    for graph in graphs:
        # INT8 for the CPU has biases in integers, which only a CPU adds up.
        if graph.entry.target != "cpu" and get_precision(graph.entry.precision).for_gpus:
            model = read_model(graph.data, graph.entry.name)
            require_gpu_graph(graph.entry.name, model, manifest.hop_length)
    return graphs


def _finished(graph: BuiltGraph) -> BuiltGraph:
    finish = get_precision(graph.entry.precision).finish
    return graph if finish is None else finish(graph)


def _reduced(
    manifest: Manifest,
    fp32: BuiltGraph,
    plan: DerivationPlan,
    open_fp32: Callable[[str], Session],
    progress: Progress,
) -> list[BuiltGraph]:
    makers = [
        make
        for name in plan.precisions
        if (make := get_precision(name).make) is not None and name in fp32.entry.keep_float
    ]
    if not makers:
        return []
    feeds = feeds_from_mels(fp32.entry, plan.mels, manifest.hop_length, manifest.diffusion, open_fp32)
    return [graph for make in makers for graph in make(fp32, feeds, plan.options, progress)]


def calibration_record(calibration: CalibrationSet) -> Calibration:
    """The manifest's record of a calibration set."""
    count, _, frames = calibration.segments.shape
    chosen = tuple(sorted(calibration.chosen, key=lambda each: (each.recording, each.start)))
    return Calibration(
        recordings=calibration.recordings,
        segments=count,
        segment_frames=frames,
        segment_list=chosen,
        segment_list_sha256=segments_sha256(chosen),
    )
