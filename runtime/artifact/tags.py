"""Tags that name, in an audio file, the artifact that made it."""

from __future__ import annotations

from voirs_vocoder.runtime.artifact.reading import Artifact
from voirs_vocoder.runtime.audio.encoders.backend import AudioTags
from voirs_vocoder.runtime.distribution import own_version
from voirs_vocoder.runtime.text import printable

__all__ = ["tags_of_artifact"]

_HASH_CHARACTERS = 12


def tags_of_artifact(artifact: Artifact, precision: str) -> AudioTags:
    """Tags with the artifact's folder, its model, and the hash of the checkpoint that it was made from.

    A name of the folder that is no UTF-8 stands with escapes for its other bytes.

    Args:
        artifact: Artifact that synthesizes the audio.
        precision: Precision of the graphs that run.
    """
    manifest = artifact.manifest
    checkpoint = printable((manifest.source.checkpoint_sha256 or "unknown")[:_HASH_CHARACTERS])
    return AudioTags(
        comment=(
            f"synthetic speech by {printable(artifact.root.resolve().name)} "
            f"({printable(manifest.family)} {printable(manifest.variant)} {precision}, checkpoint {checkpoint})"
        ),
        software=f"voirs-vocoder {own_version()}",
    )
