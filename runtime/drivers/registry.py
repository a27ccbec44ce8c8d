"""The drivers by name."""

from __future__ import annotations

from voirs_vocoder.runtime.artifact.manifest import GraphEntry, Manifest
from voirs_vocoder.runtime.config import SessionConfig
from voirs_vocoder.runtime.drivers.diffusion import DiffusionDriver
from voirs_vocoder.runtime.drivers.direct import DirectDriver
from voirs_vocoder.runtime.drivers.driver import Driver, SessionOpener
from voirs_vocoder.runtime.drivers.flow import FlowDriver
from voirs_vocoder.runtime.drivers.tensors import require_tensors
from voirs_vocoder.runtime.errors import ArtifactError
from voirs_vocoder.runtime.providers.session import Session

__all__ = ["driver_roles", "open_driver"]

_DRIVERS: dict[str, type[DirectDriver | FlowDriver | DiffusionDriver]] = {
    "direct": DirectDriver,
    "flow": FlowDriver,
    "diffusion": DiffusionDriver,
}


def driver_roles(name: str) -> tuple[str, ...]:
    """Roles of the graphs that an offline pass of a driver runs; an artifact may hold others for other runtimes."""
    return _DRIVERS[name].roles


def open_driver(manifest: Manifest, opener: SessionOpener, config: SessionConfig) -> Driver:
    """Open the driver that the manifest names, and load its graphs.

    Args:
        manifest: Manifest of the artifact.
        opener: Loads the graph of a role.
        config: Memory budget and batching.

    Raises:
        ArtifactError: This version has no such driver, or a graph is damaged or has other inputs and outputs than the
            driver gives and takes.
        ProviderError: The artifact lacks the precision, or the provider cannot run here.
    """
    if manifest.driver not in _DRIVERS:
        raise ArtifactError(
            f"this version has no driver {manifest.driver!r}, it has {', '.join(_DRIVERS)}; update it"
        )

    def checked(role: str) -> tuple[Session, GraphEntry]:
        session, entry = opener(role)
        require_tensors(manifest, entry)
        return session, entry

    return _DRIVERS[manifest.driver](manifest, checked, config)
