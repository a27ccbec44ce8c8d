"""Names of dynamic axes: `batch`, `frames`, `samples`, or a multiple of one, such as `frames*32` or `32*frames`."""

from __future__ import annotations

import re

from voirs_vocoder.runtime.errors import ArtifactError

__all__ = ["axis_frames", "axis_size"]

_AXIS = re.compile(r"(?:(\d+)\s*\*\s*)?(batch|frames|samples)(?:\s*\*\s*(\d+))?")


def axis_size(axis: int | str, *, batch: int, frames: int, hop_length: int) -> int:
    """Size of an axis.

    Args:
        axis: Fixed size, or the name of a dynamic axis.
        batch: Number of utterances.
        frames: Number of mel frames.
        hop_length: Audio samples per mel frame.

    Raises:
        ArtifactError: The name is not one of a dynamic axis.
    """
    if isinstance(axis, int):
        return axis
    multiple, name = _parsed(axis)
    return multiple * {"batch": batch, "frames": frames, "samples": frames * hop_length}[name]


def axis_frames(axis: int | str, size: int, hop_length: int) -> int | None:
    """Number of mel frames that an axis of a given size holds; None for an axis that does not grow with them.

    Args:
        axis: Fixed size, or the name of a dynamic axis.
        size: Size of the axis.
        hop_length: Audio samples per mel frame.

    Raises:
        ArtifactError: The name is not one of a dynamic axis.
    """
    if isinstance(axis, int):
        return None
    multiple, name = _parsed(axis)
    return None if name == "batch" else size // (multiple * (hop_length if name == "samples" else 1))


def _parsed(axis: str) -> tuple[int, str]:
    match = _AXIS.fullmatch(axis)
    if match is None:
        raise ArtifactError(
            f"a dynamic axis must be batch, frames, samples or a multiple of one, got {axis!r}; export the graph again"
        )
    before, name, after = match.groups()
    return int(before or 1) * int(after or 1), name
