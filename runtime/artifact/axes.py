"""Names of dynamic axes: `batch`, `frames`, `samples`, or a multiple of one, such as `frames*32` or `32*frames`."""

from __future__ import annotations

import re

from voirs_vocoder.runtime.errors import ArtifactError

__all__ = ["axis_frames", "axis_size", "parsed_axis"]

# A multiple of more digits is none of a vocoder's.
_AXIS = re.compile(r"(?:([1-9][0-9]{0,6}) ?\* ?)?(batch|frames|samples)(?: ?\* ?([1-9][0-9]{0,6}))?")


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
    multiple, name = parsed_axis(axis)
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
    multiple, name = parsed_axis(axis)
    return None if name == "batch" else size // (multiple * (hop_length if name == "samples" else 1))


def parsed_axis(axis: str) -> tuple[int, str]:
    """Read the name of a dynamic axis.

    Args:
        axis: Name of a dynamic axis, such as `frames*256`.

    Returns:
        The multiple, at least 1, and `batch`, `frames` or `samples`.

    Raises:
        ArtifactError: The name is not one of a dynamic axis.
    """
    match = _AXIS.fullmatch(axis)
    if match is None:
        raise ArtifactError(
            f"a dynamic axis must be batch, frames, samples or a multiple of one, got {axis!r}; export the graph again"
        )
    before, name, after = match.groups()
    return int(before or 1) * int(after or 1), name
