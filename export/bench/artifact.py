"""How fast and how large an artifact's graphs are on this machine, through the interface that users call."""

from __future__ import annotations

import contextlib
import os
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.export.bench.fresh_process import speak_fresh
from voirs_vocoder.export.bench.paired import Times, interleaved_times, median_estimate, ratio_estimate
from voirs_vocoder.export.bench.report import BenchReport, BenchRow
from voirs_vocoder.export.validation.candidates import Candidate
from voirs_vocoder.runtime import Artifact, MelConvention, SessionConfig, Vocoder
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.machine import this_machine
from voirs_vocoder.runtime.mel.compression import compressed
from voirs_vocoder.runtime.progress import Progress, silent
from voirs_vocoder.runtime.providers import measurable_providers

__all__ = ["artifact_benchmark", "bench_mel", "bytes_in_hand"]

_SEED = 0


def artifact_benchmark(
    root: Path | str,
    *,
    seconds: float = 10.0,
    pairs: int = 15,
    threads: int | None = None,
    warm: bool = False,
    progress: Progress = silent,
) -> BenchReport:
    """Measure every graph of an artifact on every provider that runs here and loads a graph within seconds.

    All vocode the same mel, taking turns. Providers that are registered in this process only are left out, since
    loading is measured in fresh processes.

    Args:
        root: Directory of the artifact, which is not changed.
        seconds: Length of the utterance, in seconds.
        pairs: Number of rounds; each backend vocodes once per round.
        threads: Worker threads of every backend; None uses one per core.
        warm: Whether loading prepares every shape, on providers that prepare shapes (`SessionConfig.warm`); the time
            that it takes is a part of the time of loading.
        progress: Receives the step that is being done.

    Raises:
        InputError: An argument is out of range.
        ArtifactError: The artifact is damaged.
        ProviderError: A backend that is installed does not run a graph.
    """
    artifact = Artifact.open(root)
    manifest = artifact.manifest
    frames = round(seconds * manifest.sample_rate / manifest.hop_length)
    if frames < 1:
        raise InputError(f"seconds must be at least one mel frame, got {seconds:g}; give a longer duration")
    session = SessionConfig(threads=threads or os.cpu_count() or 1, warm=warm)
    mel = bench_mel(manifest.mel, frames)
    candidates = _candidates(artifact, session)
    with contextlib.ExitStack() as stack:
        vocoders = {candidate.title: stack.enter_context(candidate.open()) for candidate in candidates}
        progress("timing", 0, len(candidates) + 1)
        calls = {name: partial(vocoder.vocode, mel) for name, vocoder in vocoders.items()}
        times = interleaved_times(calls, pairs=pairs, seed=_SEED)
        backends = {name: vocoder.metadata.backend for name, vocoder in vocoders.items()}
    audio_s = frames * manifest.hop_length / manifest.sample_rate
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        mel_path = Path(folder) / "mel.npy"
        np.save(mel_path, mel)
        for done, candidate in enumerate(candidates, 1):
            progress(f"{candidate.title}: loading in a fresh process", done, len(candidates) + 1)
            rows.append(_row(artifact, candidate, times, backends, audio_s, mel_path, session))
    progress("measured", 1, 1)
    return BenchReport(
        family=manifest.family,
        variant=manifest.variant,
        machine=this_machine(),
        threads=session.threads or 1,
        audio_s=audio_s,
        rows=tuple(rows),
    )


def bench_mel(convention: MelConvention, frames: int) -> NDArray[np.float32]:
    """A mel of noise in a convention's range, the same every time.

    Args:
        convention: Mel convention, which decides bands and range.
        frames: Number of mel frames.

    Returns:
        Float32 [n_mels, frames].
    """
    rng = np.random.default_rng(_SEED)
    shape = (convention.n_mels, frames)
    if convention.compression == "db-unit":
        return rng.uniform(0.0, 1.0, shape).astype(np.float32)
    # About what the log mels of speech are; a floor of 1e-5 is hit now and then, as in pauses.
    nepers = np.clip(rng.normal(-5.0, 2.5, shape), np.log(convention.floor), 1.0)
    return compressed(np.exp(nepers), convention).astype(np.float32)


def bytes_in_hand(mel: NDArray[np.float32], hop_length: int) -> int:
    """Memory that the caller of `vocode` needs apart from the vocoder: the mel, and audio [1, frames * hop_length]."""
    return int(mel.nbytes + mel.shape[1] * hop_length * 4)


def _candidates(artifact: Artifact, session: SessionConfig) -> list[Candidate]:
    graphs = dict.fromkeys((graph.precision, graph.target) for graph in artifact.manifest.graphs)
    fp32_first = sorted(graphs, key=lambda graph: graph[0] != "fp32")
    return [
        Candidate(
            precision,
            target,
            provider.name,
            partial(
                Vocoder.load, artifact.root, provider=provider.name, precision=precision, session=session
            ),
        )
        for provider in measurable_providers(in_other_processes=True)
        for precision, target in fp32_first
        if provider.computes(precision, target)
    ]


def _row(
    artifact: Artifact,
    candidate: Candidate,
    times: Times,
    backends: dict[str, str],
    audio_s: float,
    mel_path: Path,
    session: SessionConfig,
) -> BenchRow:
    manifest = artifact.manifest
    spoken = speak_fresh(
        artifact.root,
        candidate.provider,
        candidate.precision,
        session.threads or 1,
        mel_path,
        warm=bool(session.warm),
    )
    graphs = [
        graph
        for graph in manifest.graphs
        if (graph.precision, graph.target) == (candidate.precision, candidate.target)
    ]
    baseline = next(iter(times.values()))
    return BenchRow(
        graph=candidate.graph,
        precision=candidate.precision,
        target=candidate.target,
        provider=candidate.provider,
        backend=backends[candidate.title],
        rtf=median_estimate(times[candidate.title] / audio_s),
        time_ratio=ratio_estimate(times[candidate.title], baseline),
        load_s=spoken.load_s,
        peak_bytes=spoken.peak_bytes - bytes_in_hand(np.load(mel_path), manifest.hop_length),
        size_bytes=sum(graph.file.size_bytes for graph in graphs),
    )
