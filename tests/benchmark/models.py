"""From a case to what is measured: the PyTorch module, our artifact, and the stock export of the same module."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.benchmark.cases import BenchCase
from tests.benchmark.posted import PostedExport
from tests.benchmark.stock_export import export_stock
from voirs_vocoder.export.bench.artifact import bench_mel
from voirs_vocoder.export.graphs.onnx_from_torch import example_inputs
from voirs_vocoder.export.pipeline import ExportRequest, export_artifact
from voirs_vocoder.export.precisions import MakeOptions
from voirs_vocoder.reference_models import get_family
from voirs_vocoder.reference_models.checkpoints.reading import save_safetensors
from voirs_vocoder.reference_models.family import GraphSpec
from voirs_vocoder.runtime import Artifact, get_convention
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.progress import Progress

__all__ = ["BenchModel", "Feed", "bench_feed", "bench_model"]

Feed = Mapping[str, NDArray[np.generic]]
"""Inputs of a graph for one run, by name, in the order of the module's arguments."""

_CALIBRATION_FRAMES = 200


@dataclass(frozen=True)
class BenchModel:
    """A model in PyTorch, and what is made of it.

    Attributes:
        case: The row of the table that describes the model.
        spec: The graph that takes the model's time, with the module in evaluation mode, free of weight norm.
        artifact: The artifact that our export makes of the model.
        stock: The ONNX file that `torch.onnx.export` makes of the same module, untouched.
        posted: What users of the model export in its place; None where that is the module itself.
        posted_graph: The ONNX file that `torch.onnx.export` makes of it; absent where there is none.
    """

    case: BenchCase
    spec: GraphSpec
    artifact: Artifact
    stock: Path
    posted: PostedExport | None
    posted_graph: Path


def bench_model(case: BenchCase, folder: Path, *, reuse: bool, progress: Progress) -> BenchModel:
    """Make a model, and export it both ways.

    Args:
        case: Which model.
        folder: Folder in which the model gets a folder of its own.
        reuse: Keep what an earlier run wrote.
        progress: Receives what is being done.

    Raises:
        InputError: The shipped checkpoint is not there, or torch exports nothing.
        ExportError: A graph does not compute what the model computes.
    """
    folder = folder / case.key
    folder.mkdir(parents=True, exist_ok=True)
    stock, posted_graph, root = folder / "stock.onnx", folder / "posted.onnx", folder / "artifact"
    checkpoint = _checkpoint(case, folder, reuse=reuse)
    family = get_family(case.family)
    spec = next(spec for spec in family.graphs(family.load(checkpoint, None)) if spec.role == case.role)
    posted = None if case.posted is None else case.posted(spec.module)
    wanted = (stock,) if posted is None else (stock, posted_graph)
    if reuse and root.is_dir() and all(path.is_file() for path in wanted):
        return BenchModel(case, spec, Artifact.open(root), stock, posted, posted_graph)
    request = ExportRequest(
        family=case.family,
        checkpoint=checkpoint,
        config=None,
        output=root,
        precisions=("fp32",) if case.int8 is None else ("fp32", "int8"),
        calibration=None if case.int8 is None else _calibration(case, folder),
        options=MakeOptions(int8=case.int8),
        force=True,
    )
    artifact = export_artifact(request, progress)
    progress("exporting with torch.onnx alone", 0, 0)
    hop_length = artifact.manifest.hop_length
    export_stock(spec, hop_length, stock, any_rows=False)
    if posted is not None:
        outputs = tuple(replace(spec.outputs[0], name=name) for name in posted.outputs)
        users = replace(spec, module=posted.network, outputs=outputs)
        export_stock(users, hop_length, posted_graph, any_rows=False)
    return BenchModel(case, spec, artifact, stock, posted, posted_graph)


def bench_feed(model: BenchModel, frames: int) -> Feed:
    """Inputs of the case's graph: a mel in the range of its convention, noise elsewhere, the same every time.

    Args:
        model: The model whose graph is fed.
        frames: Length of the utterance, in mel frames.
    """
    manifest = model.artifact.manifest
    sizes = {"batch": 1, "samples": frames * manifest.hop_length, "frames": frames}
    feed = example_inputs(model.spec, sizes, frames, seed=0)
    if "mel" in feed:
        feed["mel"] = bench_mel(manifest.mel, frames)[np.newaxis]
    return feed


def _checkpoint(case: BenchCase, folder: Path, *, reuse: bool) -> Path:
    if case.shipped is not None:
        if not case.shipped.is_file():
            raise InputError(f"{case.shipped}: not found; run the benchmark in a checkout of the project")
        return case.shipped
    checkpoint = folder / "model.safetensors"
    if not (reuse and checkpoint.is_file()) and case.random_weights is not None:
        (folder / case.config_name).write_text(json.dumps(case.config), encoding="utf-8")
        save_safetensors(case.random_weights(case.config), checkpoint)
    return checkpoint


def _calibration(case: BenchCase, folder: Path) -> Path:
    """A single mel: the share of arithmetic that may stay float is bounded, so speed hardly depends on the ranges."""
    calibration = folder / "calibration"
    calibration.mkdir(exist_ok=True)
    convention = get_convention(case.calibration_convention)
    np.save(calibration / "mel.npy", bench_mel(convention, _CALIBRATION_FRAMES))
    return calibration
