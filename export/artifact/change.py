"""Changes an artifact: under a lock, with new documents, and with the manifest replaced last."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from voirs_vocoder.export.artifact.documents import with_documents
from voirs_vocoder.export.artifact.provenance import with_command
from voirs_vocoder.export.artifact.writer import locked_artifact, replace_manifest
from voirs_vocoder.runtime.artifact.directory import ArtifactDirectory
from voirs_vocoder.runtime.artifact.manifest import CommandRecord, Manifest
from voirs_vocoder.runtime.artifact.reading import Artifact
from voirs_vocoder.runtime.errors import InputError

__all__ = ["Change", "change_artifact", "require_changeable"]

Change = tuple[Manifest, Mapping[str, bytes]]
"""The new manifest, and the new or changed files by their path in the artifact."""


def change_artifact(
    root: Path, edit: Callable[[Artifact], Change], command: CommandRecord | None = None
) -> Artifact:
    """Apply a change; the artifact stays as it was where `edit` fails. A signature is removed, and a warning logged.

    Args:
        root: Directory of the artifact.
        edit: Computes the change from the locked artifact; called once.
        command: Command that makes the change, for the manifest and the provenance; None records none.

    Raises:
        ArtifactError: The artifact is damaged, or another process is changing it.
        InputError: The artifact cannot be written.
    """
    with locked_artifact(root) as artifact:
        manifest, files = edit(artifact)
        if command is not None:
            manifest = with_command(manifest, command)
        manifest, documents = with_documents(manifest)
        return replace_manifest(artifact, manifest, {**files, **documents})


def require_changeable(root: Path, paths: Iterable[str]) -> None:
    """Check, before long work, that an artifact can be changed; the change itself checks again.

    Args:
        root: Directory of the artifact.
        paths: Paths in the artifact of the files that will be written.

    Raises:
        ArtifactError: The artifact is damaged, has links or special files in it, or another process is changing it.
        InputError: The artifact cannot be written.
    """
    try:
        with locked_artifact(root), ArtifactDirectory(root) as directory:
            for path in paths:
                directory.status(path)
    except OSError as error:
        raise InputError(f"{root}: cannot be changed: {error.strerror}") from error
