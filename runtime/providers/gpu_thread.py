"""The one thread of this process that runs graphs on GPUs.

ONNX Runtime records a CUDA graph for each thread that runs a session, and while it records, no other thread may
allocate or copy on a GPU, or the recording fails. So all threads hand their runs to one, which records each graph once.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from queue import SimpleQueue

__all__ = ["GpuThread", "gpu_thread"]


class _Job:
    """A function to call, and what came of it."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.work = work
        self.error: BaseException | None = None
        self.done = threading.Lock()
        self.done.acquire()


class GpuThread:
    """A thread that calls functions one after the other; it is started when the first one comes."""

    def __init__(self) -> None:
        """Start no thread yet."""
        self._lock = threading.Lock()
        self._process: int | None = None
        self._ident: int | None = None
        self._jobs: SimpleQueue[_Job] = SimpleQueue()

    def call(self, work: Callable[[], None]) -> None:
        """Call a function on the thread, and wait for it.

        Args:
            work: The function; what it raises is raised here.
        """
        if (
            self._process != os.getpid()
        ):  # not started yet, or this process is a fork, which has no such thread
            self._start()
        if threading.get_ident() == self._ident:
            work()
            return
        job = _Job(work)
        self._jobs.put(job)
        job.done.acquire()
        if job.error is not None:
            try:
                raise job.error
            finally:
                del job  # the error would refer to itself

    def _start(self) -> None:
        with self._lock:
            if self._process == os.getpid():
                return
            self._jobs = SimpleQueue()
            thread = threading.Thread(
                target=_work_off, args=(self._jobs,), name="voirs-vocoder-gpu", daemon=True
            )
            thread.start()
            self._ident = thread.ident
            self._process = os.getpid()


def _work_off(jobs: SimpleQueue[_Job]) -> None:
    while True:
        job = jobs.get()
        try:
            job.work()
        except BaseException as error:
            job.error = error
        job.done.release()
        # What the job holds shall not live until the next one comes.
        del job


_THREAD = GpuThread()


def gpu_thread() -> GpuThread:
    """The thread that all sessions on GPUs share."""
    return _THREAD
