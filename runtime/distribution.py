"""What voirs-vocoder states about itself: its version and what it needs, installed or in a source tree."""

from __future__ import annotations

import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["own_requirements", "own_version"]

_NAME = "voirs-vocoder"
_PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def own_version() -> str:
    """Version of voirs-vocoder; `unknown` where it is neither installed nor in its source tree."""
    try:
        return metadata.version(_NAME)
    except metadata.PackageNotFoundError:
        return str(_project().get("version", "unknown"))


def own_requirements() -> tuple[str, ...]:
    """What voirs-vocoder needs, such as `onnxruntime>=1.22; extra == "cpu"`; empty where nothing states it."""
    try:
        return tuple(metadata.requires(_NAME) or ())
    except metadata.PackageNotFoundError:
        project = _project()
    always = tuple(project.get("dependencies", ()))
    extras = project.get("optional-dependencies", {})
    return always + tuple(f'{need}; extra == "{extra}"' for extra, needs in extras.items() for need in needs)


def _project() -> dict[str, Any]:
    """The table `project` of the source tree; empty where there is none."""
    try:
        text = _PYPROJECT.read_text(encoding="utf-8")
    except OSError:
        return {}
    project: dict[str, Any] = tomllib.loads(text).get("project", {})
    return project if project.get("name") == _NAME else {}
