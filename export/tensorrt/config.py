"""Configuration of an engine: TensorRT library, GPUs and shapes. This module imports neither TensorRT nor onnx."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import get_args

from voirs_vocoder.runtime.drivers.buckets import usual_frames
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.providers.tensorrt.flavor import EngineBackend

__all__ = ["DEFAULT_PROFILES", "RTX_COMPUTE_CAPABILITIES", "EngineConfig", "ProfileConfig"]

RTX_COMPUTE_CAPABILITIES = (75, 80, 86, 89, 120, 121)
"""Compute capabilities that TensorRT for RTX 1.7 builds for (`tensorrt_rtx.ComputeCapability`)."""

_SMALLEST_WORKSPACE_BYTES = 1 << 20


@dataclass(frozen=True)
class ProfileConfig:
    """A range of input shapes. Kernels are chosen for the best shape; a shape outside the range is refused.

    Attributes:
        batch: Smallest, best and largest number of rows.
        frames: Smallest, best and largest number of mel frames.
    """

    batch: tuple[int, int, int] = (1, 1, 1)
    frames: tuple[int, int, int] = (1, 512, 1024)

    def __post_init__(self) -> None:
        """Check that the sizes ascend from at least 1."""
        for name, (low, best, high) in (("batch", self.batch), ("frames", self.frames)):
            if not 1 <= low <= best <= high:
                raise InputError(
                    f"a profile needs 1 <= smallest <= best <= largest {name}, got {low}, {best}, {high}"
                )


DEFAULT_PROFILES = (
    ProfileConfig(frames=(1, 64, 128)),
    ProfileConfig(frames=(64, 512, 1024)),
    ProfileConfig(frames=(512, 2048, 4096)),
)
"""Profiles for a phrase, an utterance and a long text: up to 1.5, 12 and 48 s at 22,050 Hz and a hop of 256 samples."""


@dataclass(frozen=True)
class EngineConfig:
    """How an engine is built.

    Attributes:
        backend: `tensorrt-rtx`, which builds without a GPU for any listed GPU, or `tensorrt`, which builds on the GPU
            that the engine is for.
        compute_capabilities: Compute capabilities of the GPUs to build for, such as 86 for 8.6. One `tensorrt-rtx`
            engine serves all of them; one that includes 75 (Turing) is larger and may be slower on the others. Empty
            for `tensorrt`, which builds for the GPU of this machine.
        profiles: Ranges of input shapes; each makes the engine larger. A graph that runs in buckets gets a profile per
            default bucket instead, from the shortest to the longest of these inputs.
        chunk_frames: Mel frames of every chunk of a stream graph, whose engine has this one shape.
        workspace_bytes: Largest scratch memory of a kernel, in bytes; None takes the library's default.
        tf32: True lets FP32 multiplications round their inputs to 10 bits of mantissa on the GPU.
    """

    backend: EngineBackend
    compute_capabilities: tuple[int, ...] = ()
    profiles: tuple[ProfileConfig, ...] = DEFAULT_PROFILES
    chunk_frames: int = 16
    workspace_bytes: int | None = None
    tf32: bool = False

    def __post_init__(self) -> None:
        """Check every field that can be checked without the library."""
        if self.backend not in get_args(EngineBackend):
            raise InputError(
                f"unknown engine backend {self.backend!r}; known: {', '.join(get_args(EngineBackend))}"
            )
        if self.backend == "tensorrt-rtx":
            self._check_capabilities()
        elif self.compute_capabilities:
            raise InputError(
                "tensorrt builds only for the GPU of this machine, got compute capabilities "
                f"{self.compute_capabilities}; leave them out, or use backend='tensorrt-rtx'"
            )
        if not self.profiles:
            raise InputError("an engine needs at least one profile")
        if self.chunk_frames < 1:
            raise InputError(f"chunk_frames must be at least 1, got {self.chunk_frames}")
        if self.workspace_bytes is not None and self.workspace_bytes < _SMALLEST_WORKSPACE_BYTES:
            raise InputError(f"workspace_bytes must be at least 1 MiB, got {self.workspace_bytes}")

    def for_streams(self) -> EngineConfig:
        """This configuration for a stream graph: one utterance, one size of chunk."""
        frames = (self.chunk_frames,) * 3
        return dataclasses.replace(self, profiles=(ProfileConfig(frames=frames),))

    def for_buckets(self) -> EngineConfig:
        """This configuration for a graph that runs in buckets: a profile per default bucket, best at its length."""
        low = min(profile.frames[0] for profile in self.profiles)
        high = max(profile.frames[2] for profile in self.profiles)
        batch = (
            min(profile.batch[0] for profile in self.profiles),
            self.profiles[0].batch[1],
            max(profile.batch[2] for profile in self.profiles),
        )
        sizes = [size for size in usual_frames(high) if size >= low]
        starts = [low, *(size + 1 for size in sizes[:-1])]
        profiles = tuple(
            ProfileConfig(batch=batch, frames=(start, size, size))
            for start, size in zip(starts, sizes, strict=True)
        )
        return dataclasses.replace(self, profiles=profiles)

    def _check_capabilities(self) -> None:
        known = ", ".join(map(str, RTX_COMPUTE_CAPABILITIES))
        if not self.compute_capabilities:
            raise InputError(f"tensorrt-rtx needs the compute capabilities to build for; known: {known}")
        unknown = [value for value in self.compute_capabilities if value not in RTX_COMPUTE_CAPABILITIES]
        if unknown:
            raise InputError(
                f"tensorrt-rtx does not build for compute capability {unknown[0]}; known: {known}"
            )
        if list(self.compute_capabilities) != sorted(set(self.compute_capabilities)):
            raise InputError(
                f"compute capabilities must ascend without repetition, got {self.compute_capabilities}"
            )
