"""INT8 graphs for an existing artifact, made from its FP32 graphs: no torch, no checkpoint."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path

import msgspec

from voirs_vocoder.calibration.dataset import CalibrationSet, calibration_set_from_folder
from voirs_vocoder.export.artifact.change import Change, change_artifact
from voirs_vocoder.export.artifact.provenance import command_record
from voirs_vocoder.export.derive import DerivationPlan, calibration_record, derive_graphs
from voirs_vocoder.export.graphs.built import BuiltGraph, open_graph
from voirs_vocoder.export.passes.read_model import read_model
from voirs_vocoder.export.precisions import MakeOptions, get_precision
from voirs_vocoder.export.streaming.derived import random_feed
from voirs_vocoder.runtime.artifact.manifest import (
    BATCH_ROLES,
    EXTRAPOLATOR_ROLE,
    STREAM_ROLES,
    GraphEntry,
    Manifest,
    Precision,
)
from voirs_vocoder.runtime.artifact.reading import Artifact
from voirs_vocoder.runtime.config import SessionConfig
from voirs_vocoder.runtime.drivers.registry import driver_roles
from voirs_vocoder.runtime.drivers.tensors import require_tensors
from voirs_vocoder.runtime.errors import ArtifactError, InputError
from voirs_vocoder.runtime.progress import Progress, silent
from voirs_vocoder.runtime.providers import Session, open_session
from voirs_vocoder.runtime.providers.checked import CheckedSession

__all__ = ["fp32_source", "open_fp32", "quantization", "quantize_artifact"]

_TRIAL_FRAMES = 8


def quantize_artifact(
    root: Path,
    folder: Path,
    *,
    precision: Precision = "int8",
    options: MakeOptions | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> Artifact:
    """Add the graphs of a precision that needs calibration to an artifact.

    Args:
        root: Directory of the artifact.
        folder: Recordings or mels to calibrate on.
        precision: Name of the precision to add.
        options: Targets, and how to quantize; None takes the defaults. `Int8Config(max_float_share=0.0)` quantizes
            every convolution without measuring the noise of each, which takes two thirds of the time of the shipped
            HiFi-GAN V2: on the 3 shipped recordings its INT8 graph for the CPU reaches 25.9 dB instead of 29.1 dB and
            loses 0.076 PESQ instead of 0.061.
        force: Replace graphs of this precision that are there, and drop the engines built from them.
        progress: Called with what is being done, how many parts are done, and how many there are.

    Raises:
        ArtifactError: The artifact is damaged, has a graph that ONNX refuses, or another process is changing it.
        ProviderError: ONNX Runtime does not run an FP32 graph, or it returns something else than the manifest states.
        InputError: The precision needs no calibration, the artifact has graphs of it already and `force` is not set, or
            the calibration is at fault.
        ExportError: A graph does not compute what it is derived from.
    """
    if not get_precision(precision).needs_calibration:
        raise InputError(
            f"precision must be one that is calibrated, got {precision!r}; export makes the others"
        )
    chosen = options or MakeOptions()

    def edit(artifact: Artifact) -> Change:
        manifest = artifact.manifest
        if any(graph.precision == precision for graph in manifest.graphs) and not force:
            raise InputError(f"{root}: has {precision.upper()} graphs already; replace them with force=True")
        calibration = calibration_set_from_folder(folder, manifest.mel, progress=progress)
        return quantization(artifact, calibration, precision, chosen, progress)

    record = command_record(
        "quantize", {"precision": precision, **chosen.parameters()}, "numpy", "onnx", "onnxruntime"
    )
    return change_artifact(root, edit, record)


def quantization(
    artifact: Artifact,
    calibration: CalibrationSet,
    precision: Precision,
    options: MakeOptions,
    progress: Progress,
) -> Change:
    """The change that replaces the graphs of a calibrated precision, and what is derived from them.

    Args:
        artifact: Opened artifact; it is not changed.
        calibration: What to calibrate on; extrapolators are fitted on it too.
        precision: Name of the precision.
        options: Targets, and how to quantize.
        progress: Called with what is being done, how many parts are done, and how many there are.

    Raises:
        ArtifactError: The artifact has a graph that ONNX refuses.
        ProviderError: ONNX Runtime does not run an FP32 graph, or it returns something else than the manifest states.
        InputError: The calibration does not fit a graph.
        ExportError: A graph does not compute what it is derived from.
    """
    manifest = artifact.manifest
    roles = {graph.role for graph in manifest.graphs}
    kept = msgspec.structs.replace(
        manifest,
        # Extrapolators are fitted on the new recordings too.
        graphs=tuple(
            graph
            for graph in manifest.graphs
            if graph.precision != precision and graph.role != EXTRAPOLATOR_ROLE
        ),
        engines=tuple(engine for engine in manifest.engines if engine.precision != precision),
        calibration=calibration_record(calibration),
    )
    plan = DerivationPlan(
        precisions=(precision,),
        mels=list(calibration.segments),
        calibration=calibration,
        stream=bool(roles & set(STREAM_ROLES.values())),
        batch=bool(roles & set(BATCH_ROLES.values())),
        options=options,
    )
    sources = [fp32_source(artifact, entry) for entry in _sources(kept, precision)]
    graphs = derive_graphs(kept, sources, plan, partial(open_fp32, artifact), progress)
    changed = msgspec.structs.replace(kept, graphs=(*kept.graphs, *(graph.entry for graph in graphs)))
    return changed, {graph.entry.file.path: graph.data for graph in graphs}


def open_fp32(artifact: Artifact, role: str) -> Session:
    """Open the FP32 graph of a role on the CPU."""
    return open_session(artifact, role, "fp32", "cpu", SessionConfig())[0]


def _sources(manifest: Manifest, precision: Precision) -> list[GraphEntry]:
    return [entry for entry in manifest.graphs if entry.precision == "fp32" and precision in entry.keep_float]


def fp32_source(artifact: Artifact, entry: GraphEntry) -> BuiltGraph:
    """An FP32 graph of an artifact, after a trial: what fails later is not the fault of its file.

    Args:
        artifact: Opened artifact.
        entry: Entry of one of its FP32 graphs.

    Raises:
        ArtifactError: ONNX refuses the graph, or two of its nodes have one name.
        ProviderError: ONNX Runtime does not run the graph, or it returns something else than the manifest states.
    """
    manifest = artifact.manifest
    if entry.role in driver_roles(manifest.driver):
        require_tensors(manifest, entry)
    data = artifact.read_graph(entry)
    where = str(artifact.root / entry.file.path)
    names = Counter(node.name for node in read_model(data, where).graph.node)
    if names[""] or len(names) < names.total():
        raise ArtifactError(f"{where}: nodes must have names of their own; export the artifact again")
    session = CheckedSession(open_graph(data, entry), entry, manifest.hop_length)
    session.run(random_feed(entry, 1, _TRIAL_FRAMES, manifest.hop_length))
    session.close()
    return BuiltGraph(entry, data)
