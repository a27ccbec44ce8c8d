"""`--quality` and `--performance`, and what they decide in place of other options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
from click.core import ParameterSource

from voirs_vocoder.runtime.quality import PERFORMANCE_MODES, QUALITY_LEVELS

__all__ = ["quality_options", "refuse_contradictions"]

_Function = Callable[..., Any]

_DECIDED = {"quality": ("precision", "sampler", "steps", "schedule", "betas"), "performance": ("threads",)}


def quality_options(function: _Function) -> _Function:
    """`--quality`, `--performance` and `--estimate`."""
    quality = click.option(
        "--quality",
        type=click.Choice(QUALITY_LEVELS),
        help="Choose precision, sampler and steps from what the artifact holds and what was measured.",
    )
    performance = click.option(
        "--performance",
        type=click.Choice(PERFORMANCE_MODES),
        help="Choose threads and memory: one sleeping thread and small windows, the defaults, or large windows.",
    )
    estimate = click.option(
        "--estimate",
        is_flag=True,
        help="Say what it would cost, RTF and memory, and stop; OUT is not written.",
    )
    return quality(performance(estimate(function)))


def refuse_contradictions(context: click.Context, quality: str | None, performance: str | None) -> None:
    """Refuse options that say themselves what a level or mode decides.

    Raises:
        click.UsageError: One was given besides.
    """
    for name, given in (("quality", quality), ("performance", performance)):
        for option in _DECIDED[name] if given is not None else ():
            if context.get_parameter_source(option) == ParameterSource.COMMANDLINE:
                raise click.UsageError(f"--{name} decides --{option}; give one of them")
