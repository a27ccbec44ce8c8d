"""Measurements that `voirs-vocoder tune` keeps inside an artifact, read back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from voirs_vocoder.runtime.artifact.reading import Artifact
from voirs_vocoder.runtime.errors import ArtifactError, InputError
from voirs_vocoder.runtime.structured import decode_json

__all__ = ["read_measurements"]

Measurements = TypeVar("Measurements", bound=msgspec.Struct)


def read_measurements(
    artifact: Artifact,
    path: str,
    kind: type[Measurements],
    *,
    refusal: str,
    tuner: str,
    check: Callable[[Measurements], None] | None = None,
) -> Measurements | None:
    """The measurements in a file of an artifact; None if the artifact does not list the file.

    Args:
        artifact: Opened artifact.
        path: Path of the file inside the artifact.
        kind: Type of the measurements.
        refusal: What the message states of a file that is damaged, such as `not a sweep`.
        tuner: Value of `tune --only` that writes the file again.
        check: Raises an InputError for measurements that contradict themselves; None checks their type alone.

    Raises:
        ArtifactError: The file is damaged.
    """
    entry = next((entry for entry in artifact.manifest.files if entry.path == path), None)
    if entry is None:
        return None
    try:
        found = decode_json(artifact.read(entry), kind)
        if check is not None:
            check(found)
        return found
    except InputError as error:
        raise ArtifactError(
            f"{artifact.root / path}: {refusal} ({error}); run voirs-vocoder tune DIR --only {tuner} again"
        ) from error
