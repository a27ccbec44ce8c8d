"""The runtime's one door to FFmpeg: PyAV."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from voirs_vocoder.runtime.errors import InputError

__all__ = ["aac_problem", "import_av"]


def import_av(where: str) -> Any:
    """The module `av`.

    Args:
        where: What needs it, which begins the message.

    Raises:
        InputError: PyAV is not installed.
    """
    try:
        return import_module("av")
    except ImportError as error:
        raise InputError(
            f"{where}: AAC needs PyAV, which is not installed; pip install 'voirs-vocoder[codecs]'"
        ) from error


def aac_problem() -> str | None:
    """Why AAC cannot be written here; None where it can."""
    try:
        codecs = import_av("m4a").codecs_available
    except InputError as error:
        return str(error)
    return None if "aac" in codecs else "m4a: this build of FFmpeg has no AAC encoder; choose another format"
