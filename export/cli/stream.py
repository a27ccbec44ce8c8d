"""`voirs-vocoder stream`: live audio or mel frames in, audio out as soon as it is complete."""

from __future__ import annotations

import contextlib
import dataclasses
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Protocol, Self

import click
import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.export.cli import options
from voirs_vocoder.export.cli.command import Command, option
from voirs_vocoder.export.cli.finishing import Finishing
from voirs_vocoder.export.cli.input import mel_source, pcm_blocks, standard_input
from voirs_vocoder.export.cli.recordings_options import recordings_options
from voirs_vocoder.export.cli.vocoding_options import refuse_contradictions, vocoding_options
from voirs_vocoder.runtime.artifact.reading import Artifact
from voirs_vocoder.runtime.artifact.tags import tags_of_artifact
from voirs_vocoder.runtime.audio import AUDIO_FORMATS, StreamEncoder
from voirs_vocoder.runtime.audio.formats import SampleFormat
from voirs_vocoder.runtime.audio.playback import Player
from voirs_vocoder.runtime.audio.write import AudioWriter
from voirs_vocoder.runtime.config import SessionConfig, VocodingConfig
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.mel import MelRangeWarning
from voirs_vocoder.runtime.mel.convention import MelConvention
from voirs_vocoder.runtime.mel.transform import mel_blocks
from voirs_vocoder.runtime.printing import output_errors, remark, standard_output
from voirs_vocoder.runtime.streaming import StreamingConfig, StreamStatistics
from voirs_vocoder.runtime.tuned import Objective, tuned_setting
from voirs_vocoder.runtime.vocoder import Vocoder

__all__ = ["command"]

_PIPE = Path("-")
_STREAM = "Stream"
# A stream prepares its chunks when it opens; of the buckets of `vocode`, which it does not run in, one is enough.
_WARM = (1,)


@click.command(
    "stream",
    cls=Command,
    short_help="Turn live audio or mel frames into audio as they arrive.",
    examples=(
        "voirs-vocoder stream hifigan-v2 speech.wav -o copy.wav --chunk-frames 8",
        "voirs-vocoder stream hifigan-v2 mel.npy --play --latency-ms 60",
        "voirs-vocoder stream hifigan-v2 speech.wav -o - --format opus --effects speech > copy.opus",
        "arecord -t raw -f S16_LE -r 22050 | voirs-vocoder stream hifigan-v2 - -o - | \\",
        "    aplay -t raw -f S16_LE -r 22050",
    ),
)
@options.artifact_argument
@click.argument("source_file", metavar="IN", type=click.Path(path_type=Path, allow_dash=True))
@option(
    "-o",
    "--output",
    metavar="OUT",
    type=click.Path(path_type=Path, allow_dash=True),
    group=options.OUTPUT,
    help="Audio file to write, or - for standard output.",
)
@option(
    "--format",
    "format_name",
    type=click.Choice(tuple(AUDIO_FORMATS)),
    show_default="pcm",
    group=options.OUTPUT,
    help="Format of the audio on standard output; that of a file follows from its ending.",
)
@options.bits_option
@options.effects_option
@option(
    "--chunk-frames",
    metavar="N",
    type=click.IntRange(min=1),
    show_default="16",
    group=_STREAM,
    help="Number of mel frames per chunk, collected before the graph runs.",
)
@option(
    "--latency-ms",
    metavar="M",
    type=float,
    show_default="the whole look-ahead of the model",
    group=_STREAM,
    help="Largest latency from a mel frame to its audio, in milliseconds. Frames that cannot be awaited are "
    "extrapolated, and the audio then differs from that of `vocode`.",
)
@option(
    "--look-ahead-frames",
    metavar="N",
    type=click.IntRange(min=0),
    group=_STREAM,
    help="Number of mel frames to await after a chunk; the frames behind them are extrapolated.",
)
@option(
    "--low-latency",
    is_flag=True,
    group=_STREAM,
    help="Await the look-ahead that `tune` chose, instead of the whole look-ahead of the model.",
)
@option("--adaptive", is_flag=True, group=_STREAM, help="Make chunks larger while deadlines are missed.")
@option("--play", is_flag=True, group=options.OUTPUT, help="Play the audio on this machine.")
@recordings_options
@options.public_key_option()
@options.provider_option
@options.precision_option
@options.threads_option
@options.tuned_option
@options.warm_option
@options.tf32_option
@options.bf16_floats_option
@options.gpu_tuning_option("File of the fastest choices on this GPU, which `tune --only gpu` writes.")
@options.engine_cache_option
@vocoding_options
def command(
    root: Path,
    source_file: Path,
    output: Path | None,
    format_name: str | None,
    bits: SampleFormat | None,
    effects: str | None,
    chunk_frames: int | None,
    latency_ms: float | None,
    look_ahead_frames: int | None,
    low_latency: bool,
    adaptive: bool,
    play: bool,
    public_key: Path | None,
    provider: str,
    precision: str,
    threads: int | None,
    tuned: Objective | None,
    warm: bool,
    tf32: bool,
    bf16_floats: bool,
    gpu_tuning: Path | None,
    engine_cache: Path | None,
    **settings: Any,
) -> None:
    """Turn IN into audio with the artifact DIR, chunk by chunk, as it arrives.

    IN is a recording, a mel in .npy format, or - for raw PCM on standard input: 16-bit, little-endian, mono, at the
    sample rate of the artifact. The audio equals that of `vocode`, delayed by the look-ahead of the model; no frame is
    computed twice. The timing of the stream is printed on standard error.
    """
    if output is None and not play:
        raise InputError("a stream must go somewhere; give --output OUT, --play, or both")
    if format_name is not None and output != _PIPE:
        raise InputError(f"--format is for standard output, -o -; a file goes by its ending, got {output}")
    if source_file.suffix.lower() != ".npy":
        # The mel of a recording is computed here, in the right convention.
        warnings.simplefilter("ignore", MelRangeWarning)
    artifact = Artifact.open(root, public_key=public_key)
    convention = artifact.manifest.mel
    finishing = Finishing(effects, artifact, check=False)
    size = {} if chunk_frames is None else {"chunk_frames": chunk_frames}
    most = max(chunk_frames or 0, StreamingConfig().max_chunk_frames)
    streaming = StreamingConfig(
        **size,
        adaptive=adaptive,
        max_chunk_frames=most,
        look_ahead_frames=look_ahead_frames,
        low_latency=low_latency,
        latency_ms=latency_ms,
    )
    config = VocodingConfig(**settings)
    refuse_contradictions(click.get_current_context())
    session = SessionConfig(threads=threads)
    if tuned is not None:
        setting = tuned_setting(artifact, tuned)
        provider, precision, session = setting.provider, setting.precision, setting.session
    session = dataclasses.replace(
        session,
        warm=_WARM if warm else False,
        tf32=tf32,
        bf16_floats=bf16_floats or session.bf16_floats,
        gpu_tuning=gpu_tuning,
        engine_cache=engine_cache,
    )
    with (
        Vocoder.load(
            root, provider=provider, precision=precision, session=session, public_key=public_key
        ) as vocoder,
        vocoder.open_stream(config, streaming) as stream,
        contextlib.ExitStack() as sinks,
    ):
        targets = [
            sinks.enter_context(sink)
            for sink in _sinks(output, play, format_name, bits, finishing, artifact, precision)
        ]
        started_s = time.perf_counter()
        for mel in _mel_chunks(source_file, convention, streaming.chunk_frames or 1):
            _write(targets, finishing.process(stream.push(mel).samples))
        _write(targets, finishing.process(stream.flush().samples))
        _write(targets, finishing.finish())
        elapsed_s = time.perf_counter() - started_s
        delay_samples = stream.delay_samples + finishing.latency_samples
        remark(_summary(stream.statistics, delay_samples, vocoder, precision, elapsed_s))


class _Sink(Protocol):
    """Where audio goes."""

    def write(self, samples: NDArray[np.float32]) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class _Pipe:
    """Encoded audio, written as it comes."""

    def __init__(self, pipe: BinaryIO, encoder: StreamEncoder) -> None:
        self._pipe = pipe
        self._encoder = encoder

    def write(self, samples: NDArray[np.float32]) -> None:
        self._send(self._encoder.encode(samples))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The pipe is not ours to close."""
        if kind is None:
            self._send(self._encoder.finish())

    def _send(self, data: bytes) -> None:
        with output_errors():
            self._pipe.write(data)
            self._pipe.flush()


def _sinks(
    output: Path | None,
    play: bool,
    format_name: str | None,
    bits: SampleFormat | None,
    finishing: Finishing,
    artifact: Artifact,
    precision: str,
) -> Iterator[_Sink]:
    rate, channels = artifact.manifest.sample_rate, finishing.channels
    tags = tags_of_artifact(artifact, precision)
    if play:
        yield Player(rate, channels)
    if output == _PIPE:
        encoder = StreamEncoder(format_name or "pcm", rate, channels, samples=bits, tags=tags)
        yield _Pipe(standard_output(), encoder)
    elif output is not None:
        yield AudioWriter(output, rate, channels, bits=bits, tags=tags)


def _write(targets: list[_Sink], samples: NDArray[np.float32]) -> None:
    if samples.size:
        for target in targets:
            target.write(samples)


def _mel_chunks(path: Path, convention: MelConvention, frames: int) -> Iterator[NDArray[np.float32]]:
    if path == _PIPE:
        yield from mel_blocks(pcm_blocks(standard_input(), frames * convention.hop_length), convention)
        return
    source = mel_source(path, convention)
    for start in range(0, source.frames, frames):
        yield source.read(start, start + frames)


def _summary(
    statistics: StreamStatistics, delay_samples: int, vocoder: Vocoder, precision: str, elapsed_s: float
) -> str:
    metadata = vocoder.metadata
    duration_s = statistics.samples / metadata.sample_rate
    parts = [f"{duration_s:.2f} s of audio in {elapsed_s:.2f} s"]
    parts.append(f"look-ahead {1e3 * delay_samples / metadata.sample_rate:.0f} ms")
    if statistics.first_audio_ms is not None:
        parts.append(f"first audio after {statistics.first_audio_ms:.0f} ms")
    if statistics.compute_p50_ms is not None:
        parts.append(
            f"per chunk {statistics.compute_p50_ms:.1f} ms (p50), {statistics.compute_p99_ms:.1f} ms (p99)"
        )
    parts.append(f"{statistics.deadline_misses} of {statistics.chunks} deadlines missed")
    parts.append(f"{precision} on {metadata.provider} ({metadata.backend})")
    return ", ".join(parts)
