"""`voirs-vocoder build-engine`: TensorRT engines for an artifact that exists."""

from __future__ import annotations

from pathlib import Path

import click

from voirs_vocoder.export.cli import options
from voirs_vocoder.export.cli.command import Command, option
from voirs_vocoder.export.cli.engine_profiles import checked_engine_config
from voirs_vocoder.export.cli.summary import print_engines
from voirs_vocoder.runtime.artifact.manifest import Precision
from voirs_vocoder.runtime.artifact.reading import Artifact
from voirs_vocoder.runtime.progress import ConsoleProgress

__all__ = ["command"]


@click.command(
    "build-engine",
    cls=Command,
    short_help="Build TensorRT engines from an artifact's graphs.",
    examples=(
        "voirs-vocoder build-engine hifigan-v1 --backend tensorrt-rtx --precision fp16 \\",
        "    --compute-capability 86 --compute-capability 120",
    ),
)
@options.artifact_argument
@options.backend_option(required=True)
@options.precisions_option("Precision of the graphs to build from. Repeat it for more.")
@options.compute_capability_option
@option(
    "--max-frames",
    metavar="N",
    type=click.IntRange(min=1),
    show_default="4096",
    group=options.ENGINES,
    help="Number of mel frames of the longest input that the engine takes.",
)
@option(
    "--max-batch",
    metavar="N",
    type=click.IntRange(min=1),
    default=1,
    group=options.ENGINES,
    help="Largest number of utterances per batch.",
)
@options.force_option("Replace existing engines of the same precision, backend and GPUs.")
def command(
    root: Path,
    backend: str,
    precisions: tuple[Precision, ...],
    compute_capabilities: tuple[int, ...],
    max_frames: int | None,
    max_batch: int,
    force: bool,
) -> None:
    """Build TensorRT engines from the graphs of the artifact DIR.

    A tensorrt-rtx engine is built without a GPU and runs on every compute capability that it was built for. A tensorrt
    engine runs on the model of GPU that it was built on. Both load only in the version of the library that built them.
    """
    Artifact.open(root)
    config = checked_engine_config(backend, compute_capabilities, max_batch=max_batch, max_frames=max_frames)

    from voirs_vocoder.export.engines import build_engines

    with ConsoleProgress() as progress:
        artifact = build_engines(
            root, config, tuple(dict.fromkeys(precisions)), force=force, progress=progress
        )
    print_engines(artifact.manifest.engines)
