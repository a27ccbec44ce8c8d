"""What several test files of the runtime need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from voirs_vocoder.runtime import Vocoder


@pytest.fixture(scope="module")
def vocoder(tiny_artifact: Path) -> Iterator[Vocoder]:
    """The tiny HiFi-GAN in FP32 on the CPU."""
    with Vocoder.load(tiny_artifact) as loaded:
        yield loaded
