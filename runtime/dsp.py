"""The runtime's one door to scipy."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.errors import InputError

__all__ = ["butterworth", "scipy_signal"]


def scipy_signal() -> Any:
    """The module `scipy.signal`.

    Raises:
        InputError: scipy is not installed.
    """
    try:
        return import_module("scipy.signal")
    except ImportError as error:
        raise InputError(
            "filters need scipy, which is not installed; pip install 'voirs-vocoder[dsp]'"
        ) from error


def butterworth(kind: str, frequency_hz: float, order: int, sample_rate: int) -> NDArray[np.float64]:
    """A `scipy.signal.butter` filter as sections, `kind` being `lowpass` or `highpass`.

    Raises:
        InputError: scipy is not installed.
    """
    sections: NDArray[np.float64] = scipy_signal().butter(
        order, frequency_hz, kind, fs=sample_rate, output="sos"
    )
    return sections
