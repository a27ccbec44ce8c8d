"""The runtime's one door to scipy."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from voirs_vocoder.runtime.errors import InputError

__all__ = ["scipy_signal"]


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
