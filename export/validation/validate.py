"""Validation: every graph measured on real speech, against the PyTorch model and against the recording."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.export.artifact.change import Change, change_artifact
from voirs_vocoder.export.artifact.provenance import command_record
from voirs_vocoder.export.artifact.writer import file_entry
from voirs_vocoder.export.validation.candidates import Candidate, cpu_candidates
from voirs_vocoder.export.validation.convention import check_convention
from voirs_vocoder.export.validation.gates import gates_of, judged
from voirs_vocoder.export.validation.kept_audio import KeptAudio
from voirs_vocoder.export.validation.means import mean_figures, too_seldom_defined
from voirs_vocoder.export.validation.reference import load_reference
from voirs_vocoder.export.validation.report import (
    PAGE_PATH,
    REFERENCE,
    REPORT_PATH,
    RecordingFigures,
    Report,
    Row,
    encode_report,
)
from voirs_vocoder.export.validation.speech import Speech, load_speech
from voirs_vocoder.runtime import Artifact, Vocoder
from voirs_vocoder.runtime.artifact.manifest import GraphEntry, Manifest
from voirs_vocoder.runtime.drivers.registry import driver_roles
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.metrics import measure
from voirs_vocoder.runtime.progress import Progress, silent

__all__ = ["record_validation", "validate_artifact"]

_AGAINST_REFERENCE = ("max_abs_error", "snr_db", "multi_resolution_stft", "lsd", "mel_l1")
# A network at the audio's rate takes seconds for a whole utterance.
_WARM_UP_FRAMES = 64
_AGAINST_RECORDING = ("pesq_wb", "stoi", "lsd", "multi_resolution_stft", "mel_l1")


def validate_artifact(
    root: Path,
    speech: Path,
    *,
    checkpoint: Path | None = None,
    config: Path | None = None,
    providers: Sequence[str] | None = None,
    kept_audio: KeptAudio | None = None,
    progress: Progress = silent,
) -> Report:
    """Measure every graph of an artifact on recordings.

    Args:
        root: Directory of the artifact.
        speech: Folder of recordings, none of which INT8 was calibrated on.
        checkpoint: Source checkpoint, whose PyTorch model is the reference; None makes the FP32 graph the reference.
        config: Configuration of the checkpoint; None reads the one beside it.
        providers: Names of the providers to measure on, such as `cpu`; None measures on every one that is installed
            and runs on a CPU.
        kept_audio: Keeps the audio for the page; None keeps nothing.
        progress: Receives the number of vocoded recordings.

    Raises:
        InputError: There are no recordings, one was calibrated on, the checkpoint is not the artifact's, or a provider
            runs none of the graphs.
        CheckpointError, ModelConfigError: The checkpoint cannot be read.
    """
    artifact = Artifact.open(root)
    manifest = artifact.manifest
    candidates = _candidates(artifact, providers)
    utterances = load_speech(speech, manifest)
    reference = Vocoder.load(root) if checkpoint is None else load_reference(artifact, checkpoint, config)
    with reference:
        references = [_vocode(reference, utterance)[0] for utterance in utterances]
        backend = reference.metadata.backend
        convention = check_convention(reference, manifest, utterances, progress)
    if kept_audio is not None:
        for utterance, audio in zip(utterances, references, strict=True):
            kept_audio.keep_recording(utterance.recording.name, utterance.samples, manifest.sample_rate)
            kept_audio.keep(utterance.recording.name, REFERENCE, audio)
    reference_figures = [
        measure(u.samples, audio, manifest.sample_rate, manifest.mel, _AGAINST_RECORDING)
        for u, audio in zip(utterances, references, strict=True)
    ]
    rows = []
    for number, candidate in enumerate(candidates):
        figures = []
        with candidate.open() as vocoder:
            vocoder.vocode(utterances[0].mel.values[:, :_WARM_UP_FRAMES])  # the first run prepares kernels
            for index, utterance in enumerate(utterances):
                progress(
                    candidate.title,
                    number * len(utterances) + index,
                    len(candidates) * len(utterances),
                )
                audio, elapsed_s = _vocode(vocoder, utterance)
                if kept_audio is not None:
                    kept_audio.keep(utterance.recording.name, candidate.title, audio)
                figures.append(
                    _figures(
                        audio, elapsed_s, utterance, references[index], reference_figures[index], manifest
                    )
                )
            rows.append(_row(candidate, vocoder.metadata.backend, figures, manifest))
    progress("measured", 1, 1)
    return Report(
        family=manifest.family,
        variant=manifest.variant,
        reference="pytorch" if checkpoint else "fp32",
        reference_backend=backend,
        reference_figures=mean_figures(reference_figures),
        checkpoint_sha256=manifest.source.checkpoint_sha256,
        recordings=tuple(utterance.recording for utterance in utterances),
        speech_s=sum(utterance.samples.size for utterance in utterances) / manifest.sample_rate,
        rows=tuple(rows),
        convention=convention,
    )


def record_validation(root: Path, report: Report, page: bytes | None = None) -> Artifact:
    """Write a report and its figures into the artifact that was measured.

    Args:
        root: Directory of the artifact.
        report: Report of the validation.
        page: HTML page of the report; None removes the page of an earlier report.

    Raises:
        ArtifactError: The artifact is damaged or another process is changing it.
        InputError: The artifact cannot be written.
    """

    def edit(artifact: Artifact) -> Change:
        manifest = artifact.manifest
        reports = {REPORT_PATH: encode_report(report), **({} if page is None else {PAGE_PATH: page})}
        figures = {(row.precision, row.target): row.figures for row in reversed(report.rows)}

        def validated(graph: GraphEntry) -> GraphEntry:
            # For a graph that ran on several backends, the manifest states the figures of the first.
            measured = figures.get((graph.precision, graph.target))
            if measured is None or graph.role not in driver_roles(manifest.driver):
                return graph
            kept = {name: value for name, value in measured.items() if name != "rtf"}
            return msgspec.structs.replace(graph, validation=kept)

        others = tuple(entry for entry in manifest.files if entry.path not in (REPORT_PATH, PAGE_PATH))
        changed = msgspec.structs.replace(
            manifest,
            graphs=tuple(validated(graph) for graph in manifest.graphs),
            files=(*others, *(file_entry(path, data) for path, data in reports.items())),
        )
        return changed, reports

    record = command_record(
        "validate",
        {
            "reference": report.reference,
            "reference_backend": report.reference_backend,
            "recordings": len(report.recordings),
        },
    )
    return change_artifact(root, edit, record)


def _candidates(artifact: Artifact, providers: Sequence[str] | None) -> list[Candidate]:
    candidates = cpu_candidates(artifact)
    if providers is None:
        return candidates
    runnable = dict.fromkeys(candidate.provider for candidate in candidates)
    for provider in providers:
        if provider not in runnable:
            raise InputError(
                f"provider {provider!r} cannot be measured on; choose among {', '.join(runnable)}"
            )
    return [candidate for candidate in candidates if candidate.provider in providers]


def _vocode(vocoder: Vocoder, speech: Speech) -> tuple[NDArray[np.float32], float]:
    started = time.perf_counter()
    audio = vocoder.vocode(speech.mel)
    elapsed = time.perf_counter() - started
    return audio.samples[0, : speech.samples.size], elapsed


def _figures(
    audio: NDArray[np.float32],
    elapsed_s: float,
    speech: Speech,
    reference: NDArray[np.float32],
    reference_figures: dict[str, float | None],
    manifest: Manifest,
) -> RecordingFigures:
    against_reference = measure(reference, audio, manifest.sample_rate, manifest.mel, _AGAINST_REFERENCE)
    against_recording = measure(speech.samples, audio, manifest.sample_rate, manifest.mel, _AGAINST_RECORDING)
    wanted, got = reference_figures["pesq_wb"], against_recording["pesq_wb"]
    return RecordingFigures(
        recording=speech.recording.name,
        figures={
            **{
                name if name in ("max_abs_error", "snr_db") else f"{name}_to_reference": value
                for name, value in against_reference.items()
            },
            **against_recording,
            "pesq_lost": None if wanted is None or got is None else wanted - got,
            "rtf": elapsed_s / (speech.samples.size / manifest.sample_rate),
        },
    )


def _row(candidate: Candidate, backend: str, measured: Sequence[RecordingFigures], manifest: Manifest) -> Row:
    per_recording = [entry.figures for entry in measured]
    figures = mean_figures(per_recording)
    figures["max_abs_error"] = max(_finite_or_nan(per_recording, "max_abs_error"))
    figures["snr_min_db"] = min(_finite_or_nan(per_recording, "snr_db"))
    figures["rtf"] = statistics.median(_finite_or_nan(per_recording, "rtf"))
    return Row(
        graph=candidate.graph,
        precision=candidate.precision,
        target=candidate.target,
        provider=candidate.backend,
        backend=backend,
        figures=figures,
        gates=judged(
            gates_of(manifest, candidate.precision, candidate.target),
            figures,
            too_seldom_defined(per_recording),
        ),
        recordings=tuple(measured),
    )


def _finite_or_nan(rows: Sequence[dict[str, float | None]], name: str) -> Iterator[float]:
    for row in rows:
        value = row[name]
        yield math.nan if value is None else value
