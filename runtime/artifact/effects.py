"""The effects that an artifact brings along."""

from __future__ import annotations

from voirs_vocoder.runtime.artifact.reading import Artifact
from voirs_vocoder.runtime.effects import EffectChain, chain_from_toml, load_chain
from voirs_vocoder.runtime.errors import InputError

__all__ = ["ARTIFACT_CHAIN", "EFFECTS_PATH", "chosen_chain"]

EFFECTS_PATH = "effects.toml"
"""In the artifact."""

ARTIFACT_CHAIN = "artifact"
"""How a caller asks for it."""


def chosen_chain(name: str, artifact: Artifact) -> EffectChain:
    """A chain by name.

    Args:
        name: `artifact` for the one that the artifact holds; else a preset or a TOML file, see `load_chain`.
        artifact: What speaks.

    Raises:
        InputError: The artifact holds none, or as `load_chain`.
        ArtifactError: Its file is not as the manifest recorded it.
    """
    if name != ARTIFACT_CHAIN:
        return load_chain(name)
    for entry in artifact.manifest.files:
        if entry.path == EFFECTS_PATH:
            return chain_from_toml(artifact.read(entry), f"{artifact.root / EFFECTS_PATH}")
    raise InputError(
        f"{artifact.root}: holds no effects; export it with effects, or name a preset or a .toml file"
    )
