"""What fresh processes show of a model: start and peak memory."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

from tests.benchmark.goals import Finding
from tests.benchmark.models import BenchModel
from tests.benchmark.speed import estimated
from voirs_vocoder.export.bench.artifact import bench_mel, bytes_in_hand
from voirs_vocoder.export.bench.fresh_process import python_command, run_fresh, speak_fresh
from voirs_vocoder.export.bench.paired import interleaved_times, median_estimate, ratio_estimate
from voirs_vocoder.runtime import read_audio
from voirs_vocoder.runtime.errors import InputError

__all__ = ["command_line_peak", "first_second", "peak_beyond_weights", "vocode_peak", "write_long_recording"]

_MB = 1e6
_LONG_S = 10.0
_SHORT_S = 1.0

_OURS = """
import sys
import numpy
from voirs_vocoder.runtime import SessionConfig, Vocoder
vocoder = Vocoder.load(sys.argv[1], session=SessionConfig(threads=int(sys.argv[3])))
audio = vocoder.vocode(numpy.load(sys.argv[2])).samples[0]
"""

_BARE = """
import sys
import numpy
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(sys.argv[3])
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
mel = numpy.load(sys.argv[2])
audio = session.run(None, {"mel": mel[numpy.newaxis]})[0].reshape(-1)
"""

_COMMAND_LINE = "from voirs_vocoder.export.cli import main; main()"


def first_second(model: BenchModel, folder: Path, threads: int, pairs: int) -> list[Finding]:
    """From nothing to a second of audio: a fresh Python that imports, loads and vocodes.

    Args:
        model: A model with the graph `offline`.
        folder: Folder for the mel.
        threads: Number of threads of the session.
        pairs: Number of fresh processes of each kind.

    Returns:
        The ratio to ten lines of bare ONNX Runtime with the same graph, and our seconds.
    """
    artifact = model.artifact
    manifest = artifact.manifest
    mel = folder / "second.npy"
    np.save(mel, bench_mel(manifest.mel, round(manifest.sample_rate / manifest.hop_length)))
    graph = artifact.root / artifact.graph("offline", "fp32").file.path
    commands = {
        "ours": python_command(_OURS, artifact.root, mel, threads),
        "bare": python_command(_BARE, graph, mel, threads),
    }
    calls: dict[str, Callable[[], object]] = {
        name: partial(subprocess.run, command, check=True) for name, command in commands.items()
    }
    times = interleaved_times(calls, pairs=pairs)
    seconds = median_estimate(times["ours"])
    name = f"{model.case.title}: fresh process to 1 s of audio"
    ratio = ratio_estimate(times["ours"], times["bare"])
    return [
        estimated(model.case, "first_second", f"{name}, our time / bare", ratio),
        Finding(name=name, value=seconds.median, unit="s", estimate=seconds, case=model.case.key),
    ]


def vocode_peak(model: BenchModel, folder: Path, threads: int) -> Finding:
    """Peak memory of a fresh process that vocodes 10 s, less the mel and the audio, which are the caller's.

    Args:
        model: The model.
        folder: Folder for the mel.
        threads: Number of threads of the session.
    """
    name = f"{model.case.title}, {_LONG_S:.0f} s through Vocoder.vocode: peak"
    return _peak_finding(model, "peak_mb", name, _vocode_peak_bytes(model, folder, _LONG_S, threads))


def peak_beyond_weights(model: BenchModel, folder: Path, threads: int) -> Finding:
    """Peak memory of a fresh process that vocodes 1 s, less the weights, the mel and the audio.

    Args:
        model: A model with the graph `offline`.
        folder: Folder for the mel.
        threads: Number of threads of the session.
    """
    weights = model.artifact.graph("offline", "fp32").file.size_bytes
    name = f"{model.case.title}, {_SHORT_S:.0f} s through Vocoder.vocode: peak beyond the weights"
    peak_bytes = _vocode_peak_bytes(model, folder, _SHORT_S, threads) - weights
    return _peak_finding(model, "peak_beyond_weights_mb", name, peak_bytes)


def command_line_peak(model: BenchModel, figure: str, speech: Path, folder: Path, seconds: float) -> Finding:
    """Peak memory of `voirs-vocoder vocode` on a long recording.

    Args:
        model: The model.
        figure: Key of the figure in the case's figures.
        speech: Folder of .flac recordings that the long one is made of.
        folder: Folder for the recording and the output.
        seconds: Length of the recording.

    Raises:
        InputError: There are no recordings.
        ExportError: The command failed.
    """
    recording, output = folder / "long.wav", folder / "long-output.wav"
    write_long_recording(speech, recording, seconds)
    options = model.case.hour_options
    arguments: tuple[str | Path, ...] = ("vocode", model.artifact.root, recording, "-o", output, *options)
    peak_bytes = run_fresh(python_command(_COMMAND_LINE, *arguments)).peak_bytes
    recording.unlink()
    output.unlink()
    chosen = f", {' '.join(options)}" if options else ""
    name = f"{model.case.title}, {seconds / 60:.0f} min through the command line{chosen}: peak"
    return _peak_finding(model, figure, name, peak_bytes)


def write_long_recording(source: Path, target: Path, seconds: float) -> None:
    """Repeat the recordings of a folder, one after the other, until a length is reached.

    Args:
        source: Folder of .flac recordings of one rate, mono.
        target: The .wav file to write, 16 bits.
        seconds: Length of the file.

    Raises:
        InputError: There are no recordings.
    """
    recordings = [read_audio(path) for path in sorted(source.glob("*.flac"))]
    if not recordings:
        raise InputError(
            f"{source}: holds no .flac recordings; run the benchmark in a checkout of the project"
        )
    sample_rate = recordings[0].sample_rate
    left = round(seconds * sample_rate)
    with soundfile.SoundFile(target, "w", samplerate=sample_rate, channels=1, subtype="PCM_16") as sound:
        while left > 0:
            for recording in recordings:
                sound.write(recording.samples[0, :left])
                left -= min(left, recording.samples.shape[1])


def _vocode_peak_bytes(model: BenchModel, folder: Path, seconds: float, threads: int) -> int:
    manifest = model.artifact.manifest
    path = folder / "peak.npy"
    mel = bench_mel(manifest.mel, round(seconds * manifest.sample_rate / manifest.hop_length))
    np.save(path, mel)
    spoken = speak_fresh(model.artifact.root, "cpu", "fp32", threads, path)
    return spoken.peak_bytes - bytes_in_hand(mel, manifest.hop_length)


def _peak_finding(model: BenchModel, figure: str, name: str, peak_bytes: int) -> Finding:
    goal = model.case.figures[figure]
    return Finding(
        name=name, value=peak_bytes / _MB, unit="MB", goal=goal, case=model.case.key, figure=figure
    )
