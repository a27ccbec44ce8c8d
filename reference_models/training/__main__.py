"""`python -m voirs_vocoder.reference_models.training`: train a small vocoder from a folder of recordings."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from voirs_vocoder.reference_models.errors import ReferenceModelError
from voirs_vocoder.reference_models.training.recipes import RECIPES, get_recipe
from voirs_vocoder.runtime.errors import VoirsVocoderError
from voirs_vocoder.runtime.optional import missing_package
from voirs_vocoder.runtime.printing import mention, remark
from voirs_vocoder.runtime.progress import ConsoleProgress

if TYPE_CHECKING:
    from voirs_vocoder.reference_models.training.loop import TrainingReport

__all__ = ["main"]

_BAD_INPUT = 2


@click.command()
@click.argument("family", type=click.Choice(list(RECIPES)))
@click.option(
    "--data",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of recordings; the last of them by name are held back and evaluated.",
)
@click.option(
    "--output",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for weights, state and curve; a training that it holds is continued.",
)
@click.option(
    "--hours", required=True, type=click.FloatRange(0, min_open=True), help="Hours of training in all."
)
@click.option(
    "--start-from",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Weights to begin with, such as a shipped checkpoint's, instead of random ones.",
)
@click.option(
    "--preset",
    help="Train a published size instead of the small model that ships, such as v1 for hifigan.",
)
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    help="Device to train on: cpu, cuda, or cuda:1 for the second GPU.",
)
@click.option(
    "--compile",
    "compiled",
    is_flag=True,
    help="Compile the networks with torch.compile, which takes a minute or two at the beginning.",
)
@click.option("--steps", type=click.IntRange(1), help="Stop after this number of training steps in all.")
@click.option("--batch", type=click.IntRange(1), help="Segments per step.  [default: the recipe's]")
@click.option(
    "--held-back",
    type=click.IntRange(1),
    help="Number of recordings to evaluate.  [default: the recipe's 12]",
)
@click.option(
    "--evaluate-minutes",
    type=click.FloatRange(0, min_open=True),
    default=20.0,
    show_default=True,
    help="Minutes of training between evaluations.",
)
@click.option(
    "--threads", type=click.IntRange(1), default=os.cpu_count(), show_default=True, help="Threads of PyTorch."
)
def main(
    family: str,
    data: Path,
    output: Path,
    hours: float,
    start_from: Path | None,
    preset: str | None,
    device: str,
    compiled: bool,
    steps: int | None,
    batch: int | None,
    held_back: int | None,
    evaluate_minutes: float,
    threads: int,
) -> None:
    """Train a small vocoder of a FAMILY on speech.

    OUTPUT receives the averaged weights as model.safetensors beside their configuration, loadable and exportable like a
    published checkpoint, and curve.csv and curve.png. Time in which the process is stopped does not count. Ctrl-C ends
    the training in a state that the same command goes on from.
    """
    with _stop_requests() as requests:
        try:
            import torch

            from voirs_vocoder.reference_models.training.loop import Run, train

            torch.set_num_threads(threads)
            recipe = get_recipe(family, preset)
            given: dict[str, Any] = {"batch": batch, "held_back": held_back}
            changes = {name: value for name, value in given.items() if value is not None}
            recipe = dataclasses.replace(recipe, settings=dataclasses.replace(recipe.settings, **changes))
            run = Run(
                data,
                output,
                hours,
                steps,
                start_from,
                device=device,
                compiled=compiled,
                evaluate_s=60.0 * evaluate_minutes,
            )
            if not requests:
                with ConsoleProgress() as progress:
                    train(
                        recipe,
                        run,
                        report=lambda report: _show(progress, report),
                        stop=lambda: bool(requests),
                    )
        except (ReferenceModelError, VoirsVocoderError) as error:
            remark(f"error: {' '.join(str(error).split())}")
            sys.exit(_BAD_INPUT)
        except ModuleNotFoundError as error:
            if error.name not in ("torch", "safetensors"):
                raise
            remark(f"error: {missing_package('training', error.name, 'training')}")
            sys.exit(_BAD_INPUT)
    if requests:
        sys.exit(128 + requests[0])
    mention(str(output / "model.safetensors"))


def _show(progress: ConsoleProgress, report: TrainingReport) -> None:
    """Show where a training stands; the line of an evaluation stays on the terminal."""
    figures = "  ".join(
        f"{name} {'-' if value is None else f'{value:.4g}'}" for name, value in report.figures.items()
    )
    share = min(1.0, report.spent_s / report.total_s)
    speed = f"{report.steps_per_s:.3g} steps/s  {report.audio_s_per_s:.3g} s of audio/s"
    line = f"{share:4.0%}  step {report.step:,}  {report.spent_s / 60:.1f} min  {speed}  {figures}"
    if "stoi" in report.figures:
        progress.note(line)
    else:
        progress(line, round(100 * share), 100)


@contextmanager
def _stop_requests() -> Iterator[list[int]]:
    """Signals that ask for an end; they are collected, so that a step is never cut in half."""
    received: list[int] = []
    # A signal that the caller ignores, as `nohup` has it, stays ignored.
    kinds = [
        kind
        for kind in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(kind) in (signal.SIG_DFL, signal.default_int_handler)
    ]
    before = {kind: signal.signal(kind, lambda number, _: received.append(number)) for kind in kinds}
    try:
        yield received
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


if __name__ == "__main__":
    main()
