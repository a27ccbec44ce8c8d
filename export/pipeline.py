"""Exports a checkpoint to an artifact."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray

from voirs_vocoder.calibration.dataset import CalibrationSet, calibration_set_from_folder
from voirs_vocoder.calibration.edits.length_invariant_sums import length_invariant_sums
from voirs_vocoder.export.artifact.documents import with_documents
from voirs_vocoder.export.artifact.provenance import with_command
from voirs_vocoder.export.artifact.writer import create_artifact, refuse_existing, with_files
from voirs_vocoder.export.derive import DerivationPlan, calibration_record, derive_graphs
from voirs_vocoder.export.errors import ExportError
from voirs_vocoder.export.graphs.built import BuiltGraph, built_graph, open_graph
from voirs_vocoder.export.graphs.onnx_from_torch import example_inputs, onnx_from_torch
from voirs_vocoder.export.graphs.parity import activation_bytes_per_frame, parity_error
from voirs_vocoder.export.graphs.sampler import kept_float, sampler_graph
from voirs_vocoder.export.precisions import MakeOptions, get_precision, precision_names
from voirs_vocoder.reference_models import get_family
from voirs_vocoder.reference_models.family import GraphSpec, VocoderModule, load_model, manifest_of
from voirs_vocoder.reference_models.layouts.layout import model_read
from voirs_vocoder.reference_models.layouts.table import read_model
from voirs_vocoder.runtime.artifact.effects import EFFECTS_PATH
from voirs_vocoder.runtime.artifact.manifest import (
    FORMAT_VERSION,
    CommandRecord,
    Diffusion,
    GraphFacts,
    Manifest,
    Precision,
)
from voirs_vocoder.runtime.artifact.reading import Artifact
from voirs_vocoder.runtime.artifact.records import Parameter
from voirs_vocoder.runtime.config import VocodingConfig
from voirs_vocoder.runtime.diffusion.choice import chosen_plan
from voirs_vocoder.runtime.distribution import own_version
from voirs_vocoder.runtime.effects import EffectChain, toml_from_chain
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.mel.convention import MelConvention
from voirs_vocoder.runtime.progress import Progress, silent
from voirs_vocoder.runtime.providers import Session

__all__ = ["AUTO", "ExportRequest", "export_artifact"]

AUTO = "auto"
"""Stands for the family that is recognized from the files."""

# Length of the random mel that reduced precisions are tried with where there are no recordings.
_TRIAL_FRAMES = 200


@dataclass(frozen=True)
class ExportRequest:
    """What to export.

    Attributes:
        family: Name of the model family, such as `hifigan`; `auto` takes the one that is recognized.
        checkpoint: File of the trained weights, or a folder or tar archive that holds it with its configuration.
        config: File of the model's configuration as published; None takes the one beside the checkpoint.
        output: Directory of the artifact.
        precisions: Precisions of the graphs; FP32 graphs are always made, and the others from them.
        calibration: Folder of recordings or mels to calibrate on; None without a precision that needs calibration.
        licence: SPDX identifier of the weights' license; None when it is unknown.
        sampler_graph: Whether the default sampling of a diffusion model is made as one graph too.
        stream: Whether a stream graph is made of every graph that can have one.
        batch: Whether a batch graph is made of every graph that can have one; see `BATCH_ROLES`.
        mel_convention: Mel convention of the model's input, in place of the one that the configuration states; None
            keeps that one.
        effects: Chain of audio effects to keep in the artifact; None keeps none.
        normalize: Whether statistics that the trainer normalizes mels by are taken into the graphs; False takes the
            mels as they are, and needs no statistics.
        force: Whether an artifact that is there is replaced.
        options: How graphs of reduced precision are made; None takes the defaults.
    """

    family: str
    checkpoint: Path
    config: Path | None
    output: Path
    precisions: tuple[Precision, ...] = ("fp32",)
    calibration: Path | None = None
    licence: str | None = None
    sampler_graph: bool = False
    stream: bool = True
    batch: bool = True
    mel_convention: MelConvention | None = None
    effects: EffectChain | None = None
    normalize: bool = True
    force: bool = False
    options: MakeOptions | None = None

    def __post_init__(self) -> None:
        """Check the precisions, and that `calibration` is given exactly where one of them needs it."""
        needing = [name for name in self.precisions if get_precision(name).needs_calibration]
        if needing and self.calibration is None:
            raise InputError(
                f"precision {needing[0]} needs calibration, got none; give a folder of recordings to calibrate on"
            )
        if self.calibration is not None and not needing:
            raise InputError(
                f"calibration is for precisions that need it, got {', '.join(self.precisions)}; leave it out"
            )


def export_artifact(request: ExportRequest, progress: Progress = silent) -> Artifact:
    """Export a checkpoint.

    Args:
        request: What to export.
        progress: Called with what is being done, how many parts are done, and how many there are.

    Returns:
        The artifact, which appears complete or not at all.

    Raises:
        CheckpointError: The checkpoint is unsafe, damaged or does not fit the configuration.
        ModelConfigError: The configuration is malformed.
        InputError: The calibration or the output directory cannot be used.
        ExportError: A graph does not compute what the model computes.
    """
    refuse_existing(request.output, force=request.force)
    progress("reading the checkpoint", 0, 0)
    if request.family == AUTO:
        found = read_model(request.checkpoint, request.config, normalize=request.normalize)
        progress(f"recognized {found.layout}, family {found.family}", 0, 0)
        request = replace(request, family=found.family)
        family = get_family(request.family)
        module = model_read(family, found)
    else:
        family = get_family(request.family)
        module = load_model(family, request.checkpoint, request.config, normalize=request.normalize)
    configured_mel = module.description.mel
    if request.mel_convention is not None:
        require_fitting(request.mel_convention, configured_mel)
        module.description = replace(module.description, mel=request.mel_convention)
    convention, diffusion = module.description.mel, module.description.diffusion
    specs = _specs(request, family.graphs(module), diffusion, convention.hop_length)
    calibration = None
    if request.calibration is not None:
        calibration = calibration_set_from_folder(request.calibration, convention, progress=progress)
    fp32 = _fp32_graphs(request.family, module, specs, convention, progress)
    reduced = any(get_precision(name).make for name in request.precisions)
    plan = DerivationPlan(
        precisions=request.precisions,
        mels=_trial_mels(specs, calibration) if reduced else [],
        calibration=calibration,
        stream=request.stream,
        batch=request.batch,
        options=request.options or MakeOptions(),
    )
    manifest = _manifest(request, module, specs, calibration)
    if convention != configured_mel:
        source = msgspec.structs.replace(manifest.source, configured_mel=configured_mel)
        manifest = msgspec.structs.replace(manifest, source=source)
    by_role = {graph.entry.role: graph for graph in fp32}

    def open_fp32(role: str) -> Session:
        return open_graph(by_role[role].data, by_role[role].entry)

    graphs = derive_graphs(manifest, fp32, plan, open_fp32, progress)
    manifest = msgspec.structs.replace(manifest, graphs=tuple(graph.entry for graph in graphs))
    files = {graph.entry.file.path: graph.data for graph in graphs}
    if request.effects is not None:
        effects = {EFFECTS_PATH: toml_from_chain(request.effects)}
        files |= effects
        manifest = with_files(manifest, effects)
    manifest, documents = with_documents(with_command(manifest, _record(request, manifest)))
    return create_artifact(request.output, manifest, {**files, **documents}, force=request.force)


def _record(request: ExportRequest, manifest: Manifest) -> CommandRecord:
    """The export for the manifest's list of commands; its tools are those of the manifest."""
    parameters: dict[str, Parameter] = {
        "family": request.family,
        "precisions": request.precisions,
        "licence": request.licence,
        "sampler_graph": request.sampler_graph,
        "stream": request.stream,
        "batch": request.batch,
        "mel_convention": None if request.mel_convention is None else request.mel_convention.id,
        "effects": request.effects is not None,
        "normalize": request.normalize,
    }
    if request.calibration is not None:
        parameters |= (request.options or MakeOptions()).parameters()
    return CommandRecord(command="export", parameters=parameters, tools=manifest.tools)


def require_fitting(convention: MelConvention, configured: MelConvention) -> None:
    """Refuse a mel convention that a model's graphs cannot have.

    Args:
        convention: Convention to give the model.
        configured: Convention that the model's configuration states.

    Raises:
        InputError: Number of bands, hop length or sample rate are not the model's.
    """
    for name in ("n_mels", "hop_length", "sample_rate"):
        wanted, got = getattr(configured, name), getattr(convention, name)
        if wanted != got:
            raise InputError(
                f"the mel convention must have the model's {name}, {wanted}, got {got} of {convention.id!r}; give a "
                "convention that fits the checkpoint"
            )


def _specs(
    request: ExportRequest, specs: list[GraphSpec], diffusion: Diffusion | None, hop_length: int
) -> list[GraphSpec]:
    if diffusion is None:
        if request.sampler_graph:
            raise InputError(
                f"only a diffusion model has a sampler graph, {request.family} has none; leave it out"
            )
        return specs
    # Also without a sampler graph: an artifact whose default sampling is refused must not come to be.
    plan = chosen_plan(diffusion, VocodingConfig())
    return [*specs, sampler_graph(specs, plan, hop_length)] if request.sampler_graph else specs


def _fp32_graphs(
    family: str,
    module: VocoderModule,
    specs: Sequence[GraphSpec],
    convention: MelConvention,
    progress: Progress,
) -> list[BuiltGraph]:
    metadata = _graph_metadata(family, module, convention)
    graphs = []
    for spec in specs:
        progress(f"{spec.role}: exporting FP32", 0, 0)
        graphs.append(_fp32_graph(spec, metadata, convention.hop_length))
    return graphs


def _fp32_graph(spec: GraphSpec, metadata: Mapping[str, str], hop_length: int) -> BuiltGraph:
    model = length_invariant_sums(onnx_from_torch(spec, metadata), spec.steady_parts)
    return built_graph(
        model,
        role=spec.role,
        precision="fp32",
        target=None,
        inputs=tuple(tensor.info for tensor in spec.inputs),
        outputs=tuple(tensor.info for tensor in spec.outputs),
        facts=GraphFacts(activation_bytes_per_frame=activation_bytes_per_frame(model, hop_length)),
        details={"max_abs_error_against_pytorch": parity_error(model, spec), **spec.details},
        keep_float={
            name: _patterns(spec, name, model)
            for name in precision_names()
            if get_precision(name).make is not None and (spec.precisions is None or name in spec.precisions)
        },
    )


def _patterns(spec: GraphSpec, precision: Precision, model: onnx.ModelProto) -> tuple[str, ...]:
    patterns = spec.keep_float.get(precision, ())
    # What depends on the step alone is a constant in an unrolled sampler, whose nodes are gone.
    return kept_float(patterns, model) if spec.role == "sampler" else patterns


def _graph_metadata(family: str, module: VocoderModule, convention: MelConvention) -> dict[str, str]:
    # Serving runtimes, sherpa-onnx among them, choose their vocoder by model_type.
    return {
        "model_type": family,
        "sample_rate": str(module.description.sample_rate),
        "hop_length": str(module.description.hop_length),
        "n_mels": str(convention.n_mels),
        "mel_convention": convention.id,
        "voirs_format": str(FORMAT_VERSION),
    }


def _trial_mels(
    specs: Sequence[GraphSpec], calibration: CalibrationSet | None
) -> Sequence[NDArray[np.float32]]:
    if calibration is not None:
        return list(calibration.segments)
    for spec in specs:
        inputs = example_inputs(spec, {"batch": 1}, _TRIAL_FRAMES, seed=0)
        if "mel" in inputs:
            return [np.asarray(inputs["mel"][0], np.float32)]
    raise ExportError("a family needs a graph that takes a mel; this one's take none")


def _manifest(
    request: ExportRequest,
    module: VocoderModule,
    specs: Sequence[GraphSpec],
    calibration: CalibrationSet | None,
) -> Manifest:
    """The manifest without its graphs."""
    return msgspec.structs.replace(
        manifest_of(request.family, module, specs),
        licence=request.licence,
        calibration=None if calibration is None else calibration_record(calibration),
        tools={
            "python": platform.python_version(),
            "voirs-vocoder": own_version(),
            "torch": str(torch.__version__),
            "onnx": onnx.__version__,
            "onnxsim": version("onnxsim"),
            "onnxruntime": onnxruntime.__version__,
        },
    )
