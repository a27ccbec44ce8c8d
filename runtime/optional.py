"""Optional libraries: imported when they are needed, with one message for all that are missing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from voirs_vocoder.runtime.errors import ProviderError, VoirsVocoderError
from voirs_vocoder.runtime.scarcity import scarce_resource

__all__ = ["import_optional", "install_command", "missing_package"]


def install_command(extra: str) -> str:
    """The command that installs an extra of voirs-vocoder, such as `pip install 'voirs-vocoder[eval]'`."""
    return f"pip install 'voirs-vocoder[{extra}]'"


def missing_package(purpose: str, package: str, extra: str) -> str:
    """The message for a package that is not installed: what needs it, and the command that installs it."""
    return f"{purpose} needs {package}, which is not installed; {install_command(extra)}"


def import_optional(
    module: str,
    *,
    purpose: str,
    extra: str,
    package: str | None = None,
    hint: str = "",
    error: type[VoirsVocoderError] = ProviderError,
) -> Any:
    """Import a library that voirs-vocoder works without.

    Args:
        module: Full name of the module, such as `scipy.signal`.
        purpose: What needs the library; the message begins with it.
        extra: The extra of voirs-vocoder that installs the library.
        package: Name of the library in the message; None uses the first part of the module's name.
        hint: Text that ends the message, behind the command that installs the library.
        error: Type of the error that is raised.

    Returns:
        The module.

    Raises:
        VoirsVocoderError: The library is not installed, or it is installed and does not load; of the type `error`.
    """
    top = module.partition(".")[0]
    package = package or top
    try:
        return import_module(module)
    except ModuleNotFoundError as cause:
        if (cause.name or "").partition(".")[0] == top:
            raise error(missing_package(purpose, package, extra) + hint) from cause
        raise error(_not_loading(purpose, package, extra, cause, hint)) from cause
    except (
        ImportError,
        OSError,
    ) as cause:  # OSError: a shared library is missing or is built for another system
        raise error(_not_loading(purpose, package, extra, cause, hint)) from cause


def _not_loading(purpose: str, package: str, extra: str, cause: Exception, hint: str) -> str:
    scarce = scarce_resource(cause)
    if scarce is not None:
        return f"{purpose} needs {package}, which does not load: {scarce}"
    reason = " ".join(str(cause).split())
    return f"{purpose} needs {package}, which does not load ({reason}); {install_command(extra)}{hint}"
