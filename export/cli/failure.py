"""From an exception to one line on stderr and an exit status."""

from __future__ import annotations

import errno
import os
import traceback

import click

from voirs_vocoder.export.errors import ExportError
from voirs_vocoder.runtime.errors import VoirsVocoderError

__all__ = ["BAD_INPUT", "GATE_FAILED", "INTERNAL", "INTERRUPTED", "PIPE_CLOSED", "report_failure"]

GATE_FAILED = 1
BAD_INPUT = 2
INTERNAL = 70  # EX_SOFTWARE of sysexits.h
INTERRUPTED = 130  # 128 + SIGINT, as shells have it
PIPE_CLOSED = 141  # 128 + SIGPIPE

_TRACEBACK_VARIABLE = "VOIRS_VOCODER_TRACEBACK"

# What a user can mend, wherever in a library it comes up.
_FILE_SYSTEM = {
    errno.EACCES,
    errno.EDQUOT,
    errno.EFBIG,
    errno.ENAMETOOLONG,
    errno.ENOSPC,
    errno.EPERM,
    errno.EROFS,
}
# Module -> the extra that installs it.
_EXTRAS = {
    "onnx": "export",
    "onnx_ir": "export",
    "onnxruntime": "cpu",
    "onnxscript": "export",
    "onnxsim": "export",
    "safetensors": "export",
    "scipy": "eval",
    "torch": "export",
}


def report_failure(error: Exception) -> int:
    """Say what went wrong in one line on stderr; the whole traceback comes first if the environment asks for it.

    Args:
        error: What a command raised.

    Returns:
        The exit status.
    """
    if os.environ.get(_TRACEBACK_VARIABLE, "0") not in ("", "0"):
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    status, message = _judged(error)
    click.echo(" ".join(message.split()), err=True)
    return status


def _judged(error: Exception) -> tuple[int, str]:
    from voirs_vocoder.reference_models.errors import ReferenceModelError

    if isinstance(error, click.ClickException):
        return BAD_INPUT, f"error: {_usage_message(error)}"
    if isinstance(error, VoirsVocoderError | ReferenceModelError):
        return BAD_INPUT, f"error: {error}"
    if isinstance(error, ExportError):
        return GATE_FAILED, f"error: {error}"
    if isinstance(error, ModuleNotFoundError) and error.name in _EXTRAS:
        extra = _EXTRAS[error.name]
        return BAD_INPUT, f"error: {error.name} is not installed; pip install 'voirs-vocoder[{extra}]'"
    if isinstance(error, OSError) and error.errno in _FILE_SYSTEM:
        where = f"{error.filename}: " if error.filename else ""
        return BAD_INPUT, f"error: {where}{error.strerror}; check permissions and free space"
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return INTERNAL, f"internal error: {text}; set {_TRACEBACK_VARIABLE}=1 to see where, and please report it"


def _usage_message(error: click.ClickException) -> str:
    message = error.format_message().rstrip(".")
    message = message[:1].lower() + message[1:]
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{message}; see {context.command_path} --help" if context else message
