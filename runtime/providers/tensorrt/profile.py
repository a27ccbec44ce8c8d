"""Selection of the optimization profile of an engine that runs a given input."""

from __future__ import annotations

import math
from collections.abc import Mapping

from voirs_vocoder.runtime.artifact.axes import axis_frames
from voirs_vocoder.runtime.artifact.manifest import EngineEntry, Profile
from voirs_vocoder.runtime.errors import InputError

__all__ = ["largest_batch", "largest_frames", "nearest_profile"]


def largest_batch(entry: EngineEntry) -> int | None:
    """Most rows that any profile of an engine takes; None when no input has a dynamic batch axis.

    Args:
        entry: Manifest entry of the engine.
    """
    sizes = (
        size
        for profile in entry.profiles
        for tensor in entry.inputs
        for axis, size in zip(tensor.shape, profile.maximum[tensor.name], strict=True)
        if axis == "batch"
    )
    return max(sizes, default=None)


def largest_frames(entry: EngineEntry) -> int | None:
    """Longest input that any profile of an engine takes, in mel frames; None when no input grows with the frames.

    Args:
        entry: Manifest entry of the engine.

    Raises:
        ArtifactError: An axis has a name that this version does not know.
    """
    sizes = (
        axis_frames(axis, size, entry.hop_length)
        for profile in entry.profiles
        for tensor in entry.inputs
        for axis, size in zip(tensor.shape, profile.maximum[tensor.name], strict=True)
    )
    return max((size for size in sizes if size is not None), default=None)


def nearest_profile(profiles: tuple[Profile, ...], shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Index of the profile that takes these shapes and whose optimum is nearest, measured as a ratio of sizes.

    Kernels are chosen for the optimum, so a profile with a nearer optimum is faster.

    Args:
        profiles: Profiles in the engine's order.
        shapes: Shape of each input, by its name.

    Raises:
        InputError: No profile takes the shapes.
    """
    fitting = {index: _distance(p, shapes) for index, p in enumerate(profiles) if _takes(p, shapes)}
    if not fitting:
        raise InputError(
            f"no profile of the engine takes {_shapes_text(shapes)}; it was built for "
            f"{' or '.join(_range_text(p) for p in profiles)}; build one with a wider profile"
        )
    return min(fitting, key=lambda index: fitting[index])


def _takes(profile: Profile, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    return all(
        len(shape) == len(profile.minimum[name])
        and all(
            low <= size <= high
            for low, size, high in zip(profile.minimum[name], shape, profile.maximum[name], strict=True)
        )
        for name, shape in shapes.items()
    )


def _distance(profile: Profile, shapes: Mapping[str, tuple[int, ...]]) -> float:
    return max(
        abs(math.log(math.prod(shape)) - math.log(math.prod(profile.optimum[name])))
        for name, shape in shapes.items()
    )


def _shapes_text(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes.items())


def _range_text(profile: Profile) -> str:
    return ", ".join(
        f"{name} {'x'.join(_axis_text(*ends) for ends in zip(low, profile.maximum[name], strict=True))}"
        for name, low in profile.minimum.items()
    )


def _axis_text(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}..{high}"
