"""Extrapolator graphs, which predict the next mel frames of low-latency streams, fitted on calibration recordings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from voirs_vocoder.calibration.dataset import CalibrationSet
from voirs_vocoder.calibration.extrapolation import extrapolator_from_mels, prediction_error
from voirs_vocoder.calibration.runs import run_all
from voirs_vocoder.export.graphs.built import BuiltGraph, built_graph
from voirs_vocoder.runtime.artifact.manifest import (
    EXTRAPOLATOR_ROLE,
    Figures,
    GraphEntry,
    GraphFacts,
    TensorInfo,
)
from voirs_vocoder.runtime.streaming.low_latency import FITTED_FRAMES

__all__ = ["extrapolator_graphs"]


def extrapolator_graphs(
    graphs: Sequence[GraphEntry], calibration: CalibrationSet, future_frames: int
) -> list[BuiltGraph]:
    """Fit an extrapolator, and make a graph with the same content for each precision in which a one-pass model streams.

    Args:
        graphs: Entries of the artifact's graphs.
        calibration: Recordings to fit on.
        future_frames: Look-ahead of the model, in mel frames.

    Raises:
        InputError: The segments are too short to learn from.
    """
    mels = calibration.segments
    model = extrapolator_from_mels(mels, future_frames)
    n_mels, known = mels.shape[1], mels.shape[2] - future_frames
    past = np.ascontiguousarray(mels[:, :, known - FITTED_FRAMES : known])
    ((futures,),) = run_all(model, [{"mel": past}])
    details: Figures = {"error_against_repeating": prediction_error(mels, futures, known)}
    return [
        built_graph(
            model,
            role=EXTRAPOLATOR_ROLE,
            precision=entry.precision,
            target=entry.target,
            inputs=(TensorInfo(name="mel", dtype="float32", shape=("batch", n_mels, FITTED_FRAMES)),),
            outputs=(TensorInfo(name="future", dtype="float32", shape=("batch", n_mels, future_frames)),),
            facts=GraphFacts(quantized_convolutions=0),  # nothing in it is worth quantizing
            details=details,
            keep_float={},
        )
        for entry in graphs
        if entry.role == "offline"
    ]
