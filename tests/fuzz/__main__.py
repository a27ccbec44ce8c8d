"""`python -m tests.fuzz`: mutated inputs for every reader, until the time is up."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import click

from tests.fuzz.cases import REFUSED, SUCCEEDED, case_input, outcome
from tests.fuzz.runner import Failure, run_cases
from tests.fuzz.targets import TARGETS

__all__ = ["main"]

_BATCH = 240
_SAVED = Path("build/fuzz")


@click.command()
@click.option("--seconds", type=float, default=600.0, show_default=True, help="Time to run for, in seconds.")
@click.option(
    "--first", type=int, default=0, show_default=True, help="Number of the first case of each target."
)
@click.option("--target", "names", multiple=True, help="Target to run; without it, all run.")
@click.option("--workers", type=int, default=2, show_default=True, help="Number of processes.")
@click.option(
    "--save",
    type=click.Path(file_okay=False, path_type=Path),
    default=_SAVED,
    show_default=True,
    help="Folder that inputs of failed cases are written to.",
)
@click.option(
    "--replay",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Saved input to read once more, in this process.",
)
def main(
    seconds: float, first: int, names: tuple[str, ...], workers: int, save: Path, replay: Path | None
) -> None:
    """Read mutated inputs with every reader and print how often they succeeded, were refused, or failed."""
    if replay is not None:
        sys.exit(_replayed(replay))
    unknown = set(names) - set(TARGETS)
    if unknown:
        raise click.UsageError(f"unknown target {sorted(unknown)[0]}; known: {', '.join(TARGETS)}")
    targets = [TARGETS[name] for name in names or TARGETS]

    def keep(failure: Failure) -> None:
        target = TARGETS[failure.target]
        save.mkdir(parents=True, exist_ok=True)
        path = save / f"{failure.target}-{failure.number}"
        path.write_bytes(case_input(target, target.seeds(), failure.number))
        click.echo(f"{path}: {failure.kind}: {' '.join(failure.message.split())[:300]}", err=True)

    def batches(cost: int) -> Iterator[range]:
        size = max(1, _BATCH // cost)
        return (range(first + turn * size, first + (turn + 1) * size) for turn in count())

    report = run_cases(
        targets,
        lambda target: batches(target.cost),
        workers=workers,
        until_s=time.monotonic() + seconds,
        heard=keep,
    )
    click.echo(report.table())
    sys.exit(1 if report.failures else 0)


def _replayed(path: Path) -> int:
    target = TARGETS[path.name.rpartition("-")[0]]
    with tempfile.TemporaryFile() as said:
        stderr = os.dup(2)
        os.dup2(said.fileno(), 2)
        try:
            kind, message = outcome(target, path.read_bytes(), 2)
        finally:
            os.dup2(stderr, 2)
    click.echo(f"{kind}: {message}")
    return 0 if kind in (SUCCEEDED, REFUSED) else 1


if __name__ == "__main__":
    main()
