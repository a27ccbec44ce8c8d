"""`voirs-vocoder quantize`: INT8 graphs for an artifact that exists."""

from __future__ import annotations

from pathlib import Path

import click

from voirs_vocoder.calibration.config import Int8Config, RangeMethod, Rounding
from voirs_vocoder.export.cli import options
from voirs_vocoder.export.cli.command import Command, option
from voirs_vocoder.export.cli.recordings_options import recordings_options
from voirs_vocoder.export.cli.summary import print_graphs
from voirs_vocoder.runtime.artifact.manifest import Target
from voirs_vocoder.runtime.progress import ConsoleProgress

__all__ = ["command"]


@click.command(
    "quantize",
    cls=Command,
    short_help="Add INT8 graphs to an artifact.",
    examples=(
        "voirs-vocoder quantize hifigan-v1 --calibration speech/train",
        "voirs-vocoder quantize hifigan-v1 --calibration speech/train --target cpu --max-float-share 0",
    ),
)
@options.artifact_argument
@options.calibration_option(required=True)
@recordings_options
@option(
    "--target",
    "targets",
    type=click.Choice(("cpu", "tensorrt")),
    multiple=True,
    show_default="both",
    help="Kind of backend to make an INT8 graph for: `cpu` for ONNX Runtime on CPUs, `tensorrt` for TensorRT and "
    "OpenVINO. Repeat it for more.",
)
@option(
    "--max-float-share",
    metavar="SHARE",
    type=click.FloatRange(0.0, 1.0),
    default=0.06,
    show_default=True,
    help="Share of the convolutions' arithmetic that may stay float where quantization makes most noise. 0 skips "
    "the search for that noise, which takes most of the time; the shipped HiFi-GAN V2 then has an SNR of 25.9 dB "
    "instead of 29.1.",
)
@options.quantization_options
@options.force_option("Replace existing INT8 graphs, and remove the engines built from them.")
def command(
    root: Path,
    calibration: Path,
    targets: tuple[Target, ...],
    max_float_share: float,
    ranges: RangeMethod,
    bias_correction: bool,
    rounding: Rounding,
    force: bool,
) -> None:
    """Add INT8 graphs to the artifact DIR, one for CPUs and one for TensorRT, which OpenVINO runs too.

    They are made from the FP32 graphs, without torch and without the checkpoint. Validate the artifact afterwards, on
    recordings that are not in the calibration folder.
    """
    from voirs_vocoder.export.precisions import MakeOptions
    from voirs_vocoder.export.quantize import quantize_artifact

    config = Int8Config(
        max_float_share=max_float_share, ranges=ranges, bias_correction=bias_correction, rounding=rounding
    )
    chosen = MakeOptions(targets=tuple(dict.fromkeys(targets)) or None, int8=config)

    with ConsoleProgress() as progress:
        artifact = quantize_artifact(root, calibration, options=chosen, force=force, progress=progress)
    print_graphs(tuple(graph for graph in artifact.manifest.graphs if graph.precision == "int8"))
