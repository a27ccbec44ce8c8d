"""A PyTorch model behind the runtime's own driver: what differs from an exported artifact is the graph alone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from voirs_vocoder.reference_models.errors import ReferenceModelError
from voirs_vocoder.reference_models.family import GraphSpec, VocoderModule, manifest_of
from voirs_vocoder.reference_models.registry import get_family
from voirs_vocoder.runtime.artifact.manifest import FileEntry, GraphEntry, GraphFacts
from voirs_vocoder.runtime.config import SessionConfig
from voirs_vocoder.runtime.drivers.registry import open_driver
from voirs_vocoder.runtime.providers.session import Session, bound_by_copying
from voirs_vocoder.runtime.vocoder import Vocoder

__all__ = ["TorchSession", "torch_vocoder"]


class TorchSession:
    """A `Session` that runs the module of a `GraphSpec`.

    Attributes:
        provider: Always `pytorch`.
        backend: Name and version of PyTorch.
        max_frames: Always None, since the module takes input of any length.
        max_batch: Always None, since the module takes any number of rows.
    """

    provider = "pytorch"
    max_frames: int | None = None
    max_batch: int | None = None

    def __init__(self, spec: GraphSpec) -> None:
        """Wrap a graph's module.

        Args:
            spec: Graph to run; its module is in evaluation mode, on the device that is to run it.
        """
        self.backend = f"torch {torch.__version__}"
        self._spec = spec
        first = next(spec.module.parameters(), None)
        self._device = torch.device("cpu") if first is None else first.device

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
        """Run the module without gradients; see `Session.run`."""
        with torch.inference_mode():
            arguments = (
                torch.from_numpy(_writable(inputs[tensor.name])).to(self._device)
                for tensor in self._spec.inputs
            )
            result = self._spec.module(*arguments)
        outputs = [result] if isinstance(result, torch.Tensor) else list(result)
        return {
            tensor.name: got.cpu().numpy() for tensor, got in zip(self._spec.outputs, outputs, strict=True)
        }

    def bind(
        self,
        inputs: Mapping[str, NDArray[np.generic]],
        outputs: Mapping[str, NDArray[np.float32]],
        resident: Collection[str] = (),
    ) -> Callable[[], None]:
        """Prepare runs on fixed arrays; see `Session.bind`."""
        return bound_by_copying(self, inputs, outputs)

    def close(self) -> None:
        """Do nothing: the module belongs to the caller."""


def _writable(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """The array, or a copy of a read-only one, which PyTorch warns of."""
    return values if values.flags.writeable else values.copy()


def torch_vocoder(family: str, model: VocoderModule) -> Vocoder:
    """A vocoder that runs a model in PyTorch, each utterance in one window.

    Args:
        family: Name of the model's family.
        model: Model in evaluation mode, in float32, on any device.

    Raises:
        ReferenceModelError: The family is unknown, or has no graph that the driver needs.
    """
    specs = {spec.role: spec for spec in get_family(family).graphs(model)}

    def opener(role: str) -> tuple[Session, GraphEntry]:
        if role not in specs:
            raise ReferenceModelError(
                f"the family {family!r} needs a graph {role!r} for its driver, it has none"
            )
        return TorchSession(specs[role]), _entry(specs[role])

    manifest = manifest_of(family, model, tuple(specs.values()))
    return Vocoder.from_driver(manifest, "fp32", open_driver(manifest, opener, SessionConfig()))


def _entry(spec: GraphSpec) -> GraphEntry:
    return GraphEntry(
        role=spec.role,
        precision="fp32",
        target=None,
        file=FileEntry(path=spec.role, sha256="", size_bytes=0),
        opset=0,
        inputs=tuple(tensor.info for tensor in spec.inputs),
        outputs=tuple(tensor.info for tensor in spec.outputs),
        # Next to nothing, so that every window is affordable and an utterance takes one.
        facts=GraphFacts(activation_bytes_per_frame=1),
        details={},
    )
