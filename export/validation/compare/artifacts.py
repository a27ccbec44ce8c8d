"""Comparison of artifacts: every graph on every backend against the others, vocoding the same recordings."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path

from voirs_vocoder.export.precisions import Gate
from voirs_vocoder.export.validation.candidates import Candidate, cpu_candidates
from voirs_vocoder.export.validation.compare.report import CompareReport, Comparison, comparison_of
from voirs_vocoder.export.validation.compare.thresholds import consistency_gates
from voirs_vocoder.export.validation.kept_audio import KeptAudio
from voirs_vocoder.export.validation.means import undefined_lines
from voirs_vocoder.export.validation.report import RecordingFigures
from voirs_vocoder.export.validation.speech import Speech, load_speech, speech_recordings
from voirs_vocoder.runtime import Artifact
from voirs_vocoder.runtime.artifact.manifest import Manifest
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.metrics import METRICS, measure
from voirs_vocoder.runtime.progress import Progress, silent
from voirs_vocoder.runtime.text import printable

__all__ = ["compare_artifacts"]

# Perceptual metrics take most of the time; where neither candidate is the reference, signals and spectra must do.
_QUICK = ("snr_db", "max_abs_error", "lsd", "multi_resolution_stft")


@dataclass(frozen=True)
class _Pair:
    reference: Candidate
    degraded: Candidate
    metrics: Sequence[str]
    gates: tuple[Gate, ...]


def compare_artifacts(
    roots: Sequence[Path],
    speech: Path,
    *,
    thresholds: Sequence[Gate] = (),
    kept_audio: KeptAudio,
    progress: Progress = silent,
) -> CompareReport:
    """Compare the audio of precisions and backends.

    With one artifact, each of its graphs on each backend is compared with each other one and judged by
    `consistency_gates`. With two, each graph and backend that both have is compared, the first artifact's being the
    reference; only `thresholds` judge.

    The figures are between the two signals; `pesq_lost` is the difference of their PESQ against the recording.

    Args:
        roots: Directories of one or two artifacts.
        speech: Folder of recordings, none of which INT8 was calibrated on.
        thresholds: Further limits that each comparison must keep.
        kept_audio: Receives the audio; it must keep all recordings.
        progress: Receives the number of pairs that are done.

    Raises:
        InputError: The recordings cannot be used, or the artifacts share no graph on one backend.
        ArtifactError: An artifact is damaged.
    """
    artifacts = [Artifact.open(root) for root in roots]
    manifest = artifacts[0].manifest
    _require_alike([artifact.manifest for artifact in artifacts])
    utterances = load_speech(speech, manifest)
    for artifact in artifacts[1:]:
        speech_recordings(speech, artifact.manifest)  # it may have been calibrated on other recordings
    names = [printable(artifact.root.resolve().name) if len(artifacts) > 1 else "" for artifact in artifacts]
    found = [cpu_candidates(artifact, name) for artifact, name in zip(artifacts, names, strict=True)]
    pairs = list(_pairs_within(found[0], manifest) if len(found) == 1 else _pairs_between(*found))
    if not pairs:
        raise InputError("the artifacts share no graph on one backend; export the same precisions of both")
    used = dict.fromkeys(candidate for pair in pairs for candidate in (pair.reference, pair.degraded))
    for utterance in utterances:
        kept_audio.keep_recording(utterance.recording.name, utterance.samples, manifest.sample_rate)
    rtf = {each.title: _synthesize(each, utterances, kept_audio, progress) for each in used}

    @cache
    def pesq(title: str, place: int) -> float | None:
        """PESQ of a candidate against a recording, computed once, though the candidate is in several pairs."""
        utterance = utterances[place]
        audio = kept_audio.audio(utterance.recording.name, title)
        return measure(utterance.samples, audio, manifest.sample_rate, manifest.mel, ("pesq_wb",))["pesq_wb"]

    comparisons = []
    for number, pair in enumerate(pairs):
        progress(f"{pair.degraded.title} against {pair.reference.title}", number, len(pairs))
        comparisons.append(_comparison(pair, utterances, kept_audio, manifest, thresholds, pesq))
    notes = dict.fromkeys(
        line
        for comparison in comparisons
        for line in undefined_lines({entry.recording: entry.figures for entry in comparison.recordings})
    )
    return CompareReport(kind="artifacts", comparisons=tuple(comparisons), rtf=rtf, notes=tuple(notes))


def _require_alike(manifests: Sequence[Manifest]) -> None:
    first = manifests[0]
    for other in manifests[1:]:
        if (first.mel, first.sample_rate) != (other.mel, other.sample_rate):
            raise InputError(
                f"both artifacts must take one mel, got {first.mel.id} at {first.sample_rate} Hz and "
                f"{other.mel.id} at {other.sample_rate} Hz; vocode with each and compare the files with align=True"
            )


def _pairs_within(candidates: Sequence[Candidate], manifest: Manifest) -> Iterator[_Pair]:
    # FP32 in ONNX Runtime comes first: it is the reference of the others.
    for reference, degraded in combinations(candidates, 2):
        metrics = METRICS if reference is candidates[0] else _QUICK
        kinds = [(candidate.precision, candidate.target) for candidate in (reference, degraded)]
        yield _Pair(reference, degraded, metrics, consistency_gates(manifest, *kinds))


def _pairs_between(left: Sequence[Candidate], right: Sequence[Candidate]) -> Iterator[_Pair]:
    by_kind = {(candidate.graph, candidate.backend): candidate for candidate in right}
    for candidate in left:
        other = by_kind.get((candidate.graph, candidate.backend))
        if other is not None:
            yield _Pair(candidate, other, METRICS, ())


def _synthesize(
    candidate: Candidate, utterances: Sequence[Speech], kept_audio: KeptAudio, progress: Progress
) -> float:
    """Vocode all recordings and keep the audio; returns seconds of compute per second of audio."""
    spent_s = audio_s = 0.0
    with candidate.open() as vocoder:
        vocoder.vocode(utterances[0].mel)  # the first run allocates
        for number, utterance in enumerate(utterances):
            progress(f"vocoding: {candidate.title}", number, len(utterances))
            started = time.perf_counter()
            audio = vocoder.vocode(utterance.mel)
            spent_s += time.perf_counter() - started
            audio_s += audio.duration_s
            kept_audio.keep(
                utterance.recording.name, candidate.title, audio.samples[0, : utterance.samples.size]
            )
    return spent_s / audio_s


def _comparison(
    pair: _Pair,
    utterances: Sequence[Speech],
    kept_audio: KeptAudio,
    manifest: Manifest,
    thresholds: Sequence[Gate],
    pesq: Callable[[str, int], float | None],
) -> Comparison:
    rows = []
    for place, utterance in enumerate(utterances):
        name = utterance.recording.name
        clean, other = (
            kept_audio.audio(name, pair.reference.title),
            kept_audio.audio(name, pair.degraded.title),
        )
        figures = measure(clean, other, manifest.sample_rate, manifest.mel, pair.metrics)
        if "pesq_wb" in pair.metrics:
            wanted, got = pesq(pair.reference.title, place), pesq(pair.degraded.title, place)
            figures["pesq_lost"] = None if wanted is None or got is None else wanted - got
        rows.append(RecordingFigures(recording=name, figures=figures))
    return comparison_of(pair.reference.title, pair.degraded.title, rows, (*pair.gates, *thresholds))
