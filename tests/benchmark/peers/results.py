"""Measured results, one line of JSON each, in a file for one machine and one set of versions: a rerun goes on there."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from tests.benchmark.peers.contract import Mode
from voirs_vocoder.runtime.machine import this_machine

__all__ = [
    "PeerResult",
    "Quality",
    "Quartiles",
    "append_result",
    "installed_version",
    "quartiles",
    "read_results",
    "results_name",
    "run_versions",
    "source_digest",
]

Status = Literal["measured", "failed", "not run"]
_PACKAGES = ("torch", "onnxruntime", "openvino")
_NAME_CHARACTERS = 40


class Quartiles(msgspec.Struct, frozen=True):
    """The middle half of repeated measurements.

    Attributes:
        median: Median over the rounds.
        low: First quartile.
        high: Third quartile.
        rounds: Number of rounds.
    """

    median: float
    low: float
    high: float
    rounds: int


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """How far the audio is from that of the FP32 model in PyTorch, as means over excerpts.

    Attributes:
        snr_db: SNR in dB against FP32; infinite values are limited to 150.
        lsd: Log-spectral distance to the recordings; None for random weights.
        lsd_gained: Log-spectral distance less that of FP32; None for random weights.
        pesq: Wide-band PESQ against the recordings; None for random weights, or where it could not be measured.
        pesq_lost: PESQ of FP32 less `pesq`; None where that is None.
        excerpts: Number of excerpts.
        within_gates: Whether the audio passes the gates of its precision; None for a peer that has none.
    """

    snr_db: float
    lsd: float | None = None
    lsd_gained: float | None = None
    pesq: float | None = None
    pesq_lost: float | None = None
    excerpts: int
    within_gates: bool | None = None


class PeerResult(msgspec.Struct, frozen=True, kw_only=True):
    """A peer on a case in a mode.

    Attributes:
        case: Key of the case.
        peer: Name of the peer.
        mode: The mode.
        status: `measured`; `failed` with an error in `reason`; `not run` with the reason there.
        reason: Error or reason in one line; empty for a result that was measured.
        date: Day of the measurement, such as `2026-01-31`, in UTC; empty where nothing was measured.
        versions: Package to version, of those packages that this peer needs beyond the ones in the file's name; of
            ours `source`, the digest of the code.
        rtf: Seconds of compute per second of audio.
        stock_ratio: Time of the stock export in ONNX Runtime divided by the time of this peer, round by round: how many
            times this peer is faster.
        first_audio_s: Seconds from importing the peer's library in a fresh process to its first audio.
        peak_bytes: Peak resident memory of the process after a run, in bytes.
        size_bytes: Size of the files that the peer needs, in bytes.
        gflop_per_s: Billions of multiplications and additions per second.
        quality: Quality of the audio; None where it was not measured, as in modes other than `offline`.
    """

    case: str
    peer: str
    mode: Mode
    status: Status
    reason: str = ""
    date: str = ""
    versions: dict[str, str] = {}
    rtf: Quartiles | None = None
    stock_ratio: Quartiles | None = None
    first_audio_s: float | None = None
    peak_bytes: int | None = None
    size_bytes: int | None = None
    gflop_per_s: float | None = None
    quality: Quality | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """Case, peer and mode, which a file holds one result of."""
        return self.case, self.peer, self.mode


def quartiles(values: NDArray[np.float64]) -> Quartiles:
    """Median and quartiles of measurements, float64 [rounds]."""
    low, median, high = (float(value) for value in np.percentile(values, (25, 50, 75)))
    return Quartiles(median, low, high, values.size)


def run_versions() -> dict[str, str]:
    """Versions of the libraries that most peers run in, by package name."""
    return {name: installed_version(name) for name in (*_PACKAGES, "voirs-vocoder")}


def installed_version(package: str) -> str:
    """Version of an installed package; `none` where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


@functools.cache
def source_digest() -> str:
    """Digest of the code that makes and runs our artifacts, in eight hex digits."""
    digest = hashlib.sha256()
    root = Path(__file__).resolve().parents[3]
    for package in ("calibration", "export", "reference_models", "runtime"):
        for path in sorted((root / package).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:8]


def results_name(threads: int, *, quick: bool) -> str:
    """Name of the file of results of this machine and these versions, such as `amd-epyc-9r14-2-threads-1a2b3c4d.jsonl`.

    Args:
        threads: Number of threads of every peer.
        quick: Whether runs have the short lengths, whose results are kept apart.
    """
    machine = this_machine()
    described = json.dumps([machine.processor, machine.cores, machine.system, threads, quick, run_versions()])
    digest = hashlib.sha256(described.encode()).hexdigest()[:8]
    processor = re.sub(r"[^a-z0-9]+", "-", machine.processor.lower()).strip("-")[:_NAME_CHARACTERS]
    return f"{processor}-{threads}-threads-{'quick-' if quick else ''}{digest}.jsonl"


def read_results(path: Path) -> dict[tuple[str, str, str], PeerResult]:
    """Results of a file by their key, the last one of each; none where there is no file.

    A line that was cut off, as by a run that was stopped while it wrote, is left out.

    Args:
        path: File of results.
    """
    if not path.is_file():
        return {}
    results = {}
    for line in path.read_bytes().splitlines():
        try:
            result = msgspec.json.decode(line, type=PeerResult)
        except msgspec.DecodeError:
            continue
        results[result.key] = result
    return results


def append_result(path: Path, results: Iterable[PeerResult]) -> None:
    """Add results to a file, each as a line.

    Args:
        path: File of results, which need not exist.
        results: The results.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    broken = path.is_file() and not path.read_bytes().endswith(b"\n")
    lines = b"".join(msgspec.json.encode(result) + b"\n" for result in results)
    with path.open("ab") as file:
        file.write(b"\n" + lines if broken else lines)
