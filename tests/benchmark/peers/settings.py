"""How the benchmark against peers runs, and where it keeps what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.benchmark.peers.contract import Mode
from tests.benchmark.peers.inputs import FULL, QUICK, Sizes
from tests.benchmark.peers.results import results_name

__all__ = ["PeersSettings"]


@dataclass(frozen=True)
class PeersSettings:
    """How the benchmark runs.

    Attributes:
        output: Folder for models and results.
        speech: Folder of recordings that the quality of trained models is measured on.
        cases: Keys of the cases.
        peers: Names of the peers.
        modes: The modes.
        threads: Number of threads of every peer.
        rounds: Most timed rounds; each peer runs once per round.
        budget_s: Seconds of timed rounds of one case in one mode; slow cases have fewer rounds, but at least 3.
        quick: Short runs, whose results are kept apart.
        remeasure: Whether results that are there are measured again.
    """

    output: Path
    speech: Path
    cases: tuple[str, ...]
    peers: tuple[str, ...]
    modes: tuple[Mode, ...]
    threads: int
    rounds: int
    budget_s: float
    quick: bool = False
    remeasure: bool = False

    @property
    def sizes(self) -> Sizes:
        """Length of the runs."""
        return QUICK if self.quick else FULL

    @property
    def results(self) -> Path:
        """File of results of this machine and these versions."""
        return self.output / results_name(self.threads, quick=self.quick)

    @property
    def models(self) -> Path:
        """Folder of the models, one folder per case."""
        return self.output / ("quick" if self.quick else "models")
