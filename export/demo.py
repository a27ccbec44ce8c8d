"""`make demo`: from the shipped checkpoint to a validated artifact, engines and speech, with figures per graph."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from voirs_vocoder.export.cli.console import ConsoleProgress, print_table
from voirs_vocoder.export.engines import build_engines
from voirs_vocoder.export.pipeline import ExportRequest, export_artifact
from voirs_vocoder.export.report import report_table
from voirs_vocoder.export.signed_off import validate_and_record
from voirs_vocoder.export.speech import speech_recordings
from voirs_vocoder.export.tensorrt import EngineConfig
from voirs_vocoder.runtime import (
    Artifact,
    AudioMelSource,
    AudioWriter,
    ProviderError,
    Vocoder,
)
from voirs_vocoder.runtime.manifest import Precision

__all__ = ["main"]

_ROOT = Path(__file__).resolve().parents[1]
_CHECKPOINT = _ROOT / "artifacts" / "checkpoints" / "hifigan_v2_kerstin" / "model.safetensors"
_SAMPLES = _ROOT / "artifacts" / "samples"
_OUTPUT = _ROOT / "artifacts" / "build" / "hifigan-v2"
_SPEECH = _ROOT / "artifacts" / "build" / "demo"
_PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
_SPOKEN: tuple[Precision, ...] = ("fp32", "int8")
_COMPUTE_CAPABILITIES = (86, 120)


def main() -> int:
    """Run the demo; 0 when every gate passed."""
    started = time.monotonic()
    with ConsoleProgress() as progress:
        request = ExportRequest(
            family="hifigan",
            checkpoint=_CHECKPOINT,
            config=None,
            output=_OUTPUT,
            precisions=_PRECISIONS,
            calibration=_SAMPLES / "calibration",
            licence="CC0-1.0",
            force=True,
        )
        export_artifact(request, progress)
        engines = _build_engines(progress)
        report = validate_and_record(_OUTPUT, _SAMPLES, checkpoint=_CHECKPOINT, progress=progress)
        spoken = _speak()
    click.echo(f"\nCopy synthesis of {len(report.recordings)} recordings that the model never heard:\n")
    print_table(report_table(report))
    click.echo("\nSNR is against PyTorch; PESQ, STOI, LSD, M-STFT and mel L1 are against the recording.")
    click.echo(f"\nartifact  {_relative(_OUTPUT)}")
    click.echo(f"report    {_relative(_OUTPUT / 'validation' / 'report.html')}")
    for line in engines:
        click.echo(f"engine    {line}")
    for path in spoken:
        click.echo(f"speech    {_relative(path)}")
    click.echo(f"\nDone in {time.monotonic() - started:.0f} s.")
    return 0 if report.passed else 1


def _build_engines(progress: ConsoleProgress) -> list[str]:
    config = EngineConfig(backend="tensorrt-rtx", compute_capabilities=_COMPUTE_CAPABILITIES)
    try:
        artifact = build_engines(_OUTPUT, config, _PRECISIONS, progress=progress)
    except ProviderError as error:
        # The library exists for some platforms only; the rest of the demo does not depend on it.
        return [f"none: {error}"]
    return [_relative(artifact.root / engine.file.path) for engine in artifact.manifest.engines]


def _speak() -> list[Path]:
    _SPEECH.mkdir(parents=True, exist_ok=True)
    spoken = []
    manifest = Artifact.open(_OUTPUT).manifest
    for precision in _SPOKEN:
        with Vocoder.load(_OUTPUT, precision=precision) as vocoder:
            for recording in speech_recordings(_SAMPLES, manifest):
                path = _SPEECH / f"{recording.stem}.{precision}.wav"
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
