"""An artifact's graphs and what the manifest says of them; FP16 and INT8 are made from FP32, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from voirs_vocoder.calibration.edits.qdq_linter import require_tensorrt_qdq
from voirs_vocoder.calibration.int8 import Int8Config, int8_from_fp32
from voirs_vocoder.export.artifact.writer import file_entry
from voirs_vocoder.export.errors import ExportError
from voirs_vocoder.export.graphs.example_inputs import Feed
from voirs_vocoder.export.passes import fp16_from_fp32, fp16_twin
from voirs_vocoder.runtime.artifact.manifest import Figures, GraphEntry, Int8Target, Precision, TensorInfo
from voirs_vocoder.runtime.config import SessionConfig
from voirs_vocoder.runtime.metrics import snr_db
from voirs_vocoder.runtime.progress import Progress
from voirs_vocoder.runtime.providers.onnxruntime import OrtSession

__all__ = ["INT8_TARGETS", "KEEP_ALL", "BuiltGraph", "built_graph", "fp16_graph", "int8_graphs", "open_graph"]

INT8_TARGETS: tuple[Int8Target, ...] = ("cpu", "tensorrt")

KEEP_ALL = ("*",)
"""The float parts of a graph that stays as it is in a reduced precision."""


@dataclass(frozen=True)
class BuiltGraph:
    """A graph's bytes and what the manifest says of it."""

    entry: GraphEntry
    data: bytes


def fp16_graph(fp32: BuiltGraph, feeds: Sequence[Feed]) -> BuiltGraph:
    """Convert to FP16, and run its FP32 twin, which rounds as FP16 does, to see that nothing overflows.

    Args:
        fp32: The exported graph.
        feeds: What to try the twin on, run by run.

    Raises:
        ExportError: A weight or an activation leaves the range of FP16.
    """
    model = fp16_from_fp32(onnx.load_from_string(fp32.data), fp32.entry.keep_float.get("fp16", ()))
    twin = open_graph(fp16_twin(model).SerializeToString(), fp32.entry)
    reference = open_graph(fp32.data, fp32.entry)
    ratios = []
    for inputs in feeds:
        for name, wanted in reference.run(inputs).items():
            got = twin.run(inputs)[name]
            if not np.isfinite(got).all():
                raise ExportError(
                    f"graph {fp32.entry.role!r}: an activation overflows in FP16; leave the nodes that make it in "
                    "FP32 (GraphSpec.float_parts.fp16)"
                )
            ratios.append(snr_db(wanted.reshape(-1), got.reshape(-1)))
    return _derived(fp32, model, "fp16", None, {"twin_snr_db": min(ratios)})


def int8_graphs(
    fp32: BuiltGraph,
    feeds: Sequence[Feed],
    progress: Progress,
    targets: Sequence[Int8Target] = INT8_TARGETS,
    config: Int8Config | None = None,
) -> list[BuiltGraph]:
    """Quantize for every target.

    Args:
        fp32: The exported graph.
        feeds: What to calibrate on, run by run.
        progress: Receives what is being done.
        targets: Kinds of backends to make a graph for.
        config: How to quantize; None takes the defaults of `Int8Config`.

    Raises:
        InputError: The calibration does not fit the graph.
        ExportError: TensorRT would misread the result.
    """
    keep_float = fp32.entry.keep_float.get("int8", ())
    graphs = []
    for target in targets:

        def report(message: str, done: int, total: int, target: Int8Target = target) -> None:
            progress(f"{fp32.entry.role}: INT8 for {target}: {message}", done, total)

        model = onnx.load_from_string(fp32.data)
        if keep_float == KEEP_ALL:
            # Such as DiffWave's conditioner, which has no convolution that could gain: the precision is that of the
            # artifact's other graphs, and what is in this one is said.
            graphs.append(_derived(fp32, model, "int8", target, {"quantized_convolutions": 0}))
            continue
        result = int8_from_fp32(model, feeds, target, keep_float, config, progress=report)
        if target == "tensorrt":
            require_tensorrt_qdq(result.model)
        graphs.append(_derived(fp32, result.model, "int8", target, result.details))
    return graphs


def open_graph(data: bytes, entry: GraphEntry) -> OrtSession:
    """A graph in ONNX Runtime on the CPU."""
    return OrtSession(data, entry, "cpu", SessionConfig())


def built_graph(
    model: onnx.ModelProto,
    *,
    role: str,
    precision: Precision,
    target: Int8Target | None,
    inputs: tuple[TensorInfo, ...],
    outputs: tuple[TensorInfo, ...],
    details: Figures,
    keep_float: dict[str, tuple[str, ...]],
) -> BuiltGraph:
    """Serialise a graph and describe it; the arguments are the fields of `GraphEntry`."""
    data = model.SerializeToString(deterministic=True)
    name = ".".join(part for part in (role, precision, target) if part)
    entry = GraphEntry(
        role=role,
        precision=precision,
        target=target,
        file=file_entry(f"graphs/{name}.onnx", data),
        opset=next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")),
        inputs=inputs,
        outputs=outputs,
        details=details,
        keep_float=keep_float,
    )
    return BuiltGraph(entry, data)


def _derived(
    fp32: BuiltGraph,
    model: onnx.ModelProto,
    precision: Precision,
    target: Int8Target | None,
    details: Figures,
) -> BuiltGraph:
    entry = fp32.entry
    kept = {name: value for name, value in entry.details.items() if name != "max_abs_error_against_pytorch"}
    return built_graph(
        model,
        role=entry.role,
        precision=precision,
        target=target,
        inputs=entry.inputs,
        outputs=entry.outputs,
        details={**kept, **details},
        keep_float={},
    )
