"""Every way in which an artifact's graphs are heard by `validate`: one vocoder each, all on this machine's CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from voirs_vocoder.export.errors import ExportError
from voirs_vocoder.export.graphs.built import open_graph
from voirs_vocoder.export.passes import fp16_twin
from voirs_vocoder.export.validation.report import graph_title
from voirs_vocoder.reference_models.family import GraphSpec
from voirs_vocoder.runtime import Artifact, SessionConfig, Vocoder
from voirs_vocoder.runtime.artifact.manifest import GraphEntry, Int8Target, Precision
from voirs_vocoder.runtime.drivers import SessionOpener, open_driver
from voirs_vocoder.runtime.providers import Session, int8_target, open_session
from voirs_vocoder.runtime.providers.session import bound_by_copying

__all__ = ["Variant", "pytorch_vocoder", "variants"]


@dataclass(frozen=True)
class Variant:
    """A precision on a backend.

    Attributes:
        name: Of its graphs, such as `int8.cpu`; the same graph may run on several backends.
        precision: Of the graphs.
        target: Of INT8 graphs.
        backend: What runs it, such as `cpu`; `cpu, FP32 twin` for FP16, which a CPU would not round.
        open: Loads it.
    """

    name: str
    precision: Precision
    target: Int8Target | None
    backend: str
    open: Callable[[], Vocoder]

    @property
    def title(self) -> str:
        """Its name in tables and pages, such as `int8.cpu on cpu`."""
        return graph_title(self.name, self.backend)


def variants(artifact: Artifact) -> list[Variant]:
    """All precisions of an artifact in ONNX Runtime, then those that OpenVINO runs, if it is installed."""
    kinds = list(dict.fromkeys((graph.precision, graph.target) for graph in artifact.manifest.graphs))
    found = [_onnxruntime_variant(artifact, precision, target) for precision, target in kinds]
    if find_spec("openvino") is not None:
        found.extend(
            _openvino_variant(artifact, precision, target)
            for precision, target in kinds
            if precision == "fp32" or (precision == "int8" and target == int8_target("openvino"))
        )
    return found


def pytorch_vocoder(artifact: Artifact, specs: list[GraphSpec]) -> Vocoder:
    """The reference model behind the same driver as the graphs: what differs is the graph and nothing else."""
    by_role = {spec.role: spec for spec in specs}

    def opener(role: str) -> tuple[Session, GraphEntry]:
        if role not in by_role:
            raise ExportError(f"the family has no graph {role!r}, which the driver asks for")
        return _TorchSession(by_role[role]), artifact.graph(role, "fp32")

    return _vocoder(artifact, "fp32", opener)


class _TorchSession:
    """A GraphSpec's module as a session. See `Session`."""

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
        """See `Session.bind`."""
        return bound_by_copying(self, inputs, outputs)

    def close(self) -> None:
        """Nothing is held."""


def _onnxruntime_variant(artifact: Artifact, precision: Precision, target: Int8Target | None) -> Variant:
    def opener(role: str) -> tuple[Session, GraphEntry]:
        entry = artifact.graph(role, precision, target)
        data = artifact.read(entry.file)
        if precision == "fp16":
            data = fp16_twin(onnx.load_from_string(data)).SerializeToString()
        return open_graph(data, entry), entry

    name = precision if target is None else f"{precision}.{target}"
    backend = "cpu, FP32 twin" if precision == "fp16" else "cpu"
    return Variant(name, precision, target, backend, lambda: _vocoder(artifact, precision, opener))


def _openvino_variant(artifact: Artifact, precision: Precision, target: Int8Target | None) -> Variant:
    def opener(role: str) -> tuple[Session, GraphEntry]:
        return open_session(artifact, role, precision, "openvino", SessionConfig())

    name = precision if target is None else f"{precision}.{target}"
    return Variant(name, precision, target, "openvino", lambda: _vocoder(artifact, precision, opener))


def _vocoder(artifact: Artifact, precision: Precision, opener: SessionOpener) -> Vocoder:
    driver = open_driver(artifact.manifest, opener, SessionConfig())
    return Vocoder.from_driver(artifact.manifest, precision, driver)
