"""The artifact's extrapolator graphs: what low-latency streams hear of the future, fitted on calibration recordings."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import msgspec
import numpy as np

from voirs_vocoder.calibration.dataset import CalibrationSet
from voirs_vocoder.calibration.extrapolation import PAST_FRAMES, extrapolator_from_mels, prediction_error
from voirs_vocoder.export.graphs import BuiltGraph, built_graph, open_graph
from voirs_vocoder.runtime.manifest import GraphEntry, TensorInfo

__all__ = ["EXTRAPOLATOR", "extrapolator_graphs"]

EXTRAPOLATOR = "extrapolator"


def extrapolator_graphs(
    graphs: Sequence[GraphEntry], calibration: CalibrationSet, future_frames: int
) -> list[BuiltGraph]:
    """One graph for each precision in which a one-pass model streams; they hold the same.

    Args:
        graphs: Of the artifact.
        calibration: What it is fitted on.
        future_frames: The model's look-ahead.

    Raises:
        InputError: The segments are too short to learn from.
    """
    mels = calibration.segments
    model = extrapolator_from_mels(mels, future_frames)
    n_mels, known = mels.shape[1], mels.shape[2] - future_frames
    made: list[BuiltGraph] = []
    for entry in graphs:
        if entry.role == "offline":
            made.append(
                built_graph(
                    model,
                    role=EXTRAPOLATOR,
                    precision=entry.precision,
                    target=entry.target,
                    inputs=(TensorInfo(name="mel", dtype="float32", shape=("batch", n_mels, PAST_FRAMES)),),
                    outputs=(
                        TensorInfo(name="future", dtype="float32", shape=("batch", n_mels, future_frames)),
                    ),
                    # Nothing in it is worth quantizing.
                    details={"quantized_convolutions": 0},
                    keep_float={},
                )
            )
    for graph in made[:1]:
        past = np.ascontiguousarray(mels[:, :, known - PAST_FRAMES : known])
        futures = open_graph(graph.data, graph.entry).run({"mel": past})["future"]
        error = prediction_error(mels, futures, known)
        made = [
            dataclasses.replace(
                built,
                entry=msgspec.structs.replace(
                    built.entry, details={**built.entry.details, "error_against_repeating": error}
                ),
            )
            for built in made
        ]
    return made
