"""Which artifacts the GPU tests run, and where they lie."""

from __future__ import annotations

from pathlib import Path

__all__ = ["ARTIFACTS", "MODELS", "SHIPPED_MODELS"]

ARTIFACTS = Path("artifacts/build/gpu")
"""Folder of the artifacts, relative to the source tree."""

SHIPPED_MODELS = ("hifigan-v2", "vocos", "waveglow", "diffwave", "diffwave-unet")
"""Artifacts of the shipped checkpoints."""

MODELS = (
    "hifigan-v1",
    "hifigan-v2",
    "hifigan-v3",
    "vocos",
    "waveglow",
    "diffwave",
    "diffwave-unet",
    "waveglow-256",
    "diffwave-base",
)
"""All artifacts, in the order in which they are measured; those that do not ship have random weights."""
