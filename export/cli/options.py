"""Arguments and options that several commands share, each declared once, and the shape of a command's help."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from voirs_vocoder.runtime.artifact.reading import PRECISIONS
from voirs_vocoder.runtime.providers import AUTO, provider_names

__all__ = [
    "ExampleCommand",
    "artifact_argument",
    "backend_option",
    "bits_option",
    "calibration_option",
    "check_option",
    "checkpoint_options",
    "compute_capability_option",
    "dither_option",
    "effects_option",
    "force_option",
    "json_file_option",
    "json_flag",
    "precision_option",
    "precisions_option",
    "provider_option",
    "report_option",
    "speech_option",
    "threads_option",
]

_Function = Callable[..., Any]
_Decorator = Callable[[_Function], _Function]

_PATH = click.Path(path_type=Path)
_PRECISION = click.Choice(PRECISIONS)


class ExampleCommand(click.Command):
    """A command whose help ends with examples."""

    def __init__(self, *args: Any, examples: tuple[str, ...], **kwargs: Any) -> None:
        """As `click.Command`.

        Args:
            *args: For click.
            examples: Command lines, printed as they are.
            **kwargs: For click.
        """
        super().__init__(*args, **kwargs)
        self.examples = examples

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Append the examples."""
        with formatter.section("Examples" if len(self.examples) > 1 else "Example"):
            for example in self.examples:
                formatter.write(f"  {example}\n")


def artifact_argument(function: _Function) -> _Function:
    """The artifact's directory, `root`."""
    return click.argument("root", metavar="DIR", type=_PATH)(function)


def calibration_option(*, required: bool) -> _Decorator:
    """`--calibration DIR`."""
    return click.option(
        "--calibration",
        metavar="DIR",
        type=_PATH,
        required=required,
        help="Folder of recordings (or .npy mels) to calibrate INT8 on.",
    )


def speech_option(*, required: bool, help_text: str) -> _Decorator:
    """`--speech DIR`."""
    return click.option("--speech", metavar="DIR", type=_PATH, required=required, help=help_text)


def checkpoint_options(*, required: bool, help_text: str) -> _Decorator:
    """`--checkpoint FILE` and `--config JSON`."""

    def decorate(function: _Function) -> _Function:
        config = click.option(
            "--config",
            metavar="JSON",
            type=_PATH,
            show_default="config.json beside the checkpoint, params.json for diffwave",
            help="The model's official configuration.",
        )
        checkpoint = click.option(
            "--checkpoint", metavar="FILE", type=_PATH, required=required, help=help_text
        )
        return checkpoint(config(function))

    return decorate


class _ProviderName(click.Choice):  # type: ignore[type-arg] # click < 8.2 has no type argument here
    """The name of a provider, or `auto`; the names are read at each use, since providers can be registered."""

    def __init__(self) -> None:
        super().__init__(())

    @property
    def choices(self) -> tuple[str, ...]:
        """Names of the providers that are known now, and `auto`."""
        return (*provider_names(), AUTO)

    @choices.setter
    def choices(self, names: Sequence[str]) -> None:
        """Ignore the names that click's constructor sets."""


def provider_option(function: _Function) -> _Function:
    """`--provider`."""
    return click.option(
        "--provider",
        type=_ProviderName(),
        default="cpu",
        help="What runs the graph. Only `auto` may choose, and says what it chose.",
    )(function)


def precision_option(function: _Function) -> _Function:
    """`--precision`, one of them."""
    return click.option(
        "--precision", type=_PRECISION, default="fp32", help="Which of the artifact's graphs runs."
    )(function)


def precisions_option(help_text: str) -> _Decorator:
    """`--precision`, repeatable, as `precisions`."""
    return click.option(
        "--precision", "precisions", type=_PRECISION, multiple=True, default=("fp32",), help=help_text
    )


def backend_option(*, required: bool) -> _Decorator:
    """`--backend`."""
    return click.option(
        "--backend",
        type=click.Choice(("tensorrt-rtx", "tensorrt")),
        required=required,
        help="Build TensorRT engines: `tensorrt-rtx` needs no GPU to build, `tensorrt` builds on the GPU itself.",
    )


def compute_capability_option(function: _Function) -> _Function:
    """`--compute-capability`, repeatable, as `compute_capabilities`, sorted."""

    def ascending(
        context: click.Context, parameter: click.Parameter, values: tuple[int, ...]
    ) -> tuple[int, ...]:
        del context, parameter
        return tuple(sorted(set(values)))

    return click.option(
        "--compute-capability",
        "compute_capabilities",
        metavar="SM",
        type=int,
        multiple=True,
        callback=ascending,
        help="A GPU that tensorrt-rtx builds for, such as 86; repeat it for more.",
    )(function)


def force_option(help_text: str) -> _Decorator:
    """`--force`."""
    return click.option("--force", is_flag=True, help=help_text)


def json_file_option(function: _Function) -> _Function:
    """`--json FILE`, as `json_file`."""
    return click.option(
        "--json", "json_file", metavar="FILE", type=_PATH, help="Also write the report to this file."
    )(function)


def report_option(help_text: str) -> _Decorator:
    """`--report FILE`, as `report_file`."""
    return click.option("--report", "report_file", metavar="FILE", type=_PATH, help=help_text)


def bits_option(function: _Function) -> _Function:
    """`--bits`, as `bits`: a number, `float` or None."""

    def number(context: click.Context, parameter: click.Parameter, text: str | None) -> int | str | None:
        del context, parameter
        return int(text) if text is not None and text.isdigit() else text

    return click.option(
        "--bits",
        type=click.Choice(("16", "24", "32", "float")),
        callback=number,
        show_default="16",
        help="What samples are written as; lossy formats have none.",
    )(function)


def dither_option(function: _Function) -> _Function:
    """`--dither`."""
    return click.option(
        "--dither", is_flag=True, help="Add triangular dither before rounding to 16 or 24 bits."
    )(function)


def effects_option(function: _Function) -> _Function:
    """`--effects FILE|PRESET`, as `effects`."""
    return click.option(
        "--effects",
        metavar="CHAIN",
        help="DSP on the audio: a preset (speech, broadcast, warm, telephone, room, headphones), a .toml file, or "
        "`artifact` for the chain that the artifact holds.",
    )(function)


def check_option(function: _Function) -> _Function:
    """`--check`."""
    return click.option(
        "--check",
        is_flag=True,
        help="Exit with 1 when the output clips, has an offset, is silent, or its channels cancel each other.",
    )(function)


def json_flag(function: _Function) -> _Function:
    """`--json`, as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead.")(function)


def threads_option(function: _Function) -> _Function:
    """`--threads`."""
    return click.option(
        "--threads",
        metavar="N",
        type=click.IntRange(1, 1024),
        show_default="one per core",
        help="Worker threads.",
    )(function)
