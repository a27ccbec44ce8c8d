"""`voirs-vocoder unpack`: an artifact from one file, verified on the way in."""

from __future__ import annotations

from pathlib import Path

import click

from voirs_vocoder.export.cli import options
from voirs_vocoder.export.cli.command import Command
from voirs_vocoder.runtime.printing import mention

__all__ = ["command"]


@click.command(
    "unpack",
    cls=Command,
    short_help="Make an artifact of a packed file.",
    examples=(
        "voirs-vocoder unpack hifigan-v1.tar.zst -o hifigan-v1",
        "voirs-vocoder unpack hifigan-v1.tar.zst -o hifigan-v1 --public-key signing-key.pub.pem",
    ),
)
@click.argument("source", metavar="FILE", type=click.Path(path_type=Path))
@options.output_option("DIR", "Directory of the artifact to make.")
@options.public_key_option()
@options.force_option("Replace an existing artifact.")
def command(source: Path, output: Path, public_key: Path | None, force: bool) -> None:
    """Make the artifact DIR of FILE, which `pack` wrote.

    Every file is compared with the manifest, and the signature with the key if one is given, before the artifact
    appears; it appears complete or not at all.
    """
    from voirs_vocoder.export.artifact.pack import unpack_artifact

    artifact = unpack_artifact(source, output, public_key=public_key, force=force)
    signed = "" if public_key is None else ", signed with the given key"
    mention(
        f"{click.format_filename(output)}: {artifact.manifest.family} {artifact.manifest.variant}, "
        f"{len(artifact.manifest.all_files()) + 1} files verified{signed}"
    )
