"""The command line. Each command is a module of this package, imported when it is asked for."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from voirs_vocoder.export.cli.process import (
    BAD_INPUT,
    INTERNAL,
    finish_standard_streams,
    open_standard_streams,
    orderly_signals,
    remove_drafts,
    signal_status,
)

TYPE_CHECKING = False  # that of `typing`, which takes time to import
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from voirs_vocoder.export.cli.group import main

__all__ = ["main"]


class _LazyGroup:
    """The group of all commands, imported when it is used; called without arguments, it is the whole process."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        if args or options:
            return self._group(*args, **options)
        return _run_process()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._group, name)

    # A click.Group to `isinstance`, too.
    @property  # type: ignore[misc]  # writable in `object`
    def __class__(self) -> Any:
        return type(self._group)

    @property
    def _group(self) -> Any:
        from voirs_vocoder.export.cli.group import main

        return main


if not TYPE_CHECKING:
    main = _LazyGroup()


def _run_process() -> NoReturn:
    """Run the command of `sys.argv`, and exit with its status.

    The rest of the command line is imported here, since that takes long enough for a signal, and needs memory.
    """
    status: object
    try:
        with orderly_signals():
            open_standard_streams()
            from voirs_vocoder.export.cli.group import main as group

            group.main()
    except SystemExit as ended:
        status = ended.code
    except BaseException as error:
        status = _failed_start(error)
    if status and (by_signal := signal_status()) is not None:
        # A library may have turned the exception of the signal into another.
        status = by_signal
        remove_drafts()
    finish_standard_streams()
    sys.exit(status)  # type: ignore[arg-type]


def _failed_start(error: BaseException) -> int:
    """Report a failure of the start-up, when there may be no memory to import what reports failures otherwise."""
    if signal_status() is not None:
        return INTERNAL
    try:
        from voirs_vocoder.runtime.scarcity import scarce_resource

        scarce = scarce_resource(error)
    except Exception as second:
        memory = isinstance(error, MemoryError) or isinstance(second, MemoryError)
        scarce = (
            "not enough memory to start; free memory"
            if memory
            else f"cannot start: {second}; raise the limits"
        )
    status, line = BAD_INPUT, f"error: {scarce}"
    if scarce is None:
        status, line = INTERNAL, f"internal error: {type(error).__name__}: {error}"
    with suppress(OSError):
        os.write(2, f"{' '.join(line.split())}\n".encode(errors="backslashreplace"))
    return status
