"""`python -m tests.benchmark.peers.worker`: a process in which one peer runs one case in one mode, when it is its turn.

It answers each line on standard input with a line of JSON on standard output, and computes nothing in between.
"""

from __future__ import annotations

import os
import re
import resource
import sys
import time
from pathlib import Path
from typing import IO

import msgspec
import numpy as np

from tests.benchmark.peers.contract import CaseFacts, Mode, OpenRequest, artifact_folder
from tests.benchmark.peers.inputs import FULL, QUICK, first_audio, mode_mels, quality_inputs, run_mode
from tests.benchmark.peers.table import PEERS
from voirs_vocoder.runtime import Artifact

__all__ = ["WorkerJob", "WorkerReply", "main"]

# The peers that ran in between have emptied the caches, which decides the time of a short run.
_SHORT_S = 0.5


class WorkerJob(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker runs.

    Attributes:
        folder: Folder of the case.
        facts: Facts of the case.
        peer: Name of the peer.
        mode: The mode.
        threads: Number of threads that the peer may use.
        quick: Whether runs have the short lengths.
    """

    folder: str
    facts: CaseFacts
    peer: str
    mode: Mode
    threads: int
    quick: bool


class WorkerReply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to a line.

    Attributes:
        seconds: Time of the run; of the first reply, from importing the peer's library to its first audio.
        peak_bytes: Peak resident memory of the process so far, in bytes.
    """

    seconds: float
    peak_bytes: int


def main(encoded: str, commands: IO[str], replies: IO[bytes]) -> None:
    """Open the peer, answer once, and then after each command: `run`, or `audio FILE`.

    `audio` vocodes the mels of the case's `quality.npz` into a .npy file, float32 [recordings, samples].

    Args:
        encoded: A `WorkerJob` as JSON.
        commands: One command a line; the process ends with them.
        replies: Receives a `WorkerReply` as a line of JSON per command.
    """
    job = msgspec.json.decode(encoded, type=WorkerJob)
    folder, sizes = Path(job.folder), QUICK if job.quick else FULL
    manifest = Artifact.open(artifact_folder(folder)).manifest
    mels = mode_mels(manifest, job.mode, sizes)

    def reply(seconds: float) -> None:
        replies.write(msgspec.json.encode(WorkerReply(seconds=seconds, peak_bytes=_peak_bytes())) + b"\n")
        replies.flush()

    started_s = time.perf_counter()
    contender = PEERS[job.peer].open(OpenRequest(folder, job.facts, manifest, job.threads))
    first_audio(contender, job.mode, mels)
    reply(time.perf_counter() - started_s)
    # Untimed: a live utterance has other shapes after its first chunk.
    run_mode(contender, job.mode, mels, sizes)
    last_s = 0.0
    for line in commands:
        command, _, path = line.strip().partition(" ")
        if command == "run" and last_s < _SHORT_S:
            run_mode(contender, job.mode, mels, sizes)
        started_s = time.perf_counter()
        if command == "run":
            run_mode(contender, job.mode, mels, sizes)
            last_s = time.perf_counter() - started_s
            reply(last_s)
        else:
            np.save(path, np.stack([contender.vocode(mel)[0] for mel in quality_inputs(folder)]))
            reply(time.perf_counter() - started_s)


def _peak_bytes() -> int:
    """Peak of this program alone; what the kernel reports to a parent includes the one that forked it."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:  # not Linux
        status = ""
    found = re.search(r"VmHWM:\s*(\d+) kB", status)
    return 1024 * int(found[1] if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


if __name__ == "__main__":
    # Libraries print to standard output, even from C: theirs becomes standard error, and ours a pipe of its own.
    with os.fdopen(os.dup(1), "wb") as pipe:
        os.dup2(2, 1)
        main(sys.argv[1], sys.stdin, pipe)
