"""Artifacts: every graph on every backend against the others, all of them vocoding the same recordings."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path

from voirs_vocoder.export.validation.candidates import Variant, variants
from voirs_vocoder.export.validation.compare.result import CompareReport, Comparison, comparison_of
from voirs_vocoder.export.validation.compare.thresholds import consistency_gates
from voirs_vocoder.export.validation.gates import Gate
from voirs_vocoder.export.validation.kept_audio import Heard
from voirs_vocoder.export.validation.report import RecordingFigures
from voirs_vocoder.export.validation.speech import Speech, load_speech, speech_recordings
from voirs_vocoder.runtime import Artifact
from voirs_vocoder.runtime.artifact.manifest import Manifest
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.metrics import METRICS, measure
from voirs_vocoder.runtime.progress import Progress, silent

__all__ = ["compare_artifacts"]

# Listening models take most of the time; where neither variant is the reference, signals and spectra must do.
_QUICK = ("snr_db", "max_abs_error", "lsd", "multi_resolution_stft")


@dataclass(frozen=True)
class _Voice:
    """A variant under the name of its row."""

    name: str
    variant: Variant


@dataclass(frozen=True)
class _Pair:
    reference: _Voice
    degraded: _Voice
    names: Sequence[str]
    gates: tuple[Gate, ...]


def compare_artifacts(
    roots: Sequence[Path],
    speech: Path,
    *,
    thresholds: Sequence[Gate] = (),
    heard: Heard,
    progress: Progress = silent,
) -> CompareReport:
    """Do these backends and precisions still sound the same?

    One artifact: each of its graphs on each backend against each other one, held to `consistency_gates`. Two: each
    graph and backend that both have, the first artifact's being the reference; only `thresholds` judge.

    The figures are between the two signals; `pesq_lost` is what the PESQ against the recording loses.

    Args:
        roots: One or two artifacts.
        speech: Folder of recordings, none of which was calibrated on.
        thresholds: What each comparison must keep, besides.
        heard: Keeps the audio; it must keep all recordings.
        progress: Told how far it is.

    Raises:
        InputError: The recordings cannot be used, or the artifacts have nothing in common.
        ArtifactError: An artifact is damaged.
    """
    artifacts = [Artifact.open(root) for root in roots]
    manifest = artifacts[0].manifest
    _require_alike([artifact.manifest for artifact in artifacts])
    utterances = load_speech(speech, manifest)
    for artifact in artifacts[1:]:
        speech_recordings(speech, artifact.manifest)  # it may have been calibrated on other recordings
    voices = [_voices(artifact, prefixed=len(artifacts) > 1) for artifact in artifacts]
    pairs = list(_pairs_within(voices[0], manifest) if len(voices) == 1 else _pairs_between(*voices))
    if not pairs:
        raise InputError("the artifacts share no graph on one backend; export the same precisions of both")
    spoken = dict.fromkeys(voice for pair in pairs for voice in (pair.reference, pair.degraded))
    for utterance in utterances:
        heard.keep_recording(utterance.recording.name, utterance.samples, manifest.sample_rate)
    rtf = {voice.name: _speak(voice, utterances, heard, progress) for voice in spoken}

    @cache
    def pesq(voice: str, place: int) -> float | None:
        """Against the recording; each voice meets several others."""
        utterance = utterances[place]
        audio = heard.audio(utterance.recording.name, voice)
        return measure(utterance.samples, audio, manifest.sample_rate, manifest.mel, ("pesq_wb",))["pesq_wb"]

    comparisons = []
    for number, pair in enumerate(pairs):
        progress(f"{pair.degraded.name} against {pair.reference.name}", number, len(pairs))
        comparisons.append(_comparison(pair, utterances, heard, manifest, thresholds, pesq))
    return CompareReport(kind="artifacts", comparisons=tuple(comparisons), rtf=rtf)


def _require_alike(manifests: Sequence[Manifest]) -> None:
    first = manifests[0]
    for other in manifests[1:]:
        if (first.mel, first.sample_rate) != (other.mel, other.sample_rate):
            raise InputError(
                f"both artifacts must take one mel, got {first.mel.id} at {first.sample_rate} Hz and "
                f"{other.mel.id} at {other.sample_rate} Hz; vocode with each and compare the files with --align"
            )


def _voices(artifact: Artifact, *, prefixed: bool) -> list[_Voice]:
    prefix = f"{artifact.root.resolve().name}: " if prefixed else ""
    found = [_Voice(f"{prefix}{kind.title}", kind) for kind in variants(artifact)]
    # FP32 first: it is the reference of the others.
    return sorted(found, key=lambda voice: voice.variant.precision != "fp32")


def _pairs_within(voices: Sequence[_Voice], manifest: Manifest) -> Iterator[_Pair]:
    for reference, degraded in combinations(voices, 2):
        names = METRICS if reference is voices[0] else _QUICK
        kinds = [(voice.variant.precision, voice.variant.target) for voice in (reference, degraded)]
        yield _Pair(reference, degraded, names, consistency_gates(manifest, *kinds))


def _pairs_between(left: Sequence[_Voice], right: Sequence[_Voice]) -> Iterator[_Pair]:
    by_kind = {(voice.variant.name, voice.variant.backend): voice for voice in right}
    for voice in left:
        other = by_kind.get((voice.variant.name, voice.variant.backend))
        if other is not None:
            yield _Pair(voice, other, METRICS, ())


def _speak(voice: _Voice, utterances: Sequence[Speech], heard: Heard, progress: Progress) -> float:
    spent_s = audio_s = 0.0
    with voice.variant.open() as vocoder:
        vocoder.vocode(utterances[0].mel)  # the first run allocates
        for number, utterance in enumerate(utterances):
            progress(f"vocoding: {voice.name}", number, len(utterances))
            started = time.perf_counter()
            audio = vocoder.vocode(utterance.mel)
            spent_s += time.perf_counter() - started
            audio_s += audio.duration_s
            heard.keep(utterance.recording.name, voice.name, audio.samples[0, : utterance.samples.size])
    return spent_s / audio_s


def _comparison(
    pair: _Pair,
    utterances: Sequence[Speech],
    heard: Heard,
    manifest: Manifest,
    thresholds: Sequence[Gate],
    pesq: Callable[[str, int], float | None],
) -> Comparison:
    rows = []
    for place, utterance in enumerate(utterances):
        name = utterance.recording.name
        clean, other = heard.audio(name, pair.reference.name), heard.audio(name, pair.degraded.name)
        figures = measure(clean, other, manifest.sample_rate, manifest.mel, pair.names)
        if "pesq_wb" in pair.names:
            wanted, got = pesq(pair.reference.name, place), pesq(pair.degraded.name, place)
            figures["pesq_lost"] = None if wanted is None or got is None else wanted - got
        rows.append(RecordingFigures(recording=name, figures=figures))
    return comparison_of(pair.reference.name, pair.degraded.name, rows, (*pair.gates, *thresholds))
