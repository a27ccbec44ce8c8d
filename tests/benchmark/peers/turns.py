"""Worker processes that take turns: one computes while the others wait."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from tests.benchmark.peers.worker import WorkerJob, WorkerReply

__all__ = ["Worker", "WorkerError", "last_line", "timed_turns", "worker_environment"]

# Longer than idle worker threads of ONNX Runtime, OpenMP or TBB spin.
_PAUSE_S = 0.02
_START_S = 1200.0
_REPLY_S = 1200.0


class WorkerError(Exception):
    """A worker ended or did not answer; the message is one line for a table."""


class Worker:
    """A process in which one peer waits for its turn."""

    def __init__(self, job: WorkerJob, command: tuple[str, ...] = ()) -> None:
        """Start the process; it computes until `first_reply` returns.

        Args:
            job: What the worker runs.
            command: Program and arguments that take the job as their last one; empty for `worker.py`.
        """
        own = (sys.executable, "-m", "tests.benchmark.peers.worker")
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        self._process = subprocess.Popen(
            [*(command or own), msgspec.json.encode(job).decode()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=worker_environment(job.threads),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def first_reply(self) -> WorkerReply:
        """Wait until the peer has its first audio.

        Raises:
            WorkerError: The process ended, or took longer than 20 minutes.
        """
        return self._reply(_START_S)

    def ask(self, command: str) -> WorkerReply:
        """Give the worker its turn.

        Args:
            command: A command of `worker.main`.

        Raises:
            WorkerError: The process ended, or took longer than 20 minutes.
        """
        pipe = self._process.stdin
        try:
            if pipe is not None:
                pipe.write(command.encode() + b"\n")
                pipe.flush()
        except OSError as error:
            raise WorkerError(self._last_words()) from error
        return self._reply(_REPLY_S)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:  # a command that nobody read
                    continue

    def _reply(self, timeout_s: float) -> WorkerReply:
        pipe = self._process.stdout
        if pipe is None:
            raise WorkerError("the worker has no output")
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            if not selector.select(timeout_s):
                raise WorkerError(f"no answer within {timeout_s:.0f} s")
        line = pipe.readline()
        if not line:
            self._process.wait()
            raise WorkerError(self._last_words())
        return msgspec.json.decode(line, type=WorkerReply)

    def _last_words(self) -> str:
        self._errors.seek(0)
        return last_line(self._errors.read().decode(errors="replace"), self._process.poll())


def last_line(errors: str, status: int | None) -> str:
    """The last line of what a process wrote to standard error, or its status where it wrote nothing.

    Args:
        errors: Standard error.
        status: Exit status of the process; None while it runs.
    """
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    return lines[-1] if lines else f"the process ended with status {status} and no message"


def worker_environment(threads: int) -> dict[str, str]:
    """Environment variables of a process that may use a number of threads."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
    }


def timed_turns(
    workers: Mapping[str, Worker], rounds: int, seed: int = 0
) -> tuple[dict[str, NDArray[np.float64]], dict[str, WorkerReply], dict[str, str]]:
    """Let workers run in rounds, each once per round, each round in another order.

    A worker that fails takes no part in later rounds and has no times.

    Args:
        workers: Name to worker that has given its first reply.
        rounds: Number of rounds.
        seed: Seed of the random orders.

    Returns:
        Name to seconds, float64 [rounds], the same index being the same round; name to the last reply; name to the
        error of a worker that failed.
    """
    rng = np.random.default_rng(seed)
    names = list(workers)
    times: dict[str, list[float]] = {name: [] for name in names}
    last: dict[str, WorkerReply] = {}
    errors: dict[str, str] = {}
    for _ in range(rounds):
        for choice in rng.permutation(len(names)):
            name = names[choice]
            if name in errors:
                continue
            time.sleep(_PAUSE_S)
            try:
                last[name] = workers[name].ask("run")
            except WorkerError as error:
                errors[name] = str(error)
                continue
            times[name].append(last[name].seconds)
    return (
        {name: np.array(values) for name, values in times.items() if name not in errors},
        {name: reply for name, reply in last.items() if name not in errors},
        errors,
    )
