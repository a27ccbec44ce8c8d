"""`voirs-vocoder inspect`: what an artifact is, and whether it is whole."""

from __future__ import annotations

from pathlib import Path

import click

from voirs_vocoder.export.cli import options
from voirs_vocoder.export.cli.command import Command, option
from voirs_vocoder.export.cli.summary import look_ahead_ms, print_summary
from voirs_vocoder.runtime.artifact.reading import Artifact, read_manifest
from voirs_vocoder.runtime.artifact.signature import signature_state
from voirs_vocoder.runtime.errors import ArtifactError
from voirs_vocoder.runtime.files import indented_json
from voirs_vocoder.runtime.printing import say, say_json

__all__ = ["command"]

# State of the signature -> what it means for people.
_SIGNATURES = {
    "verified": "verified: signed with the given key",
    "fits": "fits the manifest; give --public-key to verify who signed",
    "outdated": "outdated: the artifact was changed since; sign it again",
    "unreadable": "model.sig is no signature of an artifact",
    "none": "none",
}


@click.command(
    "inspect",
    cls=Command,
    short_help="Show the content of an artifact; verify its files.",
    examples=("voirs-vocoder inspect hifigan-v1", "voirs-vocoder inspect hifigan-v1 --verify --json"),
)
@options.artifact_argument
@options.public_key_option()
@option("--verify", is_flag=True, help="Compare every file with its hash; exit with 2 if one differs.")
@options.json_flag
def command(root: Path, public_key: Path | None, verify: bool, as_json: bool) -> None:
    """Show what the artifact DIR is: model, mel convention, look-ahead, graphs, engines, calibration, signature."""
    artifact = Artifact.open(root, public_key=public_key)
    signature = "verified" if public_key is not None else _signature_state(root)
    checked = list(artifact.verify()) if verify else []
    damaged = [error for _, error in checked if error is not None]
    if as_json:
        document = {
            "path": click.format_filename(root),
            "look_ahead_ms": look_ahead_ms(artifact.manifest),
            "verified_files": len(checked),
            "signature": signature,
            "damaged": [str(error) for error in damaged],
            "manifest": artifact.manifest,
        }
        say_json(indented_json(document))
    else:
        print_summary(artifact, _SIGNATURES[signature])
        if checked and not damaged:
            say("", f"{len(checked)} files verified: all as the manifest records them.")
    if damaged:
        raise ArtifactError(f"{len(damaged)} of {len(checked)} files damaged: {'; '.join(map(str, damaged))}")


def _signature_state(root: Path) -> str:
    """How the signature, of any key, stands to the manifest; `none` where there is none."""
    data, signature = read_manifest(root, with_signature=True)
    return "none" if signature is None else signature_state(signature, data)
