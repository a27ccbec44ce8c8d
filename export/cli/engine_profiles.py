"""From the command line's few numbers to the configuration of an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from voirs_vocoder.export.tensorrt.config import EngineConfig, ProfileConfig
    from voirs_vocoder.runtime.providers.tensorrt.flavor import EngineBackend

__all__ = ["checked_engine_config", "profiles_up_to"]


def checked_engine_config(
    backend: str,
    compute_capabilities: tuple[int, ...],
    *,
    max_batch: int = 1,
    max_frames: int | None = None,
) -> EngineConfig:
    """What to build, refused now if the library is missing rather than after the export.

    Args:
        backend: `tensorrt-rtx` or `tensorrt`.
        compute_capabilities: GPUs to build for, ascending.
        max_batch: Most rows.
        max_frames: Most mel frames; None takes the default buckets.

    Raises:
        InputError: The compute capabilities do not suit the backend.
        ProviderError: The backend is not installed.
    """
    from voirs_vocoder.export.tensorrt.config import DEFAULT_PROFILES, EngineConfig
    from voirs_vocoder.runtime.providers.tensorrt.flavor import load_flavor

    longest = max_frames or DEFAULT_PROFILES[-1].frames[-1]
    config = EngineConfig(
        backend=cast("EngineBackend", backend),
        compute_capabilities=compute_capabilities,
        profiles=profiles_up_to(longest, max_batch),
    )
    load_flavor(config.backend)
    return config


def profiles_up_to(max_frames: int, max_batch: int) -> tuple[ProfileConfig, ...]:
    """The default buckets, cut off or extended so that the last one ends at `max_frames`."""
    from voirs_vocoder.export.tensorrt.config import DEFAULT_PROFILES, ProfileConfig

    profiles: list[ProfileConfig] = []
    for bucket in DEFAULT_PROFILES:
        low, best, high = bucket.frames
        if bucket is DEFAULT_PROFILES[-1] or high > max_frames:
            high = max_frames
        profiles.append(ProfileConfig(batch=(1, 1, max_batch), frames=(low, min(best, high), high)))
        if high == max_frames:
            break
    return tuple(profiles)
