"""TensorRT engines of an existing artifact, built from its graphs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from voirs_vocoder.export.artifact.change import Change, change_artifact
from voirs_vocoder.export.artifact.provenance import command_record
from voirs_vocoder.export.precisions import get_precision
from voirs_vocoder.export.tensorrt import EngineConfig, engine_filename, engine_from_onnx
from voirs_vocoder.runtime.artifact.manifest import (
    BATCH_ROLES,
    STREAM_ROLES,
    EngineEntry,
    GraphEntry,
    Precision,
)
from voirs_vocoder.runtime.artifact.reading import Artifact
from voirs_vocoder.runtime.drivers.registry import driver_roles
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.progress import Progress, silent

__all__ = ["build_engines"]

# Backend -> the package of its library.
_PACKAGES = {"tensorrt-rtx": "tensorrt-rtx-cu13", "tensorrt": "tensorrt"}
# Of a precision whose graphs are made for kinds of backend, TensorRT takes this one.
_TARGET = "tensorrt"


def build_engines(
    root: Path,
    config: EngineConfig,
    precisions: Sequence[Precision],
    *,
    force: bool = False,
    progress: Progress = silent,
) -> Artifact:
    """Build one engine per role and precision, and list them in the manifest.

    Args:
        root: Directory of the artifact.
        config: Library to build with, GPUs and shapes.
        precisions: Precisions of the graphs to build from; a precision with targets takes the graphs for TensorRT.
        force: Whether engines of the same name are replaced.
        progress: Called with what is being done, how many engines are built, and how many there are.

    Raises:
        ProviderError: The artifact lacks a graph, or the library is not installed, or no GPU is there for a library
            that needs one.
        InputError: An engine of the same name exists and `force` is not set.
        ExportError: TensorRT does not take a graph.
        ArtifactError: The artifact is damaged, or another process is changing it.
    """

    def edit(artifact: Artifact) -> Change:
        sources = [source for precision in precisions for source in _sources(artifact, precision)]
        _refuse_existing(artifact, _expected_paths(sources, config), force=force)
        built = []
        for done, source in enumerate(sources):
            progress(f"{source.name}: building with {config.backend}", done, len(sources))
            built.append(_build(artifact, source, config))
        progress("engines built", len(sources), len(sources))
        paths = {entry.file.path for _, entry in built}
        _refuse_existing(artifact, paths, force=force)
        kept = (entry for entry in artifact.manifest.engines if entry.file.path not in paths)
        changed = msgspec.structs.replace(artifact.manifest, engines=(*kept, *(entry for _, entry in built)))
        return changed, {entry.file.path: data for data, entry in built}

    record = command_record(
        "build-engine",
        {
            "backend": config.backend,
            "precisions": tuple(precisions),
            "compute_capabilities": config.compute_capabilities,
            "chunk_frames": config.chunk_frames,
            "profiles": tuple(f"batch {each.batch}, frames {each.frames}" for each in config.profiles),
            "workspace_bytes": config.workspace_bytes,
            "tf32": config.tf32,
        },
        _PACKAGES[config.backend],
    )
    return change_artifact(root, edit, record)


def _sources(artifact: Artifact, precision: Precision) -> list[GraphEntry]:
    """The graphs of a precision; those that the artifact's driver runs must be among them."""
    if not get_precision(precision).for_gpus:
        raise InputError(
            f"engines are built in a precision that GPUs compute, got {precision}; use fp16, fp32 or int8"
        )
    held = {graph.target for graph in artifact.manifest.graphs if graph.precision == precision}
    target = _TARGET if _TARGET in held else None
    for role in driver_roles(artifact.manifest.driver):
        artifact.graph(role, precision, target)
    return [g for g in artifact.manifest.graphs if (g.precision, g.target) == (precision, target)]


def _expected_paths(sources: Sequence[GraphEntry], config: EngineConfig) -> set[str]:
    """Paths of the engines, as far as they are known before the GPU is asked."""
    if not config.compute_capabilities:
        return set()
    names = (
        engine_filename(s.role, s.precision, config.backend, config.compute_capabilities) for s in sources
    )
    return {f"engines/{name}" for name in names}


def _refuse_existing(artifact: Artifact, paths: set[str], *, force: bool) -> None:
    existing = [entry.file.path for entry in artifact.manifest.engines if entry.file.path in paths]
    if existing and not force:
        raise InputError(f"{artifact.root}: has {existing[0]} already; replace it with force=True")


def _build(artifact: Artifact, source: GraphEntry, config: EngineConfig) -> tuple[bytes, EngineEntry]:
    return engine_from_onnx(
        artifact.root / source.file.path,
        _config_of(source.role, config),
        role=source.role,
        precision=source.precision,
        hop_length=artifact.manifest.hop_length,
        kept_float=source.facts.quantized_convolutions == 0,
        graph=artifact.read_graph(source),
    )


def _config_of(role: str, config: EngineConfig) -> EngineConfig:
    if role in STREAM_ROLES.values():
        return config.for_streams()
    return config.for_buckets() if role in BATCH_ROLES.values() else config
