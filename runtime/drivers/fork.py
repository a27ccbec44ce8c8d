"""A driver that is opened again in a process that was forked after it was opened."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from weakref import WeakSet

from voirs_vocoder.runtime.drivers.driver import Driver

__all__ = ["ForkSafeDriver"]

_held: WeakSet[ForkSafeDriver] = WeakSet()


class ForkSafeDriver:
    """Gives the driver of this process.

    Thread safety: any number of threads may call `get` at the same time.
    """

    def __init__(self, driver: Driver, reopen: Callable[[], Driver] | None) -> None:
        """Hold an open driver.

        Args:
            driver: Driver of the process that calls.
            reopen: Opens the same driver in a fork of the process, on first use; None keeps the driver, whose graphs
                then refuse to run in a fork.
        """
        self._driver = driver
        self._reopen = reopen
        self._is_foreign = False
        self._lock = threading.Lock()
        _held.add(self)

    def get(self) -> Driver:
        """The driver of this process.

        Raises:
            ArtifactError: The driver is opened again, and the artifact is damaged or no longer there.
            ProviderError: The driver is opened again, and the provider cannot run.
        """
        reopen = self._reopen
        if self._is_foreign and reopen is not None:
            with self._lock:
                self._open_once(reopen)
        return self._driver

    def close(self) -> None:
        """Free the graphs of this process's driver; those of a parent process stay as they are."""
        if not self._is_foreign:
            self._driver.close()

    def _open_once(self, reopen: Callable[[], Driver]) -> None:
        # Another thread may have opened it while this one waited.
        if self._is_foreign:
            self._driver = reopen()
            self._is_foreign = False

    def _forked(self) -> None:
        # Another thread of the parent may have held the old lock.
        self._lock = threading.Lock()
        self._is_foreign = True
        # The threads behind a library's sessions do not exist here, where freeing a session would wait for them forever
        # or abort. A reference that nobody gives back keeps them, also at the end of the interpreter.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._driver))


def _after_fork() -> None:
    for driver in list(_held):
        driver._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
