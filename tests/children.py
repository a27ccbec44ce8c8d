"""Actions in child processes of a test, some of which kill themselves on the way."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

__all__ = ["ended", "in_child", "killed_at"]

# Every call that changes names on the disk, or waits for it.
_CALLS = ("mkdir", "rename", "link", "unlink", "rmdir", "fsync")


def in_child(action: Callable[[], object]) -> int:
    """Run an action in a child process; returns the process id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        action()
        status = 0
    finally:
        os._exit(status)


def ended(child: int) -> int:
    """Wait for a child; returns its status, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_at(call: int, action: Callable[[], object]) -> bool:
    """Run an action in a child that kills itself before a file system call; False where it made fewer calls."""

    def doomed() -> None:
        count = 0
        for name in _CALLS:
            real = getattr(os, name)

            def counted(*arguments: object, _real: Callable[..., object] = real, **named: object) -> object:
                nonlocal count
                count += 1
                if count == call:
                    os.kill(os.getpid(), signal.SIGKILL)
                return _real(*arguments, **named)

            setattr(os, name, counted)
        action()

    return ended(in_child(doomed)) == -signal.SIGKILL
