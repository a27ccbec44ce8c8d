"""What several test files of the export need."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory, sample_recordings: list[Path]) -> Path:
    """A folder with one recording."""
    folder = tmp_path_factory.mktemp("speech")
    shutil.copy(sample_recordings[0], folder)
    return folder


@pytest.fixture
def artifact_copy(tiny_artifact: Path, tmp_path: Path) -> Path:
    """A copy of the tiny artifact, to be changed."""
    return Path(shutil.copytree(tiny_artifact, tmp_path / "artifact"))
