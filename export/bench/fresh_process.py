"""Measurements in a fresh process: peak memory, and the time that loading takes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from voirs_vocoder.export.errors import ExportError

__all__ = ["FreshRun", "Spoken", "python_command", "run_fresh", "speak_fresh"]

# A process inherits the peak of the one that forked it. This small one stands between, so that it is not ours.
_LAUNCHER = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:])
_, status, usage = os.wait4(process.pid, 0)
print(usage.ru_maxrss * 1024)
sys.exit(os.waitstatus_to_exitcode(status))
"""

_SPEAK = """
import sys, time
import numpy
started = time.perf_counter()
from voirs_vocoder.runtime import SessionConfig, Vocoder
root, provider, precision, threads, warm, mel = sys.argv[1:]
session = SessionConfig(threads=int(threads), warm=bool(int(warm)))
vocoder = Vocoder.load(root, provider=provider, precision=precision, session=session)
print(time.perf_counter() - started)
vocoder.vocode(numpy.load(mel))
"""


class FreshRun(msgspec.Struct, frozen=True):
    """A finished process.

    Attributes:
        output: Standard output of the process.
        peak_bytes: Peak resident memory of the process, in bytes.
    """

    output: str
    peak_bytes: int


class Spoken(msgspec.Struct, frozen=True):
    """Cost of a process that loaded an artifact and vocoded once.

    Attributes:
        load_s: Seconds of importing the runtime (numpy excluded) and loading the artifact.
        peak_bytes: Peak resident memory of the process, in bytes.
    """

    load_s: float
    peak_bytes: int


def python_command(script: str, *arguments: str | Path | int) -> list[str]:
    """The command that runs a script in this Python."""
    return [sys.executable, "-c", script, *map(str, arguments)]


def run_fresh(command: Sequence[str]) -> FreshRun:
    """Run a command and measure its peak resident memory.

    Raises:
        ExportError: The command failed.
    """
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    finished = subprocess.run(
        [sys.executable, "-c", _LAUNCHER, *command],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    if finished.returncode:
        last = (finished.stderr.strip().splitlines() or ["no message"])[-1]
        raise ExportError(
            f"{' '.join(command[:4])} ended with status {finished.returncode}: {last}; run it alone"
        )
    output, _, peak = finished.stdout.rstrip().rpartition("\n")
    return FreshRun(output, int(peak))


def speak_fresh(
    root: Path, provider: str, precision: str, threads: int, mel: Path, *, warm: bool = False
) -> Spoken:
    """Load an artifact and vocode once, in a fresh process.

    Args:
        root: Directory of the artifact.
        provider: Name of the provider that runs the graphs.
        precision: Precision of the graphs.
        threads: Worker threads of the session.
        mel: A .npy file, float32 [n_mels, frames].
        warm: Whether loading prepares every shape (`SessionConfig.warm`).

    Raises:
        ExportError: The process failed.
    """
    run = run_fresh(python_command(_SPEAK, root, provider, precision, threads, int(warm), mel))
    return Spoken(float(run.output), run.peak_bytes)
