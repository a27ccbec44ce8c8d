"""How an utterance is made: one option for each setting of `VocodingConfig`, generated from its declaration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from voirs_vocoder.runtime.config import VocodingConfig
from voirs_vocoder.runtime.drivers.settings import DeclaredSetting, UtteranceSettings, declared_settings

__all__ = ["vocoding_options", "window_options"]

_Function = Callable[..., Any]

_METAVARS = {int: "N", float: "X", str: "NAME", tuple: "B,B,..."}


def vocoding_options(function: _Function) -> _Function:
    """The options of an utterance that a model or the prosody reads, named as the fields of `VocodingConfig`."""
    for declared in reversed(declared_settings(VocodingConfig)):
        if declared.owner is not UtteranceSettings:
            function = _option(declared)(function)
    return function


def window_options(function: _Function) -> _Function:
    """The options that bound the memory of an utterance that is vocoded as a whole."""
    for declared in reversed(declared_settings(UtteranceSettings)):
        function = _option(declared)(function)
    return function


def _option(declared: DeclaredSetting) -> Callable[[_Function], _Function]:
    """The option of a setting. `VocodingConfig` checks its range, in the same words for Python and command line."""
    return click.option(
        f"--{declared.name.replace('_', '-')}",
        metavar=_METAVARS[declared.kind],
        type=str if declared.kind is tuple else declared.kind,
        callback=_numbers if declared.kind is tuple else None,
        default=declared.default,
        show_default=declared.setting.unset or True,
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
