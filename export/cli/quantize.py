"""`voirs-vocoder quantize`: INT8 graphs for an artifact that exists."""

from __future__ import annotations

from pathlib import Path

import click

from voirs_vocoder.export.cli import options
from voirs_vocoder.export.cli.console import ConsoleProgress
from voirs_vocoder.export.cli.summary import print_graphs

__all__ = ["command"]


@click.command(
    "quantize",
    cls=options.ExampleCommand,
    short_help="Add INT8 graphs to an artifact.",
    examples=("voirs-vocoder quantize hifigan-v1 --calibration speech/train",),
)
@options.artifact_argument
@options.calibration_option(required=True)
@options.force_option("Replace INT8 graphs that are there, and drop the engines built from them.")
def command(root: Path, calibration: Path, force: bool) -> None:
    """Add INT8 graphs to the artifact DIR, one for CPUs and one for TensorRT.

    They are made from its FP32 graphs: neither torch nor the checkpoint is needed. Validate afterwards, on recordings
    that were not calibrated on.
    """
    from voirs_vocoder.export.quantize import quantize_artifact

    with ConsoleProgress() as progress:
        artifact = quantize_artifact(root, calibration, force=force, progress=progress)
    print_graphs(tuple(graph for graph in artifact.manifest.graphs if graph.precision == "int8"))
