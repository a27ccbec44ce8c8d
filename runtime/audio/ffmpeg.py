"""The only module of the runtime that imports PyAV, the binding to FFmpeg."""

from __future__ import annotations

from typing import Any

from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.optional import import_optional

__all__ = ["aac_problem", "import_av"]


def import_av(where: str) -> Any:
    """Import the module `av`.

    Args:
        where: Beginning of the error message: what needs PyAV, such as the path of a file.

    Raises:
        InputError: PyAV is not installed.
    """
    return import_optional("av", purpose=f"{where}: AAC", package="PyAV", extra="codecs", error=InputError)


def aac_problem() -> str | None:
    """Reason why this machine cannot encode AAC; None where it can."""
    try:
        codecs = import_av("m4a").codecs_available
    except InputError as error:
        return str(error)
    return None if "aac" in codecs else "m4a: this build of FFmpeg has no AAC encoder; choose another format"
