"""Runs cases in children with limits of memory and time; a child that dies or hangs costs one case."""

from __future__ import annotations

import json
import logging
import os
import resource
import selectors
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from tests.fuzz.cases import REFUSED, SUCCEEDED, Target, case_input, outcome

__all__ = ["Failure", "Report", "run_cases"]

_BATCH = 200
_MEMORY_BYTES = 1 << 30
_FILE_BYTES = 256 << 20
_MOST_WAIT_S = 90.0


@dataclass(frozen=True)
class Failure:
    """A case that was neither a success nor a clean refusal.

    Attributes:
        target: Name of the target.
        number: Number of the case.
        kind: What happened, such as the type of an exception, `signal 11`, `hang` or `standard error`.
        message: Message of the exception, or what was printed.
    """

    target: str
    number: int
    kind: str
    message: str


@dataclass
class Report:
    """What came of all cases.

    Attributes:
        counts: Name of the target to how often each outcome was seen.
        failures: Every failure, in the order in which they were found.
    """

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    def add(self, target: str, number: int, kind: str, message: str) -> None:
        """Count the outcome of a case."""
        passed = kind in (SUCCEEDED, REFUSED)
        self.counts.setdefault(target, Counter())[kind if passed else "failed"] += 1
        if not passed:
            self.failures.append(Failure(target, number, kind, message))

    @property
    def cases(self) -> int:
        """Number of cases."""
        return sum(counter.total() for counter in self.counts.values())

    def table(self) -> str:
        """Cases, successes, refusals and failures of every target, as text."""
        rows = [f"{'target':24}{'cases':>9}{SUCCEEDED:>11}{REFUSED:>9}{'failed':>8}"]
        counts = {**dict(sorted(self.counts.items())), "all": sum(self.counts.values(), Counter())}
        for name, counter in counts.items():
            columns = f"{counter[SUCCEEDED]:>11}{counter[REFUSED]:>9}{counter['failed']:>8}"
            rows.append(f"{name:24}{counter.total():>9}{columns}")
        return "\n".join(rows)


@dataclass
class _Child:
    pid: int
    target: Target
    numbers: deque[int]
    pending: bytes = b""
    heard_s: float = field(default_factory=time.monotonic)


def run_cases(
    targets: Sequence[Target],
    numbers: Callable[[Target], Iterable[Sequence[int]]],
    *,
    workers: int = 2,
    until_s: float = float("inf"),
    heard: Callable[[Failure], None] = lambda _: None,
) -> Report:
    """Run cases of several targets.

    Args:
        targets: Targets to run.
        numbers: Batches of case numbers of a target; the targets take turns.
        workers: Number of children at a time.
        until_s: Value of `time.monotonic` after which no batch is begun.
        heard: Called with every failure at once.
    """
    seeds = {target.name: target.seeds() for target in targets}
    turns = deque((target, iter(numbers(target))) for target in targets)
    report, children, selector = Report(), {}, selectors.DefaultSelector()

    def begin(target: Target, batch: Sequence[int]) -> None:
        reader, writer = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            _be_child(target, seeds[target.name], batch, writer)
        os.close(writer)
        children[reader] = _Child(pid, target, deque(batch))
        selector.register(reader, selectors.EVENT_READ)

    def end(reader: int, why: str | None) -> None:
        child = children.pop(reader)
        selector.unregister(reader)
        os.close(reader)
        if why is not None:
            os.kill(child.pid, signal.SIGKILL)
        _, status = os.waitpid(child.pid, 0)
        if not child.numbers:
            return
        code = os.waitstatus_to_exitcode(status)
        number = child.numbers.popleft()
        report.add(child.target.name, number, why or f"{'signal' if code < 0 else 'exit'} {abs(code)}", "")
        heard(report.failures[-1])
        if child.numbers:
            begin(child.target, child.numbers)

    def take(reader: int) -> None:
        child, data = children[reader], os.read(reader, 1 << 16)
        if not data:
            end(reader, None)
            return
        child.heard_s = time.monotonic()
        *lines, child.pending = (child.pending + data).split(b"\n")
        for line in lines:
            failures = len(report.failures)
            report.add(child.target.name, *json.loads(line))
            child.numbers.popleft()
            for failure in report.failures[failures:]:
                heard(failure)

    while turns or children:
        while turns and len(children) < workers:
            target, batches = turns.popleft()
            batch = next(batches, None) if time.monotonic() < until_s else None
            if batch is not None:
                turns.append((target, batches))
                begin(target, batch)
        for key, _ in selector.select(1.0):
            take(key.fd)
        for reader, child in list(children.items()):
            if time.monotonic() - child.heard_s > _MOST_WAIT_S:
                end(reader, "hang")
    return report


def _be_child(target: Target, seeds: Sequence[bytes], batch: Sequence[int], writer: int) -> None:
    """Run a batch and leave the process; one line of JSON for each case goes to the pipe."""
    code = 1
    try:
        _limit()
        # The parent's threads of torch are not here, and a computation by several would wait for them.
        torch.set_num_threads(1)
        with tempfile.TemporaryFile() as stderr, tempfile.TemporaryDirectory() as folder:
            os.dup2(stderr.fileno(), 2)
            # Without a handler, Python prints log records of the library on standard error.
            logging.getLogger("voirs_vocoder").addHandler(logging.NullHandler())
            os.chdir(folder)
            for number in batch:
                found = outcome(target, case_input(target, seeds, number), 2)
                os.write(writer, json.dumps([number, *found]).encode() + b"\n")
            code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _limit() -> None:
    used_bytes = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5]) * resource.getpagesize()
    for kind, limit in (
        (resource.RLIMIT_DATA, used_bytes + _MEMORY_BYTES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, _FILE_BYTES),
    ):
        resource.setrlimit(kind, (limit, resource.getrlimit(kind)[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
