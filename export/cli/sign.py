"""`voirs-vocoder sign`: the signature of an artifact."""

from __future__ import annotations

from pathlib import Path

import click

from voirs_vocoder.export.cli import options
from voirs_vocoder.export.cli.command import Command, option
from voirs_vocoder.runtime.artifact.directory import SIGNATURE_NAME
from voirs_vocoder.runtime.printing import mention

__all__ = ["command"]


@click.command(
    "sign",
    cls=Command,
    short_help="Sign an artifact with a private key.",
    examples=(
        "voirs-vocoder sign hifigan-v1 --private-key signing-key.pem",
        "voirs-vocoder sign hifigan-v1 --private-key signing-key.pem --passphrase-file passphrase.txt",
    ),
)
@options.artifact_argument
@option(
    "--private-key",
    metavar="FILE",
    type=click.Path(path_type=Path),
    required=True,
    help="PEM file of an EC key on P-256, P-384 or P-521.",
)
@option(
    "--passphrase-file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="File of the passphrase that the private key is encrypted with.",
)
@options.force_option("Replace a signature that fits the artifact.")
def command(root: Path, private_key: Path, passphrase_file: Path | None, force: bool) -> None:
    """Sign every file of the artifact DIR, and write the signature into it as model.sig.

    The format is that of OpenSSF model signing 1.0, which its own tool verifies too. Sign last: every later change of
    the artifact, such as by `quantize`, `validate` or `tune`, removes the signature.
    """
    from voirs_vocoder.export.artifact.signing import sign_artifact
    from voirs_vocoder.runtime.artifact.keys import read_private_key

    key = read_private_key(private_key, passphrase_file)
    files = sign_artifact(root, key, force=force)
    mention(
        f"{click.format_filename(root / SIGNATURE_NAME)}: {len(files.digests)} files signed with key "
        f"{key.public.hint[:16]}"
    )
