"""Arguments and options that several commands share, each declared once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from voirs_vocoder.calibration.config import RANGE_METHODS, ROUNDINGS, Int8Config
from voirs_vocoder.export.cli.command import option
from voirs_vocoder.export.precisions import precision_names
from voirs_vocoder.runtime.providers import AUTO, provider_names
from voirs_vocoder.runtime.tuned import OBJECTIVES

__all__ = [
    "ENGINES",
    "GRAPHS",
    "MODEL",
    "OUTPUT",
    "SPEECH",
    "KnownName",
    "artifact_argument",
    "backend_option",
    "bf16_floats_option",
    "bits_option",
    "calibration_option",
    "check_option",
    "checkpoint_options",
    "compute_capability_option",
    "dither_option",
    "effects_option",
    "engine_cache_option",
    "force_option",
    "gpu_tuning_option",
    "json_file_option",
    "json_flag",
    "mel_convention_option",
    "output_option",
    "precision_option",
    "precisions_option",
    "provider_option",
    "public_key_option",
    "quantization_options",
    "report_option",
    "speech_option",
    "tf32_option",
    "threads_option",
    "tuned_option",
    "warm_option",
]

_Function = Callable[..., Any]
_Decorator = Callable[[_Function], _Function]

# Titles of groups in the help of commands with many options.
MODEL = "Model and provider"
GRAPHS = "Graphs"
OUTPUT = "Output"
SPEECH = "Recordings"
ENGINES = "TensorRT engines"

_PATH = click.Path(path_type=Path)


def artifact_argument(function: _Function) -> _Function:
    """The artifact's directory, `root`."""
    return click.argument("root", metavar="DIR", type=_PATH)(function)


def calibration_option(*, required: bool) -> _Decorator:
    """`--calibration DIR`."""
    return option(
        "--calibration",
        metavar="DIR",
        type=_PATH,
        required=required,
        group=SPEECH,
        help="Folder of recordings, or of mels in .npy format, that INT8 is calibrated on.",
    )


def mel_convention_option(help_text: str) -> _Decorator:
    """`--mel-convention FILE|ID`."""
    return option("--mel-convention", metavar="FILE|ID", group=MODEL, help=help_text)


def speech_option(*, required: bool, help_text: str) -> _Decorator:
    """`--speech DIR`."""
    return option("--speech", metavar="DIR", type=_PATH, required=required, group=SPEECH, help=help_text)


def checkpoint_options(*, required: bool, help_text: str) -> _Decorator:
    """`--checkpoint FILE` and `--config FILE`."""

    def decorate(function: _Function) -> _Function:
        config = option(
            "--config",
            metavar="FILE",
            type=_PATH,
            show_default="the one beside the checkpoint, such as config.json, config.yml or params.json",
            group=MODEL,
            help="Configuration of the model as its trainer wrote it: JSON or YAML.",
        )
        checkpoint = option(
            "--checkpoint", metavar="FILE", type=_PATH, required=required, group=MODEL, help=help_text
        )
        return checkpoint(config(function))

    return decorate


class KnownName(click.Choice):  # type: ignore[type-arg] # click < 8.2 has no type argument here
    """A name of a table that can grow, such as that of providers; the names are read at each use.

    Args:
        names: Returns the names that are allowed.
    """

    def __init__(self, names: Callable[[], Sequence[str]]) -> None:
        """Read no name yet."""
        self._names = names
        super().__init__(())

    @property
    def choices(self) -> tuple[str, ...]:
        """The names that are allowed now."""
        return tuple(self._names())

    @choices.setter
    def choices(self, names: Sequence[str]) -> None:
        """Ignore the names that click's constructor sets."""


def provider_option(function: _Function) -> _Function:
    """`--provider`."""
    return option(
        "--provider",
        type=KnownName(lambda: (*provider_names(), AUTO)),
        default="cpu",
        group=MODEL,
        help="Provider that runs the graph. Only `auto` chooses one, and prints which.",
    )(function)


def output_option(metavar: str, help_text: str) -> _Decorator:
    """`-o`, `--output`, which must be given."""
    return option("-o", "--output", metavar=metavar, type=_PATH, required=True, group=OUTPUT, help=help_text)


def public_key_option(*, required: bool = False) -> _Decorator:
    """`--public-key FILE`, as `public_key`."""
    return option(
        "--public-key",
        metavar="FILE",
        type=_PATH,
        required=required,
        group=MODEL,
        help="PEM file of the public key that the artifact must be signed with; one that is not, or was changed since, "
        "is refused.",
    )


def precision_option(function: _Function) -> _Function:
    """`--precision`, one that the artifact holds."""
    return option(
        "--precision",
        metavar="NAME",
        default="fp32",
        group=MODEL,
        help="Precision of the graph to run, such as fp32, fp16 or int8; `inspect` lists those of an artifact.",
    )(function)


def precisions_option(help_text: str) -> _Decorator:
    """`--precision`, repeatable, as `precisions`."""
    return option(
        "--precision",
        "precisions",
        type=KnownName(precision_names),
        multiple=True,
        default=("fp32",),
        group=GRAPHS,
        help=help_text,
    )


def quantization_options(function: _Function) -> _Function:
    """`--ranges`, `--rounding` and `--bias-correction`."""
    ranges = option(
        "--ranges",
        type=click.Choice(RANGE_METHODS),
        default=Int8Config.ranges,
        show_default=True,
        group=GRAPHS,
        help="How INT8 chooses the range of each activation: `mse` with the least expected error, `min-max` without "
        "clipping, `percentile` with 99.99% of the values inside, `entropy` with the least change of the distribution.",
    )
    correction = option(
        "--bias-correction/--no-bias-correction",
        default=Int8Config.bias_correction,
        show_default=True,
        group=GRAPHS,
        help="Take the mean error of each INT8 convolution, measured on the calibration recordings, out of its bias.",
    )
    rounding = option(
        "--rounding",
        type=click.Choice(ROUNDINGS),
        default=Int8Config.rounding,
        show_default=True,
        group=GRAPHS,
        help="How INT8 weights become integers: each to the `nearest`, or `learned` on the calibration recordings so "
        "that the error of what each convolution computes is least, which takes longer.",
    )
    return ranges(rounding(correction(function)))


def backend_option(*, required: bool) -> _Decorator:
    """`--backend`."""
    return option(
        "--backend",
        type=click.Choice(("tensorrt-rtx", "tensorrt")),
        required=required,
        group=ENGINES,
        help="Library that builds TensorRT engines: `tensorrt-rtx` builds without a GPU, `tensorrt` on the GPU that "
        "will run the engine.",
    )


def compute_capability_option(function: _Function) -> _Function:
    """`--compute-capability`, repeatable, as `compute_capabilities`, sorted."""

    def ascending(
        context: click.Context, parameter: click.Parameter, values: tuple[int, ...]
    ) -> tuple[int, ...]:
        del context, parameter
        return tuple(sorted(set(values)))

    return option(
        "--compute-capability",
        "compute_capabilities",
        metavar="SM",
        type=int,
        multiple=True,
        callback=ascending,
        group=ENGINES,
        help="Compute capability of a GPU that tensorrt-rtx builds for, such as 86. Repeat it for more.",
    )(function)


def force_option(help_text: str) -> _Decorator:
    """`--force`."""
    return option("--force", is_flag=True, group=OUTPUT, help=help_text)


def json_file_option(function: _Function) -> _Function:
    """`--json FILE`, as `json_file`."""
    return option(
        "--json",
        "json_file",
        metavar="FILE",
        type=_PATH,
        group=OUTPUT,
        help="JSON file for the report.",
    )(function)


def report_option(help_text: str) -> _Decorator:
    """`--report FILE`, as `report_file`."""
    return option("--report", "report_file", metavar="FILE", type=_PATH, group=OUTPUT, help=help_text)


def bits_option(function: _Function) -> _Function:
    """`--bits`, as `bits`: a number, `float` or None."""

    def number(context: click.Context, parameter: click.Parameter, text: str | None) -> int | str | None:
        del context, parameter
        return int(text) if text is not None and text.isdigit() else text

    return option(
        "--bits",
        type=click.Choice(("16", "24", "32", "float")),
        callback=number,
        show_default="16",
        group=OUTPUT,
        help="Bits per sample of the output, or `float` for 32-bit floating point. Lossy formats take none.",
    )(function)


def dither_option(function: _Function) -> _Function:
    """`--dither`."""
    return option(
        "--dither",
        is_flag=True,
        group=OUTPUT,
        help="Add triangular dither before samples are rounded to 16 or 24 bits.",
    )(function)


def effects_option(function: _Function) -> _Function:
    """`--effects FILE|PRESET`, as `effects`."""
    return option(
        "--effects",
        metavar="CHAIN",
        group=OUTPUT,
        help="Chain of audio effects: a preset (speech, broadcast, warm, telephone, room, headphones), a .toml file, "
        "or `artifact` for the chain in the artifact.",
    )(function)


def check_option(function: _Function) -> _Function:
    """`--check`."""
    return option(
        "--check",
        is_flag=True,
        group=OUTPUT,
        help="Exit with 1 if the output clips, has a DC offset, is silent, or its channels cancel each other.",
    )(function)


def json_flag(function: _Function) -> _Function:
    """`--json`, as `as_json`."""
    return option("--json", "as_json", is_flag=True, group=OUTPUT, help="Print JSON instead of tables.")(
        function
    )


def threads_option(function: _Function) -> _Function:
    """`--threads`."""
    return option(
        "--threads",
        metavar="N",
        type=click.IntRange(1, 1024),
        show_default="one per core",
        group=MODEL,
        help="Number of worker threads.",
    )(function)


def tuned_option(function: _Function) -> _Function:
    """`--tuned`."""
    return option(
        "--tuned",
        type=click.Choice(OBJECTIVES),
        group=MODEL,
        help="Use the provider, precision and threads that `tune` measured as best on this kind of processor.",
    )(function)


def tf32_option(function: _Function) -> _Function:
    """`--tf32`."""
    return option(
        "--tf32",
        is_flag=True,
        group=MODEL,
        help="Let the GPU round the factors of FP32 graphs to TF32, which is faster; other providers refuse it.",
    )(function)


def bf16_floats_option(function: _Function) -> _Function:
    """`--bf16-floats`."""
    return option(
        "--bf16-floats",
        is_flag=True,
        group=MODEL,
        help="Let openvino round to BF16 what an INT8 graph leaves in floats, which is faster on CPUs with BF16 "
        "instructions; other providers and precisions refuse it.",
    )(function)


def gpu_tuning_option(help_text: str) -> _Decorator:
    """`--gpu-tuning FILE`."""
    return option("--gpu-tuning", metavar="FILE", type=_PATH, group=MODEL, help=help_text)


def engine_cache_option(function: _Function) -> _Function:
    """`--engine-cache`."""
    return option(
        "--engine-cache",
        metavar="FOLDER",
        type=_PATH,
        group=MODEL,
        help="Folder in which tensorrt and tensorrt-rtx keep what they compile, so that a later run starts within "
        "seconds. It holds machine code: use one that nobody else can write to.",
    )(function)


def warm_option(function: _Function) -> _Function:
    """`--warm`."""
    return option(
        "--warm",
        is_flag=True,
        group=MODEL,
        help="Prepare every shape that inputs run in before the first one, on a provider that prepares shapes.",
    )(function)
