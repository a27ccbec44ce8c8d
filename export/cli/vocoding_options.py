"""Options of synthesis: those generated from the settings of `VocodingConfig`, and levels that replace some of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
from click.core import ParameterSource

from voirs_vocoder.export.cli import options
from voirs_vocoder.export.cli.command import option
from voirs_vocoder.runtime.config import VocodingConfig
from voirs_vocoder.runtime.drivers.settings import DeclaredSetting, UtteranceSettings, declared_settings
from voirs_vocoder.runtime.quality import PERFORMANCE_MODES, QUALITY_LEVELS

__all__ = ["quality_options", "refuse_contradictions", "vocoding_options", "window_options"]

_Function = Callable[..., Any]

_QUALITY = "Quality and cost"
# Settings that a level or mode decides.
_DECIDED = {
    "quality": ("precision", "sampler", "steps", "schedule", "betas"),
    "performance": ("threads",),
    "tuned": ("provider", "precision", "threads", "quality", "performance"),
}
_METAVARS = {int: "N", float: "X", str: "NAME", tuple: "B,B,..."}


def vocoding_options(function: _Function) -> _Function:
    """The options of an utterance that a model or the prosody reads, named as the fields of `VocodingConfig`."""
    for declared in reversed(declared_settings(VocodingConfig)):
        if declared.owner is not UtteranceSettings:
            function = _option(declared, declared.owner.group)(function)
    return function


def window_options(function: _Function) -> _Function:
    """The options that bound the memory of an utterance that is vocoded as a whole."""
    for declared in reversed(declared_settings(UtteranceSettings)):
        function = _option(declared, options.MODEL)(function)
    return function


def quality_options(function: _Function) -> _Function:
    """`--quality`, `--performance` and `--estimate`."""
    quality = option(
        "--quality",
        type=click.Choice(QUALITY_LEVELS),
        group=_QUALITY,
        help="Quality level, which chooses precision, sampler and steps by what `validate` and `tune` measured.",
    )
    performance = option(
        "--performance",
        type=click.Choice(PERFORMANCE_MODES),
        group=_QUALITY,
        help="Performance mode, which chooses threads and memory: `economy` runs one thread that sleeps between small "
        "windows, `speed` runs large windows.",
    )
    estimate = option(
        "--estimate",
        is_flag=True,
        group=_QUALITY,
        help="Print the expected real-time factor and memory, and stop without writing OUT.",
    )
    return quality(performance(estimate(function)))


def refuse_contradictions(context: click.Context) -> None:
    """Refuse options that set what `--quality`, `--performance` or `--tuned` decides.

    Args:
        context: Context of the command.

    Raises:
        click.UsageError: An option was given that another one decides.
    """
    for name, decided in _DECIDED.items():
        if context.params.get(name) is None:
            continue
        for each in decided:
            if context.get_parameter_source(each) == ParameterSource.COMMANDLINE:
                raise click.UsageError(f"--{name} decides --{each}; give one of them")


def _option(declared: DeclaredSetting, group: str) -> Callable[[_Function], _Function]:
    """The option of a setting. `VocodingConfig` checks its range, in the same words for Python and command line."""
    return option(
        f"--{declared.name.replace('_', '-')}",
        metavar=_METAVARS[declared.kind],
        type=str if declared.kind is tuple else declared.kind,
        callback=_numbers if declared.kind is tuple else None,
        default=declared.default,
        show_default=declared.setting.unset or True,
        group=group,
        help=declared.setting.text,
    )


def _numbers(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError as error:
        raise click.BadParameter(
            f"numbers separated by commas, such as 0.0001,0.01,0.2, got {text!r}", context, parameter
        ) from error
