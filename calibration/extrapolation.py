"""Fits a linear predictor of future mel frames, for streams that cannot wait for them."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.streaming.low_latency import FITTED_FRAMES

__all__ = ["extrapolator_from_mels", "prediction_error"]

# Cosines across the mel bands: finer detail cannot be foreseen, and is repeated.
_COSINES = 16
_RIDGE = 0.3
_OPSET = 20


def extrapolator_from_mels(mels: NDArray[np.float32], future_frames: int) -> onnx.ModelProto:
    """Fit an extrapolator.

    The first 16 cosines across the bands of each future frame, relative to the last known one, are a linear function
    of those of the last four frames, found by ridge regression (A. Hoerl and R. Kennard, Technometrics 12, 1970).

    Args:
        mels: Calibration mels, float32 [segments, n_mels, frames].
        future_frames: Number of frames to predict.

    Returns:
        A graph from `mel` [batch, n_mels, 4] to `future` [batch, n_mels, future_frames]. The same mels give the same
        bytes.

    Raises:
        InputError: The segments are too short to learn from.
    """
    _, n_mels, frames = mels.shape
    if frames <= FITTED_FRAMES + future_frames:
        least = FITTED_FRAMES + future_frames + 1
        raise InputError(
            f"an extrapolator needs calibration segments of {least} frames or more, got {frames}"
        )
    basis = _cosine_basis(n_mels)
    places, targets = _examples(basis @ mels.astype(np.float64), future_frames)
    gram = places.T @ places
    gram[np.diag_indices_from(gram)] += _RIDGE * len(places)
    weight = np.linalg.solve(gram, places.T @ targets)
    return _model(basis.astype(np.float32), weight.astype(np.float32), n_mels, future_frames)


def prediction_error(mels: NDArray[np.float32], futures: NDArray[np.float32], known: int) -> float:
    """Mean squared error of predicted frames, as a share of the error of repeating the last known frame.

    Args:
        mels: Mels with the true future, float32 [segments, n_mels, frames].
        futures: Predicted frames from `known` on, float32 [segments, n_mels, count].
        known: Number of frames that were known.
    """
    wanted = mels[:, :, known : known + futures.shape[2]]
    repeated = np.square(wanted - mels[:, :, known - 1 : known]).mean()
    return float(np.square(wanted - futures).mean() / repeated)


def _cosine_basis(n_mels: int) -> NDArray[np.float64]:
    """Orthonormal DCT-II, its first rows: float64 [16, n_mels]."""
    order = np.arange(min(_COSINES, n_mels))[:, np.newaxis]
    basis: NDArray[np.float64] = np.cos(np.pi / n_mels * (np.arange(n_mels) + 0.5) * order) * np.sqrt(
        2.0 / n_mels
    )
    basis[0] /= np.sqrt(2.0)
    return basis


def _features(past: NDArray[np.float64]) -> NDArray[np.float64]:
    """The last frame, how the others differ from it, and 1: [segments, cosines, 4] -> [segments, features]."""
    count = past.shape[0]
    last = past[:, :, -1:]
    differences = (past[:, :, :-1] - last).reshape(count, -1)
    return np.concatenate((differences, last.reshape(count, -1), np.ones((count, 1))), axis=1)


def _examples(
    cosines: NDArray[np.float64], future_frames: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    places, targets = [], []
    count, _, frames = cosines.shape
    for known in range(FITTED_FRAMES, frames - future_frames + 1):
        places.append(_features(cosines[:, :, known - FITTED_FRAMES : known]))
        future = cosines[:, :, known : known + future_frames] - cosines[:, :, known - 1 : known]
        targets.append(future.reshape(count, -1))
    return np.concatenate(places), np.concatenate(targets)


def _model(
    basis: NDArray[np.float32], weight: NDArray[np.float32], n_mels: int, future_frames: int
) -> onnx.ModelProto:
    cosines = basis.shape[0]
    tensors = {
        "basis": basis,
        "back": np.ascontiguousarray(basis.T),
        "weight": weight[:-1],
        "bias": weight[-1],
        "others": np.array([FITTED_FRAMES - 1, 1], np.int64),
        "flat": np.array([0, -1], np.int64),
        "shape": np.array([0, cosines, future_frames], np.int64),
    }
    nodes = [
        helper.make_node("MatMul", ["basis", "mel"], ["cosines"], "to_cosines"),
        helper.make_node("Split", ["cosines", "others"], ["earlier", "last"], "split", axis=2),
        helper.make_node("Sub", ["earlier", "last"], ["differences"], "relative"),
        helper.make_node("Reshape", ["differences", "flat"], ["differences.flat"], "flatten_differences"),
        helper.make_node("Reshape", ["last", "flat"], ["last.flat"], "flatten_last"),
        helper.make_node("Concat", ["differences.flat", "last.flat"], ["features"], "join", axis=1),
        helper.make_node("Gemm", ["features", "weight", "bias"], ["moves.flat"], "predict"),
        helper.make_node("Reshape", ["moves.flat", "shape"], ["moves"], "unflatten"),
        helper.make_node("MatMul", ["back", "moves"], ["moves.bands"], "to_bands"),
        helper.make_node("Split", ["mel", "others"], ["mel.earlier", "mel.last"], "split_mel", axis=2),
        helper.make_node("Add", ["moves.bands", "mel.last"], ["future"], "add_last"),
    ]
    graph = helper.make_graph(
        nodes,
        "extrapolator",
        [helper.make_tensor_value_info("mel", TensorProto.FLOAT, ["batch", n_mels, FITTED_FRAMES])],
        [helper.make_tensor_value_info("future", TensorProto.FLOAT, ["batch", n_mels, future_frames])],
        [numpy_helper.from_array(values, name) for name, values in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=10)
