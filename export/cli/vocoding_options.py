"""How an utterance is made: options named as the fields of `VocodingConfig`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

__all__ = ["vocoding_options"]

_Function = Callable[..., Any]

_PROSODY_OPTIONS = (
    click.option(
        "--speed", metavar="X", type=float, default=1.0, help="Of speaking, in [0.5, 2]; 2 halves the length."
    ),
    click.option(
        "--pitch-semitones",
        metavar="N",
        type=float,
        default=0.0,
        help="Raises or lowers the voice, formants included.",
    ),
    click.option("--energy-db", metavar="X", type=float, default=0.0, help="Gain on the audio."),
)


def vocoding_options(function: _Function) -> _Function:
    """How an utterance is made: options named as the fields of `VocodingConfig`."""
    declared = (
        click.option(
            "--seed",
            metavar="K",
            type=click.IntRange(min=0),
            show_default="0",
            help="Of the noise, for models that take noise.",
        ),
        click.option(
            "--sigma",
            metavar="X",
            type=float,
            show_default="0.6",
            help="Standard deviation of a flow's noise.",
        ),
        click.option(
            "--denoise",
            metavar="X",
            type=float,
            show_default="0",
            help="How strongly a flow's own bias is taken off; the official code takes 0.1.",
        ),
        click.option(
            "--sampler",
            metavar="S",
            show_default="the artifact's",
            help="Of a diffusion model: fast, ddpm, ddim, dpm-solver++ or adaptive.",
        ),
        click.option(
            "--schedule",
            metavar="S",
            show_default="log-snr",
            help="Where the steps lie: training, linear, quadratic, sigmoid, cosine or log-snr.",
        ),
        click.option(
            "--betas",
            metavar="B,B,...",
            callback=_numbers,
            help="A schedule of your own instead: variances, in the order of the forward process.",
        ),
        click.option(
            "--steps",
            metavar="N",
            type=click.IntRange(min=1),
            show_default="the artifact's",
            help="How many.",
        ),
        click.option("--eta", metavar="X", type=float, show_default="0", help="Noise of ddim, in [0, 1]."),
        click.option(
            "--temperature", metavar="X", type=float, show_default="1", help="Scales all noise, in [0, 2]."
        ),
        click.option(
            "--guidance",
            metavar="G",
            type=float,
            show_default="1",
            help="How far the mel drives the result, for models trained for it.",
        ),
    )
    for option in reversed((*declared, *_PROSODY_OPTIONS)):
        function = option(function)
    return function


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
