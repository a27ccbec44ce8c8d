"""The process around a command: its signals end it cleanly and soon, and its standard streams are open."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from voirs_vocoder.runtime.files import remove_drafts

__all__ = ["TerminatedError", "open_standard_streams", "orderly_signals"]

_ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_SIGNAL_BASE = 128  # what shells add to the number of a signal
# Cleaning up takes far less; a run of a graph without an end would take forever.
_GRACE_S = 3.0
_STANDARD_DESCRIPTORS = (0, 1, 2)


class TerminatedError(BaseException):
    """The process was asked to end by SIGTERM or SIGHUP. Like KeyboardInterrupt, no `except Exception` catches it.

    Attributes:
        status: Exit status, 128 and the number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = _SIGNAL_BASE + number


def open_standard_streams() -> None:
    """Open what the caller has closed of descriptors 0, 1 and 2 on the null device.

    Otherwise the next file that is opened gets the number of standard error, and libraries would write into it.
    """
    for descriptor in _STANDARD_DESCRIPTORS:
        try:
            os.fstat(descriptor)
        except OSError:
            with suppress(OSError):
                # The lowest free number, which is this one.
                os.open(os.devnull, os.O_RDWR)


@contextmanager
def orderly_signals() -> Iterator[None]:
    """End the process on SIGINT, SIGTERM and SIGHUP: after the cleanup of what runs, or without it if that takes long.

    Python calls its handlers between two of its own instructions, so a library that computes for long, or catches
    every exception, would keep the process alive. A thread waits for that: after three seconds, or a second signal, it
    removes the files that are being written and ends the process.

    Raises:
        TerminatedError: SIGTERM or SIGHUP came; raised in the `with` block.
        KeyboardInterrupt: SIGINT came; raised in the `with` block.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    done = threading.Event()
    watching = threading.Thread(
        target=_watch, args=(reading, done), name="voirs-vocoder-signals", daemon=True
    )
    before = {
        number: signal.signal(number, _terminate)
        for number in _ENDING
        if number != signal.SIGINT and signal.getsignal(number) is signal.SIG_DFL
    }
    previous = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    watching.start()
    try:
        yield
    finally:
        done.set()
        signal.set_wakeup_fd(previous)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(writing)
        watching.join()
        os.close(reading)


def _terminate(number: int, frame: FrameType | None) -> None:
    del frame
    raise TerminatedError(number)


def _watch(reading: int, done: threading.Event) -> None:
    """End the process some time after the first signal, or at the second one."""
    while received := os.read(reading, 1):
        number = received[0]
        if number not in _ENDING or signal.getsignal(number) in (signal.SIG_IGN, signal.SIG_DFL):
            continue
        timer = threading.Timer(_GRACE_S, _end, (number, done))
        timer.daemon = True
        timer.start()
        while received := os.read(reading, 1):
            if received[0] in _ENDING:
                _end(received[0], done)
        timer.cancel()
        return


def _end(number: int, done: threading.Event) -> None:
    if not done.is_set():
        remove_drafts()
        os._exit(_SIGNAL_BASE + number)
