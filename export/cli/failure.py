"""From an exception to one line on stderr and an exit status."""

from __future__ import annotations

import errno
import os
import re
import traceback

import click

from voirs_vocoder.export.cli.process import BAD_INPUT, GATE_FAILED, INTERNAL, signal_status
from voirs_vocoder.export.errors import ExportError
from voirs_vocoder.runtime.errors import VoirsVocoderError
from voirs_vocoder.runtime.optional import missing_package
from voirs_vocoder.runtime.printing import remark
from voirs_vocoder.runtime.scarcity import scarce_resource

__all__ = ["report_failure", "with_flags"]

_TRACEBACK_VARIABLE = "VOIRS_VOCODER_TRACEBACK"

# Errors of the file system that a user can fix, in any library.
_FILE_SYSTEM = {
    errno.EACCES,
    errno.EDQUOT,
    errno.EFBIG,
    errno.ENAMETOOLONG,
    errno.ENOSPC,
    errno.EPERM,
    errno.EROFS,
}
# A Python argument in the message of a library, such as force=True, pairs=15 or backend='tensorrt-rtx'.
_ARGUMENT = re.compile(r"\b([a-z][a-z_]*)=('[^']*'|[A-Za-z0-9.]+)")
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


def report_failure(error: Exception, command: click.Command | None = None) -> int:
    """Print one line on stderr, after the traceback if the environment variable asks for it.

    Args:
        error: Exception that ended the command.
        command: Command that ran, whose options replace the Python arguments in the message; None if there was none.

    Returns:
        The exit status. After a signal it is that of the signal, and nothing is printed: what fails then, fails because
        libraries turn the exception of the signal into one of their own.
    """
    by_signal = signal_status()
    if by_signal is not None:
        return by_signal
    status, message = _judged(error, command)
    if os.environ.get(_TRACEBACK_VARIABLE, "0") not in ("", "0"):
        remark(*"".join(traceback.format_exception(error)).splitlines())
    remark(" ".join(message.split()))
    return status


def _judged(error: Exception, command: click.Command | None) -> tuple[int, str]:
    if isinstance(error, click.ClickException):
        return BAD_INPUT, f"error: {_usage_message(error)}"
    if isinstance(error, VoirsVocoderError):
        return BAD_INPUT, f"error: {with_flags(str(error), command)}"
    scarce = scarce_resource(error)
    if scarce is not None:
        return BAD_INPUT, f"error: {scarce}"
    # Imported when there is memory for it.
    from voirs_vocoder.calibration.errors import GraphEditError
    from voirs_vocoder.reference_models.errors import ReferenceModelError

    if isinstance(error, ReferenceModelError):
        return BAD_INPUT, f"error: {with_flags(str(error), command)}"
    if isinstance(error, ExportError | GraphEditError):
        return GATE_FAILED, f"error: {with_flags(str(error), command)}"
    if isinstance(error, ModuleNotFoundError) and error.name in _EXTRAS:
        extra = _EXTRAS[error.name]
        return BAD_INPUT, f"error: {missing_package('this command', error.name, extra)}"
    if isinstance(error, OSError) and error.errno in _FILE_SYSTEM:
        where = f"{error.filename}: " if error.filename else ""
        return BAD_INPUT, f"error: {where}{error.strerror}; check permissions and free space"
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return INTERNAL, f"internal error: {text}; set {_TRACEBACK_VARIABLE}=1 to see where, and please report it"


def with_flags(message: str, command: click.Command | None) -> str:
    """A library's message with the Python arguments in it written as options of a command.

    Args:
        message: Message such as `replace it with force=True`.
        command: Command whose parameters have the arguments' names; None leaves the message as it is.
    """
    found = {} if command is None else {each.name: each for each in command.params}

    def flag(argument: re.Match[str]) -> str:
        option = found.get(argument[1])
        if not isinstance(option, click.Option):
            return argument[0]
        if not option.is_flag:
            return f"{max(option.opts, key=len)} {argument[2].strip(chr(39))}"
        names = option.secondary_opts if argument[2] == "False" else option.opts
        return max(names, key=len, default=argument[0])

    return _ARGUMENT.sub(flag, message)


def _usage_message(error: click.ClickException) -> str:
    message = error.format_message().rstrip(".")
    message = message[:1].lower() + message[1:]
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{message}; see {context.command_path} --help" if context else message
