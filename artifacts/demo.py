"""`make demo`: from the shipped checkpoints to validated artifacts, engines and speech, with figures per graph."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from artifacts.shipped import ARTIFACTS, SAMPLES, SHIPPED, ShippedCheckpoint
from voirs_vocoder.export.cli.console import ConsoleProgress, print_table
from voirs_vocoder.export.engines import build_engines
from voirs_vocoder.export.pipeline import ExportRequest, export_artifact
from voirs_vocoder.export.tensorrt import EngineConfig
from voirs_vocoder.export.validation.report import PAGE_PATH, Report, report_table
from voirs_vocoder.export.validation.speech import speech_recordings
from voirs_vocoder.export.validation_run import validate_and_record
from voirs_vocoder.runtime import (
    Artifact,
    AudioMelSource,
    AudioWriter,
    ProviderError,
    Vocoder,
)
from voirs_vocoder.runtime.artifact.manifest import Precision

__all__ = ["main"]

_BUILD = ARTIFACTS / "build"
_SPEECH = _BUILD / "demo"
_PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
_SPOKEN: tuple[Precision, ...] = ("fp32", "int8")
_COMPUTE_CAPABILITIES = (86, 120)
# Engines of one model show that they are built; those of all would take longer than the rest of the demo.
_WITH_ENGINES = "hifigan"


def main() -> int:
    """Run the demo; 0 when every gate passed."""
    started = time.monotonic()
    reports = [_show(shipped) for shipped in SHIPPED]
    click.echo(
        "SNR is against PyTorch; PESQ, STOI, LSD, M-STFT and mel L1 are against the recording. "
        f"\n\nDone in {time.monotonic() - started:.0f} s."
    )
    return 0 if all(report.passed for report in reports) else 1


def _show(shipped: ShippedCheckpoint) -> Report:
    output = _BUILD / shipped.artifact
    with ConsoleProgress() as progress:
        request = ExportRequest(
            family=shipped.family,
            checkpoint=shipped.weights,
            config=None,
            output=output,
            precisions=_PRECISIONS,
            calibration=SAMPLES / "calibration",
            licence="CC0-1.0",
            force=True,
        )
        export_artifact(request, progress)
        engines = _build_engines(output, progress) if shipped.family == _WITH_ENGINES else []
        report = validate_and_record(output, SAMPLES, checkpoint=shipped.weights, progress=progress)
        spoken = _speak(output)
    click.echo(
        f"\n{shipped.family}: copy synthesis of {len(report.recordings)} recordings that the model never heard\n"
    )
    print_table(report_table(report))
    click.echo(f"\nartifact  {_relative(output)}")
    click.echo(f"report    {_relative(output / PAGE_PATH)}")
    for line in engines:
        click.echo(f"engine    {line}")
    for path in spoken:
        click.echo(f"speech    {_relative(path)}")
    click.echo()
    return report


def _build_engines(output: Path, progress: ConsoleProgress) -> list[str]:
    config = EngineConfig(backend="tensorrt-rtx", compute_capabilities=_COMPUTE_CAPABILITIES)
    try:
        artifact = build_engines(output, config, _PRECISIONS, progress=progress)
    except ProviderError as error:
        # The library exists for some platforms only; the rest of the demo does not depend on it.
        return [f"none: {error}"]
    return [_relative(artifact.root / engine.file.path) for engine in artifact.manifest.engines]


def _speak(output: Path) -> list[Path]:
    _SPEECH.mkdir(parents=True, exist_ok=True)
    spoken = []
    manifest = Artifact.open(output).manifest
    for precision in _SPOKEN:
        with Vocoder.load(output, precision=precision) as vocoder:
            for recording in speech_recordings(SAMPLES, manifest):
                path = _SPEECH / f"{recording.stem}.{output.name}.{precision}.wav"
                source = AudioMelSource(recording, manifest.mel)
                with AudioWriter(path, manifest.sample_rate) as writer:
                    for audio in vocoder.vocode_source(source):
                        writer.write(audio.samples)
                spoken.append(path)
    return spoken


def _relative(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


if __name__ == "__main__":
    sys.exit(main())
