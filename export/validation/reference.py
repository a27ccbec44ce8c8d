"""The PyTorch model behind the same driver as an artifact's graphs, as the reference of `validate`."""

from __future__ import annotations

from pathlib import Path

from voirs_vocoder.export.errors import ExportError
from voirs_vocoder.export.validation.candidates import driver_vocoder
from voirs_vocoder.reference_models import get_family
from voirs_vocoder.reference_models.family import load_model
from voirs_vocoder.reference_models.training.torch_vocoder import TorchSession
from voirs_vocoder.runtime import Artifact, Vocoder
from voirs_vocoder.runtime.artifact.manifest import GraphEntry
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.providers import Session

__all__ = ["load_reference"]


def load_reference(artifact: Artifact, checkpoint: Path, config: Path | None) -> Vocoder:
    """The PyTorch model that an artifact was exported from.

    Driver and windows are those of the graphs, so that nothing but the graph differs.

    Args:
        artifact: Opened artifact.
        checkpoint: Source checkpoint of the artifact.
        config: Configuration of the checkpoint; None reads the one beside it.

    Raises:
        InputError: The checkpoint's SHA-256 is not that of the artifact's source.
        CheckpointError: The checkpoint cannot be read.
        ModelConfigError: The configuration cannot be read.
    """
    family = get_family(artifact.manifest.family)
    module = load_model(family, checkpoint, config, normalize=artifact.manifest.source.normalize)
    expected = artifact.manifest.source.checkpoint_sha256
    if module.checkpoint_sha256 != expected:
        raise InputError(
            f"{checkpoint}: the artifact was exported from the checkpoint with SHA-256 {expected}, this one has "
            f"{module.checkpoint_sha256}; give the source checkpoint"
        )
    by_role = {spec.role: spec for spec in family.graphs(module)}

    def opener(role: str) -> tuple[Session, GraphEntry]:
        if role not in by_role:
            raise ExportError(f"the family has no graph {role!r}, which the driver asks for")
        return TorchSession(by_role[role]), artifact.graph(role, "fp32")

    return driver_vocoder(artifact, "fp32", opener)
