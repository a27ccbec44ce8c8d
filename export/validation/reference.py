"""The PyTorch model behind the same driver as an artifact's graphs, as the reference of `validate`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from voirs_vocoder.export.errors import ExportError
from voirs_vocoder.export.validation.candidates import driver_vocoder
from voirs_vocoder.reference_models import get_family
from voirs_vocoder.reference_models.family import GraphSpec
from voirs_vocoder.runtime import Artifact, Vocoder
from voirs_vocoder.runtime.artifact.manifest import GraphEntry
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.providers import Session
from voirs_vocoder.runtime.providers.session import bound_by_copying

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
    module = family.load(checkpoint, config)
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
        return _TorchSession(by_role[role]), artifact.graph(role, "fp32")

    return driver_vocoder(artifact, "fp32", opener)


class _TorchSession:
    """A `Session` that runs the module of a `GraphSpec`."""

    provider = "pytorch"
    max_frames: int | None = None

    def __init__(self, spec: GraphSpec) -> None:
        self.backend = f"torch {torch.__version__}"
        self._spec = spec

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
        with torch.inference_mode():
            arguments = (torch.from_numpy(inputs[tensor.name]) for tensor in self._spec.inputs)
            result = self._spec.module(*arguments)
        outputs = [result] if isinstance(result, torch.Tensor) else list(result)
        return {tensor.name: got.numpy() for tensor, got in zip(self._spec.outputs, outputs, strict=True)}

    def bind(
        self, inputs: Mapping[str, NDArray[np.generic]], outputs: Mapping[str, NDArray[np.float32]]
    ) -> Callable[[], None]:
        return bound_by_copying(self, inputs, outputs)

    def close(self) -> None:
        pass
