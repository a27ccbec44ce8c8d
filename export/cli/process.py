"""The process around a command: its exit status, its signals, and its standard streams.

It is imported, and its handlers are installed, before anything that takes time to import.
"""

from __future__ import annotations

import atexit
import mmap
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = [
    "BAD_INPUT",
    "GATE_FAILED",
    "INTERNAL",
    "INTERRUPTED",
    "PIPE_CLOSED",
    "TerminatedError",
    "finish_standard_streams",
    "open_standard_streams",
    "orderly_signals",
    "remove_drafts",
    "require_resources",
    "signal_status",
]

GATE_FAILED = 1
BAD_INPUT = 2
INTERNAL = 70  # EX_SOFTWARE of sysexits.h
INTERRUPTED = 130  # 128 + SIGINT, as shells have it
PIPE_CLOSED = 141  # 128 + SIGPIPE

_ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_DEFAULT = (signal.SIG_DFL, signal.default_int_handler)
_SIGNAL_BASE = 128  # what shells add to the number of a signal
# Cleaning up takes far less; a run of a graph without an end would take forever.
_GRACE_S = 3.0
_DESCRIPTORS = 8
# NumPy's OpenBLAS ends the process when it cannot allocate its buffers; each of its threads needs more.
_NUMPY_BYTES = 192 << 20
_NUMPY_THREAD_BYTES = 16 << 20
_MOST_BLAS_THREADS = 64
_STANDARD_DESCRIPTORS = (0, 1, 2)
_FILES_MODULE = "voirs_vocoder.runtime.files"


class TerminatedError(BaseException):
    """The process was asked to end by SIGTERM or SIGHUP. Like KeyboardInterrupt, no `except Exception` catches it.

    Attributes:
        status: Exit status, 128 and the number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = _SIGNAL_BASE + number


class _State:
    """What has become of the signals of this process.

    Attributes:
        arrived: Number of the first signal that asked for an end; None before it.
        settled: Whether the exit status is decided, which later signals do not change.
    """

    arrived: int | None = None
    settled = False


_state = _State()


def signal_status() -> int | None:
    """Exit status that a signal asks for: 128 and its number.

    Libraries turn the exception of a signal into one of their own, or catch it. What then fails, fails because of the
    signal.

    Returns:
        The status; None if no signal has asked this process to end.
    """
    return None if _state.arrived is None else _SIGNAL_BASE + _state.arrived


def remove_drafts() -> None:
    """Delete the files that this process has begun and cannot complete; never raises."""
    # While the module is not imported, there are none.
    files = sys.modules.get(_FILES_MODULE)
    if files is not None:
        files.remove_drafts()


def require_resources(libraries: int) -> None:
    """Check that a command can begin: that there are a few descriptors, and address space for the libraries.

    Some libraries end the process, wait forever, or print lines of their own, where they get too little.

    Args:
        libraries: Size of the command's libraries in multiples of NumPy's: 1 for NumPy, 2 with SciPy, 4 with PyTorch.

    Raises:
        OSError: There is too little of one of them.
    """
    held = []
    try:
        for _ in range(_DESCRIPTORS):
            held.append(os.open(os.devnull, os.O_RDONLY))
    finally:
        for descriptor in held:
            os.close(descriptor)
    threads = min(os.cpu_count() or 1, _MOST_BLAS_THREADS)
    size_bytes = libraries * (_NUMPY_BYTES + threads * _NUMPY_THREAD_BYTES)
    mmap.mmap(-1, size_bytes, prot=mmap.PROT_READ).close()


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


def finish_standard_streams() -> bool:
    """Write what standard output and standard error still hold; what cannot be written is dropped.

    Python would try once more when it exits, print an error of its own, and change the exit status.

    Returns:
        Whether everything was written to standard output.
    """
    written = True
    for stream in (sys.stdout, sys.stderr):
        if stream is None:
            continue
        try:
            stream.flush()
        except (OSError, ValueError):
            written &= stream is not sys.stdout
            with suppress(OSError, ValueError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, stream.fileno())
                os.close(null)
    return written


@contextmanager
def orderly_signals() -> Iterator[None]:
    """End the process on SIGINT, SIGTERM and SIGHUP: after the cleanup of what runs, or without it if that takes long.

    Python calls its handlers between two of its own instructions, so a library that computes for long, or catches
    every exception, would keep the process alive. A thread waits for that: after three seconds, or a second signal, it
    removes the files that are being written and ends the process. Where a library has called Python and ignores its
    exceptions, the process ends at once, since the library would go on without what it has asked for.

    The handlers stay until the process exits; after the `with` block, signals change the exit status no more. Outside
    the main thread nothing is changed, and a signal that the caller ignores stays ignored.

    Raises:
        TerminatedError: SIGTERM or SIGHUP came; raised in the `with` block, for the first signal only.
        KeyboardInterrupt: SIGINT came; raised in the `with` block, for the first signal only.
    """
    try:
        _install()
        yield
    finally:
        _state.settled = True


def _install() -> None:
    ours = [number for number in _ENDING if signal.getsignal(number) in _DEFAULT]
    try:
        for number in ours:
            signal.signal(number, _raise_once)
    except ValueError:  # not the main thread
        return
    sys.unraisablehook = _end_if_swallowed
    # Registered first, called last: after it only Python itself remains, which restores the default handlers.
    atexit.register(_ignore, ours)
    with suppress(OSError, RuntimeError, MemoryError):
        _start_watching()


def _raise_once(number: int, frame: object) -> None:
    # A second exception would interrupt the cleanup after the first.
    if _state.settled or _state.arrived is not None:
        return
    _state.arrived = number
    raise KeyboardInterrupt if number == signal.SIGINT else TerminatedError(number)


def _end_if_swallowed(unraisable: sys.UnraisableHookArgs) -> None:
    if _state.arrived is not None and isinstance(unraisable.exc_value, KeyboardInterrupt | TerminatedError):
        _end(_state.arrived)
    sys.__unraisablehook__(unraisable)


def _ignore(numbers: list[int]) -> None:
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)


def _start_watching() -> None:
    import threading

    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    watching = threading.Thread(target=_watch, args=(reading,), name="voirs-vocoder-signals", daemon=True)
    watching.start()
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)


def _watch(reading: int) -> None:
    """End the process some time after the first signal, or at the second one."""
    import threading

    while received := os.read(reading, 1):
        number = received[0]
        if number not in _ENDING or signal.getsignal(number) is not _raise_once:
            continue
        timer = threading.Timer(_GRACE_S, _end, (number,))
        timer.daemon = True
        timer.start()
        while received := os.read(reading, 1):
            if received[0] in _ENDING:
                _end(received[0])


def _end(number: int) -> None:
    remove_drafts()
    os._exit(_SIGNAL_BASE + number)
