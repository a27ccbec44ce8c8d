"""Check of the two signals that every metric compares."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.errors import InputError, VoirsVocoderError

__all__ = ["MetricUnavailableError", "MetricUndefinedError", "check_pair"]


class MetricUnavailableError(VoirsVocoderError):
    """A metric has no value here: its package is not installed, or it is undefined for these signals."""


class MetricUndefinedError(MetricUnavailableError):
    """A metric is undefined for these signals, such as PESQ for silence; for others it has a value."""


def check_pair(
    reference: NDArray[np.floating[Any]], degraded: NDArray[np.floating[Any]], least_samples: int = 1
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both signals in float64.

    Args:
        reference: Float32 or float64 [samples], finite.
        degraded: Float32 or float64 [samples], as long as `reference`, finite.
        least_samples: Fewest samples that the metric needs.

    Raises:
        InputError: Type, shape or length is wrong, or a sample is NaN or infinite.
    """
    for name, signal in (("reference", reference), ("degraded", degraded)):
        if signal.dtype not in (np.float32, np.float64) or signal.ndim != 1:
            raise InputError(
                f"{name} must be float32 or float64 [samples], got {signal.dtype} of shape {signal.shape}; "
                "convert it"
            )
        if not np.isfinite(signal).all():
            raise InputError(f"{name} must be finite, got NaN or infinity; check the model")
    if reference.shape != degraded.shape:
        raise InputError(
            f"reference and degraded must be equally long, got {len(reference)} and {len(degraded)} samples; "
            "cut or align them"
        )
    if len(reference) < least_samples:
        raise InputError(f"the metric needs {least_samples} samples, got {len(reference)}; give more audio")
    return reference.astype(np.float64), degraded.astype(np.float64)
