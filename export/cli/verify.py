"""`voirs-vocoder verify`: whether an artifact is as it was signed."""

from __future__ import annotations

from pathlib import Path

import click

from voirs_vocoder.export.cli import options
from voirs_vocoder.export.cli.command import Command
from voirs_vocoder.export.cli.console import print_table
from voirs_vocoder.export.cli.process import GATE_FAILED
from voirs_vocoder.runtime.artifact.directory import SIGNATURE_NAME, ArtifactDirectory
from voirs_vocoder.runtime.errors import ArtifactError
from voirs_vocoder.runtime.printing import remark, say

__all__ = ["command"]

# Kind of a difference -> what it means for people.
_MEANINGS = {
    "changed": "not the bytes that were signed",
    "missing": "was signed and is gone",
    "extra": "was not signed",
    "irregular": "a link or a special file, or a name that no artifact has",
}


@click.command(
    "verify",
    cls=Command,
    short_help="Compare an artifact with its signature.",
    examples=("voirs-vocoder verify hifigan-v1 --public-key signing-key.pub.pem",),
)
@options.artifact_argument
@options.public_key_option(required=True)
def command(root: Path, public_key: Path) -> None:
    """Compare every file of the artifact DIR with its signature, model.sig; exit with 1 if one differs.

    The signature must have been made by the owner of the key, with `sign` or with the tool of OpenSSF model signing. No
    link is followed.
    """
    from voirs_vocoder.runtime.artifact.keys import read_public_key
    from voirs_vocoder.runtime.artifact.signature import read_signature
    from voirs_vocoder.runtime.artifact.signed_files import verified_files
    from voirs_vocoder.runtime.artifact.signed_folder import folder_differences

    key = read_public_key(public_key)
    path = root / SIGNATURE_NAME
    try:
        with ArtifactDirectory(root) as directory:
            signature = read_signature(directory)
            if signature is None:
                raise ArtifactError(
                    f"{path}: there is no signature; sign the artifact with `voirs-vocoder sign`"
                )
            signed = verified_files(signature, key, str(path))
            differences = folder_differences(directory, signed)
    except OSError as error:
        raise ArtifactError(f"{root}: cannot open the artifact: {error.strerror}") from error
    if differences:
        print_table(
            [["file", "difference", "meaning"], *([d.path, d.kind, _MEANINGS[d.kind]] for d in differences)]
        )
        remark(f"{click.format_filename(root)}: differences from what was signed: {len(differences)}")
        raise click.exceptions.Exit(GATE_FAILED)
    say(
        f"{click.format_filename(root)}: {len(signed.digests)} files verified, all as the owner of key "
        f"{key.hint[:16]} signed them"
    )
