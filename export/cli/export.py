"""`voirs-vocoder export`: a checkpoint becomes an artifact."""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

from voirs_vocoder.calibration.config import Int8Config, RangeMethod, Rounding
from voirs_vocoder.export.cli import options
from voirs_vocoder.export.cli.command import Command, option
from voirs_vocoder.export.cli.engine_profiles import checked_engine_config
from voirs_vocoder.export.cli.recordings_options import recordings_options
from voirs_vocoder.export.cli.summary import print_summary
from voirs_vocoder.export.cli.validate import judge_artifact
from voirs_vocoder.export.precisions import MakeOptions, get_precision
from voirs_vocoder.reference_models.registry import FAMILIES
from voirs_vocoder.runtime.artifact.manifest import Precision
from voirs_vocoder.runtime.effects import load_chain
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.mel.convention_file import load_convention
from voirs_vocoder.runtime.printing import say
from voirs_vocoder.runtime.progress import ConsoleProgress

__all__ = ["command"]


@click.command(
    "export",
    cls=Command,
    short_help="Make an artifact from a checkpoint.",
    help=(
        "Export a checkpoint of FAMILY to an artifact.\n\n"
        f"FAMILY is {', '.join(f'{row.name} ({row.title})' for row in FAMILIES.values())}, one that an installed "
        "package brings, or auto, which recognizes the family from the files.\n\n"
        "MODEL is a checkpoint as its trainer wrote it, or a folder or tar archive of the checkpoint and its "
        "configuration; it may be given by --checkpoint instead.\n\n"
        "Every graph is compared with PyTorch before anything is written. The artifact appears complete or not at all."
    ),
    examples=(
        "voirs-vocoder export auto speecht5_hifigan/ --output speecht5",
        "voirs-vocoder export hifigan --checkpoint g_02500000 --config config_v1.json --output hifigan-v1",
        "voirs-vocoder export hifigan --checkpoint g_02500000 --output hifigan-v1 --precision fp32 \\",
        "    --precision fp16 --precision int8 --calibration speech/train --speech speech/held-out",
        "voirs-vocoder export waveglow --checkpoint waveglow_256channels_universal_v5.pt \\",
        "    --config config.json --output waveglow",
        "voirs-vocoder export hifigan --checkpoint generator.pth --output hifigan-coqui \\",
        "    --mel-convention coqui-22k",
        "voirs-vocoder export diffwave --checkpoint diffwave-ljspeech-22kHz.pt --config params.json \\",
        "    --output diffwave --sampler-graph",
    ),
)
@click.argument("family")
@click.argument("model", required=False, type=click.Path(path_type=Path))
@options.checkpoint_options(
    required=False, help_text="Trained weights, in place of MODEL: a file, a folder or a tar archive."
)
@options.output_option("DIR", "Directory of the artifact to make.")
@options.mel_convention_option(
    "Mel convention of the model's input, in place of the one that its configuration states: an id, or a .json or "
    ".toml file of the fields of MelConvention."
)
@options.precisions_option(
    "Precision of the graphs to make. Repeat it for more. FP32 is always made; INT8 is made for CPUs and for TensorRT; "
    "BF16 runs in OpenVINO on CPUs with BF16 instructions."
)
@options.calibration_option(required=False)
@recordings_options
@options.quantization_options
@option(
    "--normalization/--no-normalization",
    "normalize",
    default=True,
    group=options.MODEL,
    help="Take the statistics that the model's trainer normalizes mels by into the graphs, or take mels as they are.",
)
@option(
    "--licence",
    metavar="SPDX",
    group=options.OUTPUT,
    help="License of the weights, such as MIT or CC-BY-4.0.",
)
@options.backend_option(required=False)
@options.compute_capability_option
@options.speech_option(
    required=False, help_text="Folder of recordings to validate the artifact on when it is made."
)
@option(
    "--sampler-graph",
    is_flag=True,
    group=options.GRAPHS,
    help="Make a graph of the whole default sampling of a diffusion model as well.",
)
@option(
    "--stream/--no-stream",
    default=True,
    group=options.GRAPHS,
    help="Make stream graphs as well, for live input; they double the size of the artifact.",
)
@option(
    "--batch/--no-batch",
    default=True,
    group=options.GRAPHS,
    help="Make batch graphs as well, which run inputs of any length in few fixed shapes, as a GPU and OpenVINO need.",
)
@option(
    "--effects",
    metavar="CHAIN",
    group=options.OUTPUT,
    help="Chain of audio effects to keep in the artifact, for `vocode --effects artifact`: a preset or a .toml file.",
)
@options.force_option("Replace an existing artifact.")
def command(
    family: str,
    model: Path | None,
    checkpoint: Path | None,
    config: Path | None,
    output: Path,
    mel_convention: str | None,
    precisions: tuple[Precision, ...],
    calibration: Path | None,
    ranges: RangeMethod,
    bias_correction: bool,
    rounding: Rounding,
    normalize: bool,
    licence: str | None,
    backend: str | None,
    compute_capabilities: tuple[int, ...],
    speech: Path | None,
    sampler_graph: bool,
    stream: bool,
    batch: bool,
    effects: str | None,
    force: bool,
) -> None:
    """Run `voirs-vocoder export`."""
    source = checkpoint or model
    if source is None or (model is not None and checkpoint is not None):
        raise click.UsageError("give the checkpoint once, as MODEL or by --checkpoint")
    if compute_capabilities and backend is None:
        raise click.UsageError("--compute-capability needs the --backend that builds engines; give both")
    needing = [name for name in precisions if get_precision(name).needs_calibration]
    if needing and calibration is None:
        raise click.UsageError(
            f"--precision {needing[0]} needs --calibration DIR with recordings to calibrate on"
        )
    parameters = click.get_current_context().get_parameter_source
    if "int8" not in precisions and ParameterSource.COMMANDLINE in map(
        parameters, ("ranges", "rounding", "bias_correction")
    ):
        raise click.UsageError(
            "--ranges, --rounding and --bias-correction are for --precision int8; give it, or leave them out"
        )
    engine_config = checked_engine_config(backend, compute_capabilities) if backend else None
    if speech is not None and not speech.is_dir():
        raise InputError(f"{speech}: --speech must be a folder of recordings, there is none; check the path")

    from voirs_vocoder.export.pipeline import ExportRequest, export_artifact

    request = ExportRequest(
        family=family,
        checkpoint=source,
        config=config,
        output=output,
        precisions=tuple(dict.fromkeys(precisions)),
        calibration=calibration,
        licence=licence,
        normalize=normalize,
        sampler_graph=sampler_graph,
        stream=stream,
        batch=batch,
        mel_convention=None if mel_convention is None else load_convention(mel_convention),
        effects=None if effects is None else load_chain(effects),
        force=force,
        options=MakeOptions(
            int8=Int8Config(ranges=ranges, rounding=rounding, bias_correction=bias_correction)
        ),
    )
    with ConsoleProgress() as progress:
        artifact = export_artifact(request, progress)
        if engine_config is not None:
            from voirs_vocoder.export.engines import build_engines

            artifact = build_engines(output, engine_config, request.precisions, progress=progress)
    print_summary(artifact)
    if speech is not None:
        say()
        judge_artifact(output, speech, checkpoint=source, config=config, json_file=None)
