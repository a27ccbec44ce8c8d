"""`voirs-vocoder pack`: an artifact becomes one file."""

from __future__ import annotations

from pathlib import Path

import click

from voirs_vocoder.export.cli import options
from voirs_vocoder.export.cli.command import Command
from voirs_vocoder.runtime.printing import mention

__all__ = ["command"]


@click.command(
    "pack",
    cls=Command,
    short_help="Write an artifact into one file.",
    examples=("voirs-vocoder pack hifigan-v1 -o hifigan-v1.tar.zst",),
)
@options.artifact_argument
@options.output_option("FILE", "File to write, such as NAME.tar.zst.")
@options.force_option("Replace an existing file.")
def command(root: Path, output: Path, force: bool) -> None:
    """Write the artifact DIR into one compressed file, with its signature if it is signed.

    The same artifact gives the same bytes. Files in DIR that belong to no artifact are left out.
    """
    from voirs_vocoder.export.artifact.pack import pack_artifact

    artifact = pack_artifact(root, output, force=force)
    files = artifact.manifest.all_files()
    mention(
        f"{click.format_filename(output)}: {len(files) + 1} files, "
        f"{sum(entry.size_bytes for entry in files) / 1e6:.1f} MB in {output.stat().st_size / 1e6:.1f} MB"
    )
