"""The chain of audio effects that an artifact contains."""

from __future__ import annotations

from voirs_vocoder.runtime.artifact.reading import Artifact
from voirs_vocoder.runtime.effects import EffectChain, chain_from_toml, load_chain
from voirs_vocoder.runtime.errors import InputError

__all__ = ["ARTIFACT_CHAIN", "EFFECTS_PATH", "chosen_chain"]

EFFECTS_PATH = "effects.toml"
"""Path of the chain inside an artifact."""

ARTIFACT_CHAIN = "artifact"
"""Name that stands for the artifact's own chain."""


def chosen_chain(name: str, artifact: Artifact) -> EffectChain:
    """Load a chain by name.

    Args:
        name: `artifact` for the chain in the artifact; otherwise the name of a preset or the path of a TOML file.
        artifact: Opened artifact.

    Raises:
        InputError: The artifact has no chain, no preset has the name, or the file cannot be read as a chain.
        ArtifactError: The chain's file in the artifact differs from what the manifest recorded.
    """
    if name != ARTIFACT_CHAIN:
        return load_chain(name)
    for entry in artifact.manifest.files:
        if entry.path == EFFECTS_PATH:
            return chain_from_toml(artifact.read(entry), f"{artifact.root / EFFECTS_PATH}")
    raise InputError(
        f"{artifact.root}: holds no effects; export it with effects, or name a preset or a .toml file"
    )
