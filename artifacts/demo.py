"""`make demo` and `make demo-full`: from the shipped checkpoints to validated artifacts, report pages and speech.

Two families are worked on at a time, each in a process of its own. The quick demo makes what a first look needs: FP32
and INT8 for the CPU, validated there. The full one makes every precision and engine, and validates on every backend.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING

import click

from artifacts.demo_plan import FULL_SECONDS, QUICK_SECONDS, Clock
from artifacts.shipped import ARTIFACTS, SAMPLES, SHIPPED, ShippedCheckpoint
from voirs_vocoder.export.cli.console import print_table
from voirs_vocoder.export.cli.failure import report_failure
from voirs_vocoder.export.errors import ExportError
from voirs_vocoder.reference_models.errors import ReferenceModelError
from voirs_vocoder.reference_models.registry import FAMILIES
from voirs_vocoder.runtime.errors import VoirsVocoderError
from voirs_vocoder.runtime.printing import say, write_control
from voirs_vocoder.runtime.progress import ConsoleProgress

if TYPE_CHECKING:
    from multiprocessing.queues import Queue

    from voirs_vocoder.export.validation.kept_audio import KeptAudio
    from voirs_vocoder.export.validation.report import Report
    from voirs_vocoder.runtime.artifact.manifest import Precision

__all__ = ["main"]

_BUILD = ARTIFACTS / "build"
_SPEECH = _BUILD / "demo"
_CALIBRATION = SAMPLES / "calibration"
_WORKERS = 2
_REFRESH_S = 1.0
_COMPUTE_CAPABILITIES = (86, 120)
# Engines of one model show that they are built; those of all would take longer than the rest of the demo.
_WITH_ENGINES = "hifigan"
_WITHOUT_NOISE_SEARCH = "waveglow"
# What validation calls the graphs whose audio is kept as files.
_SPOKEN = {"fp32 on cpu": "fp32", "int8.cpu on cpu": "int8"}


@dataclass(frozen=True)
class _Step:
    """A step that a worker begins."""

    family: str
    step: str


@dataclass(frozen=True)
class _Detail:
    """What a worker is doing within its step."""

    family: str
    message: str


@dataclass(frozen=True)
class _Playable:
    """The first audio of a family is there."""

    path: Path


@dataclass(frozen=True)
class _Outcome:
    """What was made of a family.

    Attributes:
        report: Figures and verdicts of every graph.
        speech: Audio files.
        engines: Engine files, or why there are none.
        seconds: Step to the processor time that it took.
    """

    report: Report
    speech: list[Path]
    engines: list[str]
    seconds: dict[str, float]


@click.command()
@click.option("--full", is_flag=True, help="Every precision, both kinds of INT8, engines, and every backend.")
@click.option("--timings", is_flag=True, help="Print the processor time of each step at the end.")
def main(full: bool, timings: bool) -> None:
    """Export, quantize, validate and synthesize with the shipped checkpoints; exit with 1 when a gate fails."""
    started_s = time.monotonic()
    seconds = FULL_SECONDS if full else QUICK_SECONDS
    jobs = [next(shipped for shipped in SHIPPED if shipped.family == family) for family in seconds]
    _SPEECH.mkdir(parents=True, exist_ok=True)
    workers = max(1, min(_WORKERS, os.cpu_count() or 1))
    # Each process has its share of the cores; a pool of threads per graph on every core would fight with the other's.
    os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // workers))
    context = multiprocessing.get_context("spawn")
    events: Queue[object] = context.Queue()
    clock = Clock(seconds, workers)
    try:
        with (
            ConsoleProgress() as progress,
            ProcessPoolExecutor(workers, context, _connect, (events,)) as pool,
        ):
            futures = {job.family: pool.submit(_run, job, full) for job in jobs}
            for family, future in _finished(futures, events, clock, progress):
                _print_outcome(family, future.result(), full=full)
            outcomes = {family: future.result() for family, future in futures.items()}
    except (VoirsVocoderError, ReferenceModelError, ExportError) as error:
        sys.exit(report_failure(error))
    _print_end(outcomes, time.monotonic() - started_s, full=full)
    if timings:
        _print_timings(outcomes)
    sys.exit(0 if all(outcome.report.passed for outcome in outcomes.values()) else 1)


def _finished(
    futures: dict[str, Future[_Outcome]], events: Queue[object], clock: Clock, progress: ConsoleProgress
) -> Iterator[tuple[str, Future[_Outcome]]]:
    """Show what the workers report, and yield each family once it is done or has failed."""
    left = dict(futures)
    while left:
        with contextlib.suppress(Empty):
            event = events.get(timeout=_REFRESH_S)
            if isinstance(event, _Step):
                clock.begin(event.family, event.step)
                progress(clock.message(), 0, 0)
            elif isinstance(event, _Detail):
                clock.details[event.family] = event.message
            elif isinstance(event, _Playable):
                _say(f"\nThe first audio is there: {_relative(event.path)}\n")
        if sys.stderr.isatty():
            progress(clock.message(), 0, 0)
        for family in [family for family, future in left.items() if future.done()]:
            clock.finish(family)
            yield family, left.pop(family)


def _connect(events: Queue[object]) -> None:
    """Give a worker process the queue that it reports to."""
    global _events
    _events = events


_events: Queue[object] | None = None


def _send(event: object) -> None:
    if _events is not None:
        _events.put(event)


class _Steps:
    """Reports the steps of a family and measures the processor time of each."""

    def __init__(self, family: str) -> None:
        self.seconds: dict[str, float] = {}
        self._family = family

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        _send(_Step(self._family, name))
        started_s = time.process_time()
        yield
        self.seconds[name] = time.process_time() - started_s

    def progress(self, message: str, done: int, total: int) -> None:
        """Report what is being done; the counts are not shown."""
        del done, total
        _send(_Detail(self._family, message))


def _run(shipped: ShippedCheckpoint, full: bool) -> _Outcome:
    """Make everything of one family, in a worker process."""
    from voirs_vocoder.export.validation.kept_audio import KeptAudio
    from voirs_vocoder.export.validation_run import validate_and_record

    output = _BUILD / shipped.artifact
    steps = _Steps(shipped.family)
    engines = []
    if full:
        _export(shipped, output, steps, ("fp32", "fp16", "int8"))
        if shipped.family == _WITH_ENGINES:
            with steps.step("engines"):
                engines = _build_engines(output, steps)
    else:
        _export(shipped, output, steps, ("fp32",))
        if "speak" in QUICK_SECONDS[shipped.family]:
            with steps.step("speak"):
                _send(_Playable(_speak(output)))
        with steps.step("quantize"):
            _quantize(output, steps, search=shipped.family != _WITHOUT_NOISE_SEARCH)
    with steps.step("validate"), KeptAudio() as kept_audio:
        report = validate_and_record(
            output,
            SAMPLES,
            checkpoint=shipped.weights,
            providers=None if full else ("cpu",),
            kept_audio=kept_audio,
            progress=steps.progress,
        )
        speech = _keep_speech(kept_audio, output)
    return _Outcome(report, speech, engines, steps.seconds)


def _export(
    shipped: ShippedCheckpoint, output: Path, steps: _Steps, precisions: tuple[Precision, ...]
) -> None:
    with steps.step("export"):
        from voirs_vocoder.export.pipeline import ExportRequest, export_artifact

        request = ExportRequest(
            family=shipped.family,
            checkpoint=shipped.weights,
            config=None,
            output=output,
            precisions=precisions,
            calibration=_CALIBRATION if "int8" in precisions else None,
            licence="CC0-1.0",
            force=True,
        )
        export_artifact(request, steps.progress)


def _quantize(output: Path, steps: _Steps, *, search: bool) -> None:
    """Make INT8 for the CPU.

    On these models a single run per convolution finds the noisy ones as well as two. WaveGlow, whose many convolutions
    take longest, passes its gates by 1.6 dB without (26.3 dB with the search); DiffWave would not.
    """
    from voirs_vocoder.calibration.config import Int8Config
    from voirs_vocoder.export.precisions import MakeOptions
    from voirs_vocoder.export.quantize import quantize_artifact

    config = Int8Config(probe_runs=1) if search else Int8Config(max_float_share=0.0)
    options = MakeOptions(targets=("cpu",), int8=config)
    quantize_artifact(output, _CALIBRATION, options=options, progress=steps.progress)


def _build_engines(output: Path, steps: _Steps) -> list[str]:
    from voirs_vocoder.export.engines import build_engines
    from voirs_vocoder.export.tensorrt import EngineConfig
    from voirs_vocoder.runtime import ProviderError

    config = EngineConfig(backend="tensorrt-rtx", compute_capabilities=_COMPUTE_CAPABILITIES)
    try:
        artifact = build_engines(output, config, ("fp32", "fp16", "int8"), progress=steps.progress)
    except ProviderError as error:
        # The library exists for some platforms only; the rest of the demo does not depend on it.
        return [f"none: {error}"]
    return [_relative(artifact.root / engine.file.path) for engine in artifact.manifest.engines]


def _speak(output: Path) -> Path:
    """Copy synthesis of the first recording with the FP32 graph."""
    from voirs_vocoder.runtime import Vocoder, mel_spectrogram, read_audio, write_audio

    recording = sorted(SAMPLES.glob("*.flac"))[0]
    path = _SPEECH / f"{recording.stem}.{output.name}.fp32.wav"
    audio = read_audio(recording)
    with Vocoder.load(output) as vocoder:
        mel = mel_spectrogram(audio.samples, audio.sample_rate, vocoder.metadata.convention)
        write_audio(path, vocoder.vocode(mel))
    return path


def _keep_speech(kept_audio: KeptAudio, output: Path) -> list[Path]:
    """Write what validation synthesized, in FP32 and INT8, as files."""
    from voirs_vocoder.runtime import AudioBuffer, write_audio

    paths = []
    for title, precision in _SPOKEN.items():
        for recording, sample_rate in kept_audio.recordings.items():
            path = _SPEECH / f"{Path(recording).stem}.{output.name}.{precision}.wav"
            samples = kept_audio.audio(recording, title)
            write_audio(path, AudioBuffer(samples[None], sample_rate))
            paths.append(path)
    return paths


def _print_outcome(family: str, outcome: _Outcome, *, full: bool) -> None:
    from voirs_vocoder.export.validation.report import report_table

    count = len(outcome.report.recordings)
    recordings = f"{count} recording{'s' * (count != 1)}"
    _say("", f"{FAMILIES[family].title}: copy synthesis of {recordings} from outside its training", "")
    print_table(report_table(outcome.report))
    say()
    if full:
        for line in outcome.engines:
            say(f"engine    {line}")


def _print_end(outcomes: dict[str, _Outcome], elapsed_s: float, *, full: bool) -> None:
    from voirs_vocoder.export.validation.report import PAGE_PATH

    passed = all(outcome.report.passed for outcome in outcomes.values())
    say(
        "SNR is against PyTorch; PESQ, STOI, LSD, M-STFT and mel L1 are against the recording.",
        "",
        f"Done in {elapsed_s:.0f} s; {'every gate passed' if passed else 'a gate failed'}.",
        "",
    )
    for shipped in SHIPPED:
        say(FAMILIES[shipped.family].title)
        say(f"  look at   {_relative(_BUILD / shipped.artifact / PAGE_PATH)}")
        say(f"  play      {_relative(outcomes[shipped.family].speech[0])}")
    say("", f"All audio: {_relative(_SPEECH)}; the recordings themselves: {_relative(SAMPLES)}")
    if not full:
        say("Every precision, TensorRT engines and OpenVINO: make demo-full")


def _print_timings(outcomes: dict[str, _Outcome]) -> None:
    rows = [["family", "step", "processor seconds"]]
    for family, outcome in outcomes.items():
        rows.extend([family, step, f"{seconds:.1f}"] for step, seconds in outcome.seconds.items())
    say()
    print_table(rows)


def _say(*lines: str) -> None:
    """Print lines where the progress line stands."""
    if sys.stderr is not None and sys.stderr.isatty():
        write_control("\r\x1b[K")
    say(*lines)


def _relative(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


if __name__ == "__main__":
    main()
