"""What the project's benchmark measures besides speed: starting, memory, single-core cost, quality."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

from tests.benchmark.contenders import our_session
from voirs_vocoder.export.bench.artifact import bench_mel, bytes_in_hand
from voirs_vocoder.export.bench.fresh_process import python_command, run_fresh, speak_fresh
from voirs_vocoder.export.bench.paired import Estimate, interleaved_times, median_estimate, ratio_estimate
from voirs_vocoder.runtime import Artifact, Vocoder, mel_spectrogram, read_audio
from voirs_vocoder.runtime.audio import mono, resample
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.metrics import lsd

__all__ = [
    "command_line_peak_bytes",
    "copy_synthesis_lsd",
    "first_second",
    "single_core_rtf",
    "vocode_peak_bytes",
    "write_long_recording",
]

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


def first_second(artifact: Artifact, folder: Path, threads: int, pairs: int) -> tuple[Estimate, Estimate]:
    """From nothing to a second of audio: a fresh Python that imports, loads and speaks.

    Args:
        artifact: Has an FP32 graph.
        folder: For the mel.
        threads: Of the session.
        pairs: Fresh processes of each kind.

    Returns:
        Our seconds, and their ratio to those of ten lines of bare ONNX Runtime with the same graph.
    """
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
    return median_estimate(times["ours"]), ratio_estimate(times["ours"], times["bare"])


def vocode_peak_bytes(artifact: Artifact, folder: Path, seconds: float, threads: int) -> int:
    """Peak resident memory of a fresh process that vocodes, less the mel and the audio, which are the caller's.

    Args:
        artifact: Has an FP32 graph.
        folder: For the mel.
        seconds: Length of the utterance.
        threads: Of the session.
    """
    manifest = artifact.manifest
    path = folder / "long.npy"
    mel = bench_mel(manifest.mel, round(seconds * manifest.sample_rate / manifest.hop_length))
    np.save(path, mel)
    spoken = speak_fresh(artifact.root, "cpu", "fp32", threads, path)
    return spoken.peak_bytes - bytes_in_hand(mel, manifest.hop_length)


def write_long_recording(source: Path, target: Path, seconds: float) -> None:
    """Repeat the recordings of a folder, one after the other, until a length is reached.

    Args:
        source: Holds .flac recordings of one rate, mono.
        target: A .wav file, 16 bits.
        seconds: Its length.

    Raises:
        InputError: There are no recordings.
    """
    recordings = [read_audio(path) for path in sorted(source.glob("*.flac"))]
    if not recordings:
        raise InputError(f"{source}: holds no .flac recordings; run the benchmark in the project's folder")
    sample_rate = recordings[0].sample_rate
    left = round(seconds * sample_rate)
    with soundfile.SoundFile(target, "w", samplerate=sample_rate, channels=1, subtype="PCM_16") as sound:
        while left > 0:
            for recording in recordings:
                sound.write(recording.samples[0, :left])
                left -= min(left, recording.samples.shape[1])


def command_line_peak_bytes(artifact: Artifact, recording: Path, output: Path, *options: str) -> int:
    """Peak resident memory of `voirs-vocoder vocode` on a recording, with further options."""
    arguments: tuple[str | Path, ...] = ("vocode", artifact.root, recording, "-o", output, *options)
    return run_fresh(python_command(_COMMAND_LINE, *arguments)).peak_bytes


def single_core_rtf(artifact: Artifact, frames: int, pairs: int) -> dict[str, Estimate]:
    """Seconds of one core per second of audio, by precision: FP32, and INT8 where the artifact has it.

    Args:
        artifact: What is measured.
        frames: Length of the utterance.
        pairs: Rounds.
    """
    manifest = artifact.manifest
    batch = bench_mel(manifest.mel, frames)[np.newaxis]
    calls = {"fp32": our_session(artifact, "fp32", None, batch, 1)}
    if any(graph.target == "cpu" for graph in manifest.graphs):
        calls["int8"] = our_session(artifact, "int8", "cpu", batch, 1)
    audio_s = frames * manifest.hop_length / manifest.sample_rate
    times = interleaved_times(calls, pairs=pairs)
    return {name: median_estimate(values / audio_s) for name, values in times.items()}


def copy_synthesis_lsd(artifact: Artifact, speech: Path) -> float:
    """Mean log-spectral distance between recordings and what the vocoder makes of their mels.

    Args:
        artifact: Has an FP32 graph.
        speech: Folder of .flac recordings.

    Raises:
        InputError: There are none.
    """
    distances = []
    with Vocoder.load(artifact.root) as vocoder:
        rate, convention = vocoder.metadata.sample_rate, vocoder.metadata.convention
        for path in sorted(speech.glob("*.flac")):
            audio = read_audio(path)
            samples = resample(mono(audio.samples), audio.sample_rate, rate)
            copy = vocoder.vocode(mel_spectrogram(samples, rate, convention)).samples[0]
            length = min(samples.size, copy.size)
            distances.append(lsd(samples[:length], copy[:length]))
    if not distances:
        raise InputError(f"{speech}: holds no .flac recordings; run the benchmark in the project's folder")
    return float(np.mean(distances))
