"""`voirs-vocoder vocode`: synthesizes audio from a recording or a mel, window by window."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.export.cli import options
from voirs_vocoder.export.cli.command import Command
from voirs_vocoder.export.cli.finishing import Finishing
from voirs_vocoder.export.cli.input import mel_source
from voirs_vocoder.export.cli.recordings_options import recordings_options
from voirs_vocoder.export.cli.vocoding_options import (
    quality_options,
    refuse_contradictions,
    vocoding_options,
    window_options,
)
from voirs_vocoder.runtime.artifact.reading import Artifact
from voirs_vocoder.runtime.artifact.tags import tags_of_artifact
from voirs_vocoder.runtime.audio.formats import SampleFormat
from voirs_vocoder.runtime.audio.write import AudioWriter
from voirs_vocoder.runtime.config import SessionConfig, VocodingConfig
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.mel import MelSource, RangeWatch
from voirs_vocoder.runtime.mel.convention import MelConvention
from voirs_vocoder.runtime.mel.convention_file import load_convention
from voirs_vocoder.runtime.printing import mention, remark
from voirs_vocoder.runtime.quality import PerformanceMode, QualityLevel, estimate_cost, quality_plan
from voirs_vocoder.runtime.tuned import Objective, tuned_setting
from voirs_vocoder.runtime.vocoder import Vocoder

__all__ = ["command"]

_DITHER_SEED = 0


@click.command(
    "vocode",
    cls=Command,
    short_help="Turn a recording or a mel into audio.",
    examples=(
        "voirs-vocoder vocode hifigan-v1 speech.wav -o copy.wav",
        "voirs-vocoder vocode hifigan-v1 mel.npy -o speech.flac --precision int8 --bits 24",
        "voirs-vocoder vocode hifigan-v1 speech.wav -o copy.m4a --effects speech --speed 1.1 --check",
    ),
)
@options.artifact_argument
@click.argument("source_file", metavar="IN", type=click.Path(path_type=Path))
@options.output_option("OUT", "Audio file to write: .wav, .flac, .ogg, .opus, .mp3, .m4a, .pcm or .raw.")
@recordings_options
@options.public_key_option()
@options.provider_option
@options.precision_option
@options.bits_option
@options.dither_option
@options.effects_option
@options.check_option
@options.threads_option
@options.tuned_option
@options.warm_option
@options.tf32_option
@options.bf16_floats_option
@options.gpu_tuning_option("File of the fastest choices on this GPU, which `tune --only gpu` writes.")
@options.engine_cache_option
@window_options
@options.mel_convention_option(
    "Mel convention that IN is known to have, as for `export`; refused unless the artifact takes it."
)
@quality_options
@vocoding_options
def command(
    root: Path,
    source_file: Path,
    output: Path,
    public_key: Path | None,
    provider: str,
    precision: str,
    bits: SampleFormat | None,
    dither: bool,
    effects: str | None,
    check: bool,
    threads: int | None,
    tuned: Objective | None,
    warm: bool,
    tf32: bool,
    bf16_floats: bool,
    gpu_tuning: Path | None,
    engine_cache: Path | None,
    window_frames: int | None,
    mel_convention: str | None,
    quality: QualityLevel | None,
    performance: PerformanceMode | None,
    estimate: bool,
    **settings: Any,
) -> None:
    """Turn IN, a recording or a mel spectrogram in .npy format, into audio with the artifact DIR.

    Input of any length is read, vocoded and written window by window, in bounded memory. OUT is created or replaced
    only when it is complete.
    """
    artifact = Artifact.open(root, public_key=public_key)
    convention = artifact.manifest.mel
    if mel_convention is not None:
        _require_convention(mel_convention, convention)
    source = _WatchedSource(mel_source(source_file, convention))
    refuse_contradictions(click.get_current_context())
    session = SessionConfig(threads=threads)
    if tuned is not None:
        setting = tuned_setting(artifact, tuned)
        provider, precision, session = setting.provider, setting.precision, setting.session
    elif quality is not None or performance is not None:
        plan = quality_plan(artifact, quality or "high", performance or "balanced", provider)
        session = plan.session
        if quality is not None:
            precision = plan.precision
            settings |= {"sampler": plan.sampler, "steps": plan.steps}
            remark(f"quality {quality}: {'; '.join(plan.reasons)}")
    session = dataclasses.replace(
        session,
        warm=warm,
        tf32=tf32,
        bf16_floats=bf16_floats or session.bf16_floats,
        gpu_tuning=gpu_tuning,
        engine_cache=engine_cache,
    )
    finishing = Finishing(effects, artifact, check=check)
    writer = AudioWriter(
        output,
        convention.sample_rate,
        finishing.channels,
        bits=bits,
        dither_seed=_DITHER_SEED if dither else None,
        tags=tags_of_artifact(artifact, precision),
    )
    config = VocodingConfig(window_frames=window_frames, **settings)
    with Vocoder.load(
        root, provider=provider, precision=precision, session=session, public_key=public_key
    ) as vocoder:
        if quality is not None or estimate:
            cost = estimate_cost(vocoder, artifact, config, source.frames, session)
            remark(f"expected: RTF {cost.rtf:.4f}, {cost.peak_bytes / 1e6:.0f} MB")
        if estimate:
            return
        started_s = time.perf_counter()
        samples = 0
        with writer:
            for audio in vocoder.vocode_source(source, config):
                writer.write(finishing.process(audio.samples))
                samples += audio.samples.shape[1]
            writer.write(finishing.finish())
        elapsed_s = time.perf_counter() - started_s
        metadata = vocoder.metadata
    hint = source.range.hint()
    if hint is not None and source_file.suffix.lower() == ".npy":
        remark(f"warning: {hint}")
    duration_s = samples / metadata.sample_rate
    saturated = f", {writer.saturated_samples} samples saturated" if writer.saturated_samples else ""
    mention(
        f"{click.format_filename(output)}: {duration_s:.2f} s of audio in {elapsed_s:.2f} s "
        f"(RTF {elapsed_s / duration_s:.4f}), {precision} on {metadata.provider} ({metadata.backend}){saturated}"
    )
    finishing.judge()


class _WatchedSource:
    """A `MelSource` that remembers the range of what was read."""

    def __init__(self, source: MelSource) -> None:
        self._source = source
        self.range = RangeWatch(source.convention)

    @property
    def frames(self) -> int:
        return self._source.frames

    @property
    def convention(self) -> MelConvention:
        return self._source.convention

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        values = self._source.read(start, stop)
        self.range.add(values)
        return values


def _require_convention(name: str, convention: MelConvention) -> None:
    if name != convention.id and load_convention(name) != convention:
        raise InputError(
            f"the artifact takes mel convention {convention.id!r}, got --mel-convention {name}; "
            "compute the mel in its convention, or use an artifact of that one"
        )
