"""What voirs-vocoder states about itself: its version and what it needs, installed or in a source tree."""

from __future__ import annotations

import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["OWN_NAME", "own_requirements", "own_version", "package_version"]

OWN_NAME = "voirs-vocoder"
"""Name of this package."""

_PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def own_version() -> str:
    """Version of voirs-vocoder; `unknown` where it is neither installed nor in its source tree."""
    return package_version(OWN_NAME) or str(_project().get("version", "unknown"))


def package_version(name: str) -> str | None:
    """Version of a package; None where it is not installed.

    Args:
        name: Name of the package, such as `onnxruntime`.
    """
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def own_requirements() -> tuple[str, ...]:
    """What voirs-vocoder needs, such as `onnxruntime>=1.22; extra == "cpu"`; empty where nothing states it."""
    try:
        return tuple(metadata.requires(OWN_NAME) or ())
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
    return project if project.get("name") == OWN_NAME else {}
