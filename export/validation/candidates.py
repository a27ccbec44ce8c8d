"""Candidates: every precision of an artifact on every backend of this machine's CPU that can run it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from voirs_vocoder.export.precisions import get_precision
from voirs_vocoder.runtime import Artifact, SessionConfig, Vocoder
from voirs_vocoder.runtime.artifact.manifest import GraphEntry, Precision, Target, graph_name
from voirs_vocoder.runtime.drivers.driver import SessionOpener
from voirs_vocoder.runtime.drivers.registry import open_driver
from voirs_vocoder.runtime.providers import Session, measurable_providers, open_session
from voirs_vocoder.runtime.providers.checked import CheckedSession

__all__ = ["Candidate", "candidate_title", "cpu_candidates", "driver_vocoder"]


def candidate_title(graph: str, backend: str) -> str:
    """Title of a graph on a backend, such as `int8.cpu on cpu`."""
    return f"{graph} on {backend}"


@dataclass(frozen=True)
class Candidate:
    """A precision of an artifact on a backend.

    Attributes:
        precision: Precision of the graphs.
        target: Kind of backend that the graphs are made for; None for a precision whose graphs run everywhere.
        provider: Name of the provider that runs the graphs.
        open: Loads the graphs on the provider; the caller closes the vocoder.
        note: How the provider runs the graphs, where that is not as they are; empty otherwise.
        artifact: Name of the artifact, where several are compared; empty otherwise.
    """

    precision: Precision
    target: Target | None
    provider: str
    open: Callable[[], Vocoder]
    note: str = ""
    artifact: str = ""

    @property
    def graph(self) -> str:
        """Precision and target, such as `int8.cpu`; the same graph may run on several backends."""
        return graph_name(self.precision, self.target)

    @property
    def backend(self) -> str:
        """Provider and note, such as `cpu` or `cpu, FP32 twin`."""
        return ", ".join(part for part in (self.provider, self.note) if part)

    @property
    def title(self) -> str:
        """Name in tables and pages, such as `int8.cpu on cpu`."""
        title = candidate_title(self.graph, self.backend)
        return f"{self.artifact}: {title}" if self.artifact else title


def cpu_candidates(artifact: Artifact, name: str = "") -> list[Candidate]:
    """All precisions of an artifact on `cpu`, and those that other providers compute on the CPU here; FP32 first.

    A CPU computes FP16 graphs in FP32. The candidate runs the FP32 twin of such a graph instead, which rounds where a
    GPU would.

    Args:
        artifact: Opened artifact.
        name: Name of the artifact in the candidates' titles; empty leaves it out.
    """
    kinds = list(dict.fromkeys((graph.precision, graph.target) for graph in artifact.manifest.graphs))
    found = [_onnxruntime_candidate(artifact, precision, target, name) for precision, target in kinds]
    found.extend(
        _provider_candidate(artifact, precision, target, provider.name, name)
        for provider in measurable_providers()
        if provider.name != "cpu" and not provider.on_gpu
        for precision, target in kinds
        if provider.computes(precision, target)
    )
    return sorted(found, key=lambda candidate: candidate.precision != "fp32")


def driver_vocoder(artifact: Artifact, precision: Precision, opener: SessionOpener) -> Vocoder:
    """A vocoder of an artifact whose sessions come from elsewhere.

    Args:
        artifact: Opened artifact.
        precision: Precision that the vocoder reports.
        opener: Role to session and the graph's entry in the manifest.
    """
    driver = open_driver(artifact.manifest, opener, SessionConfig())
    return Vocoder.from_driver(artifact.manifest, precision, driver)


def _onnxruntime_candidate(
    artifact: Artifact, precision: Precision, target: Target | None, name: str
) -> Candidate:
    spec = get_precision(precision)

    def opener(role: str) -> tuple[Session, GraphEntry]:
        from voirs_vocoder.export.graphs.built import open_graph

        entry = artifact.graph(role, precision, target)
        data = artifact.read_graph(entry)
        session = open_graph(data if spec.on_cpu is None else spec.on_cpu(data), entry)
        return CheckedSession(session, entry, artifact.manifest.hop_length), entry

    return Candidate(
        precision,
        target,
        "cpu",
        lambda: driver_vocoder(artifact, precision, opener),
        note=spec.on_cpu_title,
        artifact=name,
    )


def _provider_candidate(
    artifact: Artifact, precision: Precision, target: Target | None, provider: str, name: str
) -> Candidate:
    def opener(role: str) -> tuple[Session, GraphEntry]:
        return open_session(artifact, role, precision, provider, SessionConfig(), in_buckets=True)

    return Candidate(
        precision,
        target,
        provider,
        lambda: driver_vocoder(artifact, precision, opener),
        artifact=name,
    )
