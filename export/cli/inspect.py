"""`voirs-vocoder inspect`: what an artifact is, and whether it is whole."""

from __future__ import annotations

from pathlib import Path

import click

from voirs_vocoder.export.cli import options
from voirs_vocoder.export.cli.command import Command, option
from voirs_vocoder.export.cli.summary import look_ahead_ms, print_summary
from voirs_vocoder.runtime.artifact.reading import Artifact
from voirs_vocoder.runtime.errors import ArtifactError
from voirs_vocoder.runtime.files import indented_json
from voirs_vocoder.runtime.printing import say, say_json

__all__ = ["command"]


@click.command(
    "inspect",
    cls=Command,
    short_help="Show the content of an artifact; verify its files.",
    examples=("voirs-vocoder inspect hifigan-v1", "voirs-vocoder inspect hifigan-v1 --verify --json"),
)
@options.artifact_argument
@option("--verify", is_flag=True, help="Compare every file with its hash; exit with 2 if one differs.")
@options.json_flag
def command(root: Path, verify: bool, as_json: bool) -> None:
    """Show what the artifact DIR is: model, mel convention, look-ahead, graphs, engines, calibration."""
    artifact = Artifact.open(root)
    checked = list(artifact.verify()) if verify else []
    damaged = [error for _, error in checked if error is not None]
    if as_json:
        document = {
            "path": click.format_filename(root),
            "look_ahead_ms": look_ahead_ms(artifact.manifest),
            "verified_files": len(checked),
            "damaged": [str(error) for error in damaged],
            "manifest": artifact.manifest,
        }
        say_json(indented_json(document))
    else:
        print_summary(artifact)
        if checked and not damaged:
            say("", f"{len(checked)} files verified: all as the manifest records them.")
    if damaged:
        raise ArtifactError(f"{len(damaged)} of {len(checked)} files damaged: {'; '.join(map(str, damaged))}")
