"""The benchmark against peers: what is missing in the file of results is measured, case by case and mode by mode."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from tests.benchmark.peers.contract import (
    Arithmetic,
    CaseFacts,
    Mode,
    Peer,
    artifact_folder,
    read_facts,
)
from tests.benchmark.peers.group import Turns, take_turns
from tests.benchmark.peers.inputs import audio_s
from tests.benchmark.peers.machine_peak import measured_peaks
from tests.benchmark.peers.onnxruntime_peers import STOCK
from tests.benchmark.peers.quality import measured_quality
from tests.benchmark.peers.results import (
    PeerResult,
    append_result,
    installed_version,
    quartiles,
    read_results,
    run_versions,
    source_digest,
)
from tests.benchmark.peers.settings import PeersSettings
from tests.benchmark.peers.table import PEERS, reason_not_to_run
from tests.benchmark.peers.turns import last_line, worker_environment
from voirs_vocoder.runtime import Artifact
from voirs_vocoder.runtime.artifact.manifest import Manifest
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.files import write_whole
from voirs_vocoder.runtime.progress import Progress

__all__ = ["measure_peaks", "missing", "read_peaks", "run_peers"]


def run_peers(settings: PeersSettings, progress: Progress) -> None:
    """Measure what is missing in the file of results. A peer that fails is a result with its error.

    Args:
        settings: How the benchmark runs.
        progress: Receives what is being done.

    Raises:
        ExportError: The machine's peak could not be measured.
        InputError: The file of the machine's peak is damaged.
    """
    measure_peaks(settings, progress)
    for key in settings.cases:
        known = {} if settings.remeasure else read_results(settings.results)
        open_modes = [mode for mode in settings.modes if missing(known, key, mode, settings.peers)]
        if not open_modes:
            continue
        facts = _prepared_case(settings, key, progress)
        for mode in open_modes:
            names = missing(known, key, mode, settings.peers)
            if isinstance(facts, str):
                results = [_failed(key, name, mode, facts) for name in names]
            else:
                results = _measured(settings, facts, mode, names, progress)
            append_result(settings.results, results)


def missing(
    known: Mapping[tuple[str, str, str], PeerResult], case: str, mode: Mode, peers: Collection[str]
) -> list[str]:
    """Names of the peers that have no measured result; ours must have been measured with the code as it is now.

    Args:
        known: Results so far.
        case: Key of the case.
        mode: The mode.
        peers: Names of the peers that are wanted.
    """
    source = source_digest()
    measured = {
        key
        for key, result in known.items()
        if result.status == "measured"
        and (not PEERS[result.peer].ours or result.versions.get("source") == source)
    }
    return [name for name in peers if (case, name, mode) not in measured]


def read_peaks(settings: PeersSettings) -> dict[Arithmetic, float]:
    """Arithmetic to the machine's peak in billions of operations per second; empty before the first run.

    Args:
        settings: How the benchmark runs.

    Raises:
        InputError: The file of the peaks is damaged.
    """
    path = _peaks_path(settings)
    if not path.is_file():
        return {}
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[Arithmetic, float])
    except msgspec.DecodeError as error:
        raise InputError(
            f"{path}: must contain the machine's peaks, got no such JSON; delete the file"
        ) from error


def measure_peaks(settings: PeersSettings, progress: Progress) -> None:
    """Measure the machine's peaks, and keep the highest of all runs: a busy machine lowers what a run finds.

    Args:
        settings: How the benchmark runs.
        progress: Receives what is being done.

    Raises:
        ExportError: The peaks could not be measured.
        InputError: The file of the peaks is damaged.
    """
    progress("measuring the machine's peaks", 0, 0)
    before = read_peaks(settings)
    found = measured_peaks(settings.threads)
    path = _peaks_path(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(
        path, msgspec.json.encode({name: max(peak, before.get(name, 0.0)) for name, peak in found.items()})
    )


def _peaks_path(settings: PeersSettings) -> Path:
    return settings.results.with_suffix(".peaks.json")


def _prepared_case(settings: PeersSettings, key: str, progress: Progress) -> CaseFacts | str:
    """Facts of the case, or the error that making it ended with."""
    folder = settings.models / key
    wanted = _shared_settings(settings)
    facts = read_facts(folder)
    if facts is None or facts.settings != wanted:
        progress(f"{key}: exporting", 0, 0)
        error = _prepare(settings, key, "")
        facts = read_facts(folder)
        if error is not None or facts is None:
            return f"preparing the model: {error}"
    return facts


def _shared_settings(settings: PeersSettings) -> str:
    """What the files of a case depend on, besides the case: another text makes them again."""
    return json.dumps(
        [str(settings.speech), dataclasses.astuple(settings.sizes), run_versions(), source_digest()]
    )


def _prepare(settings: PeersSettings, key: str, peer: str) -> str | None:
    """Make the files of a case, or of a peer; the last line of its error where that fails."""
    options = {
        "folder": str(settings.models / key),
        "speech": str(settings.speech),
        "quick": settings.quick,
        "settings": _shared_settings(settings),
    }
    finished = subprocess.run(
        [sys.executable, "-m", "tests.benchmark.peers.prepare", key, peer, json.dumps(options)],
        capture_output=True,
        text=True,
        check=False,
        env=worker_environment(settings.threads),
    )
    return last_line(finished.stderr, finished.returncode) if finished.returncode else None


def _measured(
    settings: PeersSettings,
    facts: CaseFacts,
    mode: Mode,
    names: Collection[str],
    progress: Progress,
) -> list[PeerResult]:
    """Results of the named peers, which take turns with each other and with the stock export."""
    results: list[PeerResult] = []
    ready: list[Peer] = []
    for name in names:
        reason = reason_not_to_run(PEERS[name], facts, mode)
        if reason is not None:
            results.append(PeerResult(case=facts.key, peer=name, mode=mode, status="not run", reason=reason))
            continue
        error = None
        if PEERS[name].make is not None:
            progress(f"{facts.key}: making {name}", 0, 0)
            error = _prepare(settings, facts.key, name)
        if error is None:
            ready.append(PEERS[name])
        else:
            results.append(_failed(facts.key, name, mode, f"making its files: {error}"))
    if not ready:
        return results
    with_stock = STOCK.name in names or reason_not_to_run(STOCK, facts, mode) is not None
    group = ready if with_stock else [STOCK, *ready]
    taken = take_turns(settings, facts, mode, group, progress)
    for peer in ready:
        found = taken[peer.name]
        if isinstance(found, str):
            results.append(_failed(facts.key, peer.name, mode, found))
        else:
            results.append(_result(settings, facts, mode, peer, found, taken.get(STOCK.name)))
    return results


def _result(
    settings: PeersSettings,
    facts: CaseFacts,
    mode: Mode,
    peer: Peer,
    turns: Turns,
    stock: Turns | str | None,
) -> PeerResult:
    folder = settings.models / facts.key
    manifest: Manifest = Artifact.open(artifact_folder(folder)).manifest
    quality = None
    if turns.audio is not None:
        try:
            quality = measured_quality(folder, turns.audio, peer, facts, manifest)
        except InputError as error:
            return _failed(facts.key, peer.name, mode, str(error))
    rtf = quartiles(turns.times_s / audio_s(manifest, mode, settings.sizes))
    ratio = quartiles(stock.times_s / turns.times_s) if isinstance(stock, Turns) else None
    return PeerResult(
        case=facts.key,
        peer=peer.name,
        mode=mode,
        status="measured",
        date=datetime.now(UTC).date().isoformat(),
        versions={name: installed_version(name) for name in peer.modules}
        | ({"source": source_digest()} if peer.ours else {}),
        rtf=rtf,
        stock_ratio=ratio,
        first_audio_s=turns.first.seconds,
        peak_bytes=turns.last.peak_bytes,
        size_bytes=sum(path.stat().st_size for path in peer.files(folder, facts)),
        gflop_per_s=facts.gflop_per_s / rtf.median,
        quality=quality,
    )


def _failed(case: str, peer: str, mode: Mode, reason: str) -> PeerResult:
    return PeerResult(case=case, peer=peer, mode=mode, status="failed", reason=reason)
