"""The two flavors of TensorRT, `tensorrt` and `tensorrt_rtx` (TensorRT for RTX); nothing else imports them."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

from voirs_vocoder.runtime.errors import ProviderError
from voirs_vocoder.runtime.optional import import_optional

__all__ = ["EngineBackend", "EngineLog", "Flavor", "available_flavors", "load_flavor"]

EngineBackend = Literal["tensorrt", "tensorrt-rtx"]

_MODULES: dict[str, str] = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
_CUDA_MAJORS = ("14", "13", "12")
_LEVELS = {
    # The caller raises these as an error of ours; in the log they are only a trace.
    "INTERNAL_ERROR": logging.INFO,
    "ERROR": logging.INFO,
    "WARNING": logging.WARNING,
    "INFO": logging.INFO,
    "VERBOSE": logging.DEBUG,
}
_LOG = logging.getLogger("voirs_vocoder.tensorrt")


class EngineLog:
    """TensorRT's messages: passed to the Python logger `voirs_vocoder.tensorrt`, and collected inside `capture`.

    TensorRT keeps the first logger that a process gives it until the process ends; so there is one log per library.
    """

    def __init__(self) -> None:
        self._captures: dict[int, list[tuple[str, str]]] = {}

    def write(self, severity: str, message: str) -> None:
        """Receive one message from the library, which calls this from any of its threads."""
        _LOG.log(_LEVELS.get(severity, logging.ERROR), "%s", message)
        for messages in list(self._captures.values()):
            messages.append((severity, message))

    @contextmanager
    def capture(self) -> Iterator[list[tuple[str, str]]]:
        """The messages, as (severity, text), that arrive inside the `with` block."""
        messages: list[tuple[str, str]] = []
        self._captures[id(messages)] = messages
        try:
            yield messages
        finally:
            del self._captures[id(messages)]

    @staticmethod
    def errors(messages: list[tuple[str, str]]) -> str:
        """The errors among captured messages, in one line."""
        texts = dict.fromkeys(" ".join(text.split()) for severity, text in messages if "ERROR" in severity)
        return "; ".join(texts) or "TensorRT gave no reason"


@dataclass(frozen=True)
class Flavor:
    """An installed TensorRT library.

    Attributes:
        name: `tensorrt` or `tensorrt-rtx`; neither loads the other's engines.
        module: The imported module `tensorrt` or `tensorrt_rtx`.
        version: Full version of the library.
        cuda_version: Major CUDA version that the package was built for; `unknown` when the package does not state it.
        logger: The logger that `Builder`, `OnnxParser` and `Runtime` must receive.
        log: The log that `logger` writes to.
    """

    name: EngineBackend
    module: Any
    version: str
    cuda_version: str
    logger: Any
    log: EngineLog


@functools.cache
def load_flavor(name: EngineBackend) -> Flavor:
    """Import a TensorRT library.

    Args:
        name: `tensorrt` or `tensorrt-rtx`.

    Returns:
        The library; the same object at each call.

    Raises:
        ProviderError: The name is unknown, or the library is not installed.
    """
    if name not in _MODULES:
        raise ProviderError(f"unknown engine backend {name!r}; known: {', '.join(_MODULES)}")
    module = import_optional(
        _MODULES[name],
        purpose=f"backend {name!r}",
        extra=name,
        hint=" on a machine with the NVIDIA GPU that the engine is for; tensorrt-rtx builds without one"
        if name == "tensorrt"
        else "",
    )
    log = EngineLog()
    return Flavor(
        name=name,
        module=module,
        version=module.__version__,
        cuda_version=_cuda_version(_MODULES[name]),
        logger=_logger(module.ILogger, log.write),
        log=log,
    )


def available_flavors() -> tuple[list[Flavor], list[str]]:
    """The TensorRT libraries that load on this machine, and a line for each other one on why it does not."""
    found, reasons = [], []
    for name in get_args(EngineBackend):
        try:
            found.append(load_flavor(name))
        except ProviderError as error:
            reasons.append(str(error))
    return found, reasons


def _cuda_version(module_name: str) -> str:
    """The CUDA version that is part of the wheel's name; TensorRT's API does not state it."""
    from importlib import metadata

    for major in _CUDA_MAJORS:
        try:
            metadata.distribution(f"{module_name}_cu{major}")
        except metadata.PackageNotFoundError:
            continue
        return major
    return "unknown"


def _logger(base: Any, write: Callable[[str, str], None]) -> Any:
    class Logger(base):  # type: ignore[misc]
        def log(self, severity: Any, msg: str) -> None:
            write(severity.name, msg)

    return Logger()
