"""A group of peers that take turns on one case in one mode."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.benchmark.peers.contract import CaseFacts, Mode, Peer
from tests.benchmark.peers.settings import PeersSettings
from tests.benchmark.peers.turns import Worker, WorkerError, timed_turns
from tests.benchmark.peers.worker import WorkerJob, WorkerReply
from voirs_vocoder.runtime.progress import Progress

__all__ = ["Turns", "take_turns"]

_LEAST_ROUNDS = 3
_QUALITY_MODE: Mode = "offline"


@dataclass(frozen=True)
class Turns:
    """What a peer's turns gave.

    Attributes:
        first: Reply when the peer had its first audio.
        last: Reply to its last run.
        times_s: Seconds of each round, float64 [rounds].
        audio: Audio of the excerpts, float32 [excerpts, samples]; None where quality is not measured.
    """

    first: WorkerReply
    last: WorkerReply
    times_s: NDArray[np.float64]
    audio: NDArray[np.float32] | None


def take_turns(
    settings: PeersSettings, facts: CaseFacts, mode: Mode, group: Collection[Peer], progress: Progress
) -> dict[str, Turns | str]:
    """Let peers take turns in a mode of a case, each in a process of its own.

    Args:
        settings: Number of threads and of rounds.
        facts: Facts of the case.
        mode: The mode; `offline` measures quality as well.
        group: The peers.
        progress: Receives what is being done.

    Returns:
        Name of a peer to what its turns gave, or to its error in one line.
    """
    folder = settings.models / facts.key
    found: dict[str, Turns | str] = {}
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        workers: dict[str, Worker] = {}
        first: dict[str, WorkerReply] = {}
        for number, peer in enumerate(group):
            progress(f"{facts.key} {mode}: opening {peer.name}", number, len(group))
            job = WorkerJob(
                folder=str(folder),
                facts=facts,
                peer=peer.name,
                mode=mode,
                threads=settings.threads,
                quick=settings.quick,
            )
            worker = stack.enter_context(Worker(job))
            try:
                first[peer.name] = worker.first_reply()
                # Untimed: the first run of a new shape may prepare it.
                worker.ask("run")
            except WorkerError as error:
                found[peer.name] = str(error)
            else:
                workers[peer.name] = worker
        rounds = _rounds(settings, workers, found)
        progress(f"{facts.key} {mode}: {rounds} rounds of {len(workers)} peers", 0, 0)
        times, last, errors = timed_turns(workers, rounds)
        found |= errors
        for name, times_s in times.items():
            audio = None
            if mode == _QUALITY_MODE:
                progress(f"{facts.key}: quality of {name}", 0, 0)
                try:
                    workers[name].ask(f"audio {scratch / 'audio.npy'}")
                except WorkerError as error:
                    found[name] = f"its audio: {error}"
                    continue
                audio = np.load(scratch / "audio.npy")
            found[name] = Turns(first[name], last[name], times_s, audio)
    return found


def _rounds(settings: PeersSettings, workers: dict[str, Worker], found: dict[str, Turns | str]) -> int:
    """Number of rounds that the budget allows; a worker that fails meanwhile is left out of `workers`."""
    times, _, errors = timed_turns(workers, 1)
    for name, error in errors.items():
        found[name] = error
        del workers[name]
    round_s = float(sum(values.sum() for values in times.values()))
    affordable = settings.budget_s / round_s if round_s else settings.rounds
    return max(min(_LEAST_ROUNDS, settings.rounds), min(settings.rounds, int(affordable)))
